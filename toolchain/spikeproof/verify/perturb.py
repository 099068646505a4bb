"""Judge whether perturbations act on the chip's membranes as on the trained network's (V5).

Per perturbation and layer there are four criteria: the median and the 99 % quantile of the
relative difference per sample, the rank correlation, and the ratio of the summed energies. All four
compare how large a perturbation is; whether it points the same way is reported beside them, as
the median cosine of the two perturbations, and not judged.
A criterion passes if a one-sided test at level alpha establishes it, fails if a test
establishes its opposite after Holm's correction over all criteria of the check, and is
inconclusive otherwise. All must pass, so passing needs no correction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.verify import statistics as st
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.verdict import Verdict, combine, judge_interval

Json = dict[str, Any]
F64 = NDArray[np.float64]
SCATTER = 200
MIN_RANKED = 100
"""A rank correlation of fewer samples is not judged."""


@dataclass(frozen=True)
class Criterion:
    """One judged figure: whether it is established, and the p-value of "it holds"."""

    name: str
    established: bool
    p_holds: float


@dataclass(frozen=True, eq=False)
class LayerMatch:
    """Figures and criteria of one layer under one perturbation."""

    figures: Json
    criteria: list[Criterion]


@dataclass(frozen=True)
class Ranks:
    """Rank correlation, its interval and spread; None: undefined, or of too few samples."""

    rho: float | None
    interval: st.Interval | None
    spread: float


def match_layer(name: str, data: Json, config: VerifyConfig) -> LayerMatch:
    """Compare the energies of one layer; ``data`` as :func:`responses.measure_batch` gives it."""
    in_float, in_chip = (np.asarray(data[k]["sample"], np.float64) for k in ("float", "chip"))
    samples, limits = len(in_float), config.mppd
    relative = relative_difference(np.sqrt(in_float), np.sqrt(in_chip))
    weights = st.bootstrap_weights(samples, limits.resamples, config.seed)
    ratios = st.ratio_of_sums(in_chip, in_float, weights)
    interval = st.percentile_interval(ratios, 1 - 2 * config.alpha)
    total = float(in_float.sum())
    ranks = _rank_correlation(in_float, in_chip, weights, config.alpha)
    figures = {
        "name": name,
        "samples": samples,
        "median_rel_diff": float(np.median(relative)),
        "p99_rel_diff": float(np.quantile(relative, 0.99, method="higher")),
        "spearman": ranks.rho,
        "direction": _median_direction(data["direction"]),
        "ratio": float(in_chip.sum()) / total if total > 0 else None,
        "ratio_ci": [_finite(x) for x in interval],
        "would_pass": {
            "median_difference": st.smallest_limit(relative, 0.5, config.alpha),
            "p99_difference": st.smallest_limit(relative, 0.01, config.alpha),
            "spearman": None if ranks.interval is None else ranks.interval[0],
        },
        "scatter": _scatter(in_float, in_chip),
        "energy": {k: [e / samples for e in data[k]["step"]] for k in ("float", "chip")},
    }
    if total == 0:  # nothing arrived in the trained network: nothing to compare with
        return LayerMatch(figures, [Criterion("energy", False, 1.0)])
    criteria = [
        _quantile_criterion("median", relative, limits.median_difference, 0.5, config.alpha),
        _quantile_criterion("p99", relative, limits.p99_difference, 0.01, config.alpha),
        _rank_criterion(ranks, limits.spearman),
        _ratio_criterion(ratios, interval, config),
    ]
    return LayerMatch(figures, criteria)


def relative_difference(reference: F64, found: F64) -> F64:
    """Return |found - reference| / reference; 0 where both are 0, 1 where only one is."""
    result = np.ones_like(reference)
    np.divide(np.abs(found - reference), reference, out=result, where=reference > 0)
    result[(reference == 0) & (found == 0)] = 0.0
    return result


def _quantile_criterion(
    name: str, relative: F64, limit: float, share: float, alpha: float
) -> Criterion:
    """Test exactly whether at most ``share`` of all samples differ by more than ``limit``."""
    above = int((relative > limit).sum())
    established = st.share_below(above, len(relative), share) <= alpha
    return Criterion(name, established, st.share_above(above, len(relative), share))


def _rank_correlation(in_float: F64, in_chip: F64, weights: F64, alpha: float) -> Ranks:
    rho, samples = st.spearman(in_float, in_chip), len(in_float)
    if rho is None or samples < MIN_RANKED:
        return Ranks(rho, None, 0.0)
    resamples = st.spearman_resamples(in_float, in_chip, weights)
    interval = st.spearman_interval(rho, resamples, samples, 1 - 2 * alpha)
    return Ranks(rho, interval, st.fisher_spread(resamples))


def _rank_criterion(ranks: Ranks, limit: float) -> Criterion:
    if ranks.rho is None or ranks.interval is None:
        return Criterion("spearman", False, 1.0)
    established = judge_interval(*ranks.interval, limit, 1.0) is Verdict.PASS
    p_holds = st.outside_p_value(
        float(st.fisher(ranks.rho)), ranks.spread, float(st.fisher(limit)), math.inf
    )
    return Criterion("spearman", established, p_holds)


def _ratio_criterion(ratios: F64, interval: st.Interval, config: VerifyConfig) -> Criterion:
    floor, ceiling = config.mppd.ratio
    established = judge_interval(*interval, floor, ceiling) is Verdict.PASS
    usable = ratios[np.isfinite(ratios) & (ratios > 0)]
    if len(usable) < 2:
        return Criterion("ratio", False, 1.0 if len(usable) else 0.0)
    logs = np.log(usable)
    p_holds = st.outside_p_value(
        float(np.median(logs)), float(logs.std()), math.log(floor), math.log(ceiling)
    )
    return Criterion("ratio", established, p_holds)


def judge_matches(matches: list[LayerMatch], alpha: float) -> list[Verdict]:
    """Return one verdict per layer match, with Holm's correction over all criteria of all."""
    adjusted = iter(st.holm([c.p_holds for m in matches for c in m.criteria]))
    verdicts = []
    for match in matches:
        single = [_verdict(c, next(adjusted), alpha) for c in match.criteria]
        match.figures["criteria"] = {
            c.name: str(v) for c, v in zip(match.criteria, single, strict=True)
        }
        verdicts.append(combine(single))
    return verdicts


