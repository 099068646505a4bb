"""Judge whether both networks are right equally often, clean and perturbed (V7, subset).

Adversarial examples are crafted on the trained network and shown to both networks as the same
8-bit images. Equality is claimed by TOST against a margin; McNemar's test stands beside it.
Every row carries the clean accuracy on its own images, so that it shows what a perturbation costs.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.weak import WEAK
from spikeproof.reasons import Reason
from spikeproof.verify import statistics as st
from spikeproof.verify.advice import CONVERSION, Supply, images_needed, more_images
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.responses import CLEAN
from spikeproof.verify.verdict import Verdict

Json = dict[str, Any]
MASKED = 0.05
"""Estimators whose accuracies differ by more than this, and not by chance, mislead one another."""


def accuracy_rows(
    merged: Json,
    planned: list[Perturbation],
    labels: NDArray[Any],
    config: VerifyConfig,
    estimators: Json | None = None,
) -> list[Json]:
    """Return one row per perturbation, the clean images first.

    ``estimators`` tells by name of the perturbation and of the estimator which images the trained
    network gets right (list of bool).
    """
    shown = min(config.samples.accuracy, len(merged[CLEAN]["float"]))
    clean = Perturbation(CLEAN, 0, shown)
    rows = []
    for item in [clean, *planned]:
        part = merged[CLEAN if item is clean else item.name]
        # Perturbations may use more clean runs than the clean row is to have images.
        count = shown if item is clean else len(part["float"])
        truth = labels[:count]
        right = {k: np.asarray(part[k][:count]) == truth for k in ("float", "chip")}
        margin = float(getattr(config.margins, item.kind))
        row = accuracy_row(item, right["float"], right["chip"], margin, config.alpha)
        before = {k: np.asarray(merged[CLEAN][k][:count]) == truth for k in ("float", "chip")}
        row |= _clean_figures(before)
        row["bound"] = WEAK.bound if item.is_attack else ""
        row["attack_helps"] = item.is_attack and attack_helps(
            before["float"], right["float"], config.alpha
        )
        tried = (estimators or {}).get(item.name, {})
        row["estimators"] = {name: float(np.mean(values)) for name, values in tried.items()}
        row["compared"] = max((len(values) for values in tried.values()), default=0)
        row["masking_suspected"] = _disagree(tried, config.alpha)
        row["part"] = "accuracy" if item is clean else item.kind
        rows.append(row)
    adjusted = st.holm([row["mcnemar_p"] for row in rows])
    return [{**row, "mcnemar_p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def _clean_figures(right: dict[str, NDArray[np.bool_]]) -> Json:
    """Return the clean accuracy of both networks on a row's own images, with intervals."""
    figures: Json = {}
    for name, values in right.items():
        figures[f"clean_{name}_accuracy"] = float(values.mean())
        interval = st.wilson_interval(int(values.sum()), len(values))
        figures[f"clean_{name}_ci"] = list(interval)
    return figures


def _disagree(tried: dict[str, list[bool]], alpha: float) -> bool:
    """Tell whether two estimators differ by more than :data:`MASKED`, and beyond chance.

    They attack the same images, so McNemar's exact test of the pairs is the test for it.
    """
    for first, second in combinations([np.asarray(v, bool) for v in tried.values()], 2):
        counts = st.paired_counts(first, second)
        apart = round(abs(counts.difference), 9) > MASKED
        if apart and st.mcnemar_exact(counts) <= alpha:
            return True
    return False


def attack_helps(clean: NDArray[np.bool_], attacked: NDArray[np.bool_], alpha: float) -> bool:
    """Tell whether an attack left the network right more often than no attack at all.

    No honest attack can do that beyond chance: the gradients it follows are masked.
    """
    counts = st.paired_counts(attacked, clean)
    return bool(attacked.sum() > clean.sum() and st.mcnemar_exact(counts) <= alpha)


def accuracy_row(
    item: Perturbation,
    in_float: NDArray[np.bool_],
    in_chip: NDArray[np.bool_],
    margin: float,
    alpha: float,
) -> Json:
    """Compare who is right where; the difference is chip minus float."""
    counts = st.paired_counts(in_chip, in_float)
    judged = st.tost(counts, margin, alpha)
    total = counts.pairs
    return {
        "perturbation": item.row,
        "strength": item.strength,
        "samples": total,
        "float_accuracy": float(in_float.mean()),
        "chip_accuracy": float(in_chip.mean()),
        "difference": judged.difference,
        "ci": list(judged.interval),
        "margin": margin,
        "tost": str(judged.verdict),
        "tost_p": judged.p_value,
        "mcnemar_p": st.mcnemar_exact(counts),
        "only_float": counts.only_second,
        "only_chip": counts.only_first,
        "float_ci": list(st.wilson_interval(int(in_float.sum()), total)),
        "chip_ci": list(st.wilson_interval(int(in_chip.sum()), total)),
    }


def accuracy_reasons(rows: list[Json], config: VerifyConfig, supply: Supply) -> list[Reason]:
    """Give a reason for every row that is not equal, or not shown to be, or masked."""
    unequal = [_unequal(r, config, supply) for r in rows if r["tost"] != str(Verdict.PASS)]
    return unequal + [_masked(row) for row in rows if row["attack_helps"]]


def _unequal(row: Json, config: VerifyConfig, supply: Supply) -> Reason:
    margin = 100 * row["margin"]
    told: Json = {
        "criterion": "accuracy of the chip network minus that of the trained network",
        "perturbation": row_name(row),
        "value": 100 * row["difference"],
        "relation": "within",
        "limit": (-margin, margin),
        "unit": "points",
        "interval": tuple(100 * x for x in row["ci"]),
        "images": row["samples"],
    }
    if row["tost"] == str(Verdict.FAIL):
        return Reason(verdict="fail", try_=f"{CONVERSION}.", **told)
    needed = images_needed(lambda n: _tost_at(n, row, config.alpha), row["samples"])
    if needed is not None:
        told.update(images_needed=needed.images, would=needed.would)
    return Reason(verdict="inconclusive", try_=more_images(needed, supply, row["part"]), **told)


def _tost_at(images: int, row: Json, alpha: float) -> Verdict:
    """Judge as many images, discordant as often as those of ``row``."""
    factor = images / row["samples"]
    only_chip, only_float = (math.ceil(row[k] * factor) for k in ("only_chip", "only_float"))
    counts = st.PairedCounts(images, only_chip, only_float)
    return st.tost(counts, row["margin"], alpha).verdict


def _masked(row: Json) -> Reason:
    return Reason(
        verdict="inconclusive",
        criterion="accuracy of the trained network under attack",
        perturbation=row_name(row),
        value=100 * row["float_accuracy"],
        relation="at most",
        limit=100 * row["clean_float_accuracy"],
        unit="%",
        images=row["samples"],
        try_="An attack cannot help: the gradients it follows are masked, and accuracy under "
        "attack shows nothing. Judge the robustness of this network with an attack that adapts to "
        "it; docs/attacks.md says what this one does.",
    )


def row_name(row: Json) -> str:
    """Name a row: ``pgd 8/255``, ``clean``."""
    return f"{row['perturbation']} {row['strength']:g}/255" if row["strength"] else CLEAN