def _verdict(criterion: Criterion, adjusted: float, alpha: float) -> Verdict:
    if criterion.established:
        return Verdict.PASS
    return Verdict.FAIL if adjusted <= alpha else Verdict.INCONCLUSIVE


def judge_perturbations(merged: Json, names: list[str], config: VerifyConfig) -> Json:
    """Judge all perturbations and layers; returns {"attacks": [...]}, each layer with a verdict."""
    found = {
        name: [match_layer(k, v, config) for k, v in merged[name]["layers"].items()]
        for name in names
    }
    flat = [match for name in names for match in found[name]]
    for match, verdict in zip(flat, judge_matches(flat, config.alpha), strict=True):
        match.figures["verdict"] = str(verdict)
    return {"attacks": [{"name": n, "layers": [m.figures for m in found[n]]} for n in names]}


def _median_direction(cosines: list[float | None]) -> float | None:
    """Return the median cosine of the samples whose perturbation reaches both networks."""
    known = [c for c in cosines if c is not None]
    return float(np.median(known)) if known else None


def _scatter(in_float: F64, in_chip: F64) -> dict[str, list[float]]:
    """Root mean square of the perturbation per sample, in units of the threshold."""
    return {
        "float": np.sqrt(in_float[:SCATTER]).round(6).tolist(),
        "chip": np.sqrt(in_chip[:SCATTER]).round(6).tolist(),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
