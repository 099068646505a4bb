"""Choose the scale of each layer by measurement, among scales that provably cannot overflow.

Max-abs scaling spends the 8 bits on the largest weight. Here a geometric grid around it is
tried, including scales that clip outliers; each candidate is certified first and then scored
on calibration images against the float layer (:mod:`score`), coarse before fine. The finalists
are rounded a second time with compensation, fitted to one half of the images and judged on the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeproof.certify.ranges import LayerRange, certify_layer
from spikeproof.convert.compensate import FAN_IN_MAX, compensation
from spikeproof.convert.host import largest_host_scale, round_host_layer
from spikeproof.convert.quantise import Candidate, Coding, FloatLayer, max_abs_scale, round_layer
from spikeproof.convert.score import Inputs, Score, score
from spikeproof.errors import RangeError
from spikeproof.numerics.intervals import Ints

LOWEST, HIGHEST, COARSE = 0.35, 2.5, 17
"""Grid of scales relative to max-abs."""

HOST_EXPONENTS = (7, 6, 5, 4, 3, 2, 1, 0)
_HOST_HEADROOM = (1.0, 0.97, 0.9, 0.8)
_FINE_HEADROOM = tuple(1 - k / 300 for k in range(16))
_LIFTS = (0.0, 0.125, 0.25)
"""With one exponent only, neighbouring thresholds and a lift of the current by less than half a
mantissa are all there is to choose from; which of them lie well between the mantissas is chance,
and worth half of the flips."""
_COARSE_WORK = 3e8
"""Multiplications one candidate may cost in the coarse rounds; a state update counts as 150."""

_STATE_COST = 150

Build = Callable[[float], Candidate]


@dataclass(frozen=True, eq=False)
class Chosen:
    """The scale that won: its integers, certified range, score, and who may spike (next input)."""

    candidate: Candidate
    range: LayerRange
    score: Score
    coding: Coding
    reachable: Ints


@dataclass(frozen=True, eq=False)
class Setting:
    """What the search of one layer needs besides the layer itself."""

    inputs: Inputs
    highest: Ints
    bits: int = 8
    search: bool = True
    compensate: bool = True
    forced: float | None = None
    bias_exponent: int | None = None
    """The only exponent biases may have; None: any of the chip's."""


def choose(layer: FloatLayer, setting: Setting, coding: Coding) -> Chosen:
    """Return the best certified candidate of a layer under one coding.

    Raises:
        RangeError: a forced scale overflows, or no scale fits; says which bound and what helps.
    """
    if coding == "bias":
        return _choose_host(layer, setting)

    def build(scale: float) -> Candidate:
        return round_layer(layer, scale, setting.bits, bias_exponent=setting.bias_exponent)

    if setting.forced is not None:
        return _forced(layer, setting, coding, [build])
    base = max_abs_scale(layer, setting.bits)
    top = _largest_fitting(layer, setting, build, HIGHEST * base)
    if top is None:
        raise _nothing_fits(layer, setting, build)
    plain = min(base, top)
    if not setting.search:
        only = _fitting(layer, setting, build, [plain, top])[:1]
        return _best(layer, setting, coding, [*only, *_compensated(layer, setting, only)])
    low = LOWEST * plain
    grid = np.geomspace(low, min(top, HIGHEST * base), COARSE).tolist()
    pool = _fitting(layer, setting, build, [plain, *grid, top])
    ranked = _rank(layer, _coarse(layer, setting), pool)
    ratio = float((top / low) ** (1 / (COARSE - 1)))
    centre = ranked[0].scale
    near = [centre * ratio**k for k in (-0.6, -0.3, -0.15, 0.15, 0.3, 0.6)]
    fine = _fitting(layer, setting, build, near)
    ranked = _rank(layer, _coarse(layer, setting), _distinct([*ranked[:4], *fine]))
    finalists = _distinct([*ranked[:3], pool[0]])
    again = _compensated(layer, setting, _distinct([ranked[0], pool[0]]))
    return _best(layer, setting, coding, [*finalists, *again])


def _compensated(layer: FloatLayer, setting: Setting, pool: list[Candidate]) -> list[Candidate]:
    """Round the same scales again, letting roundings make up for each other."""
    if not setting.compensate or layer.linear.weight[0].size > FAN_IN_MAX:
        return []
    rounding = compensation(layer, setting.inputs[::2])
    again = [
        round_layer(layer, c.scale, setting.bits, rounding, setting.bias_exponent) for c in pool
    ]
    return [c for c in again if not _problems(layer, setting, c)]


def _choose_host(layer: FloatLayer, setting: Setting) -> Chosen:
    def builder(exponent: int, lift: float = 0.0) -> Build:
        return lambda scale: round_host_layer(layer, scale, exponent, lift)

    only = setting.bias_exponent
    lifts = (
        _LIFTS if only is not None and setting.search and not layer.fires_at_equality else (0.0,)
    )
    exponents = HOST_EXPONENTS if only is None else (only,)
    if setting.forced is not None:
        builds = [builder(e) for e in reversed(exponents)]
        return _forced(layer, setting, "bias", builds)
    headroom = _HOST_HEADROOM if only is None else _FINE_HEADROOM
    pool: list[Candidate] = []
    for exponent in exponents:
        most = largest_host_scale(layer, exponent)
        steps = [most * h for h in (headroom if setting.search else (1.0, 0.9))]
        for lift in lifts:
            found = _fitting(layer, setting, builder(exponent, lift), steps)
            pool += found[: None if setting.search else 1]
        if len(pool) >= (12 if setting.search else 1):
            break
    if not pool:
        raise _nothing_fits(layer, setting, builder(exponents[0]))
    ranked = _rank(layer, _coarse(layer, setting), pool) if len(pool) > 1 else pool
    return _best(layer, setting, "bias", ranked[:3])


def _problems(layer: FloatLayer, setting: Setting, candidate: Candidate) -> tuple[str, ...]:
    found, _ = certify_layer(candidate.layer, setting.highest, layer.timesteps)
    return candidate.problems + found.problems


def _fitting(
    layer: FloatLayer, setting: Setting, build: Build, scales: Sequence[float]
) -> list[Candidate]:
    built = _distinct([build(s) for s in scales])
    return [c for c in built if not _problems(layer, setting, c)]


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Drop repeated scales (thresholds are whole numbers), keeping the order."""
    seen: dict[tuple[float, int], Candidate] = {}
    for c in candidates:
        seen.setdefault((c.scale, c.layer.neuron.bias_exponent), c)
    return list(seen.values())


def _largest_fitting(layer: FloatLayer, setting: Setting, build: Build, top: float) -> float | None:
    """Return ``top`` if it fits, else the largest scale below it that does, to about 1 %."""
    if not _problems(layer, setting, build(top)):
        return top
    high, low = top, top
    for _ in range(60):
        low /= 2
        if not _problems(layer, setting, build(low)):
            break
        if build(low).scale > 4 * low:  # the threshold mantissa is already 1
            return None
        high = low
    else:
        return None
    while high / low > 1.01:
        middle = (high * low) ** 0.5
        if _problems(layer, setting, build(middle)):
            high = middle
        else:
            low = middle
    return low


def _coarse(layer: FloatLayer, setting: Setting) -> Inputs:
    """Take as many calibration samples as a coarse round may cost, evenly spread."""
    inputs = setting.inputs
    spatial = int(np.prod(layer.shape[1:]))
    cost = inputs.shape[1] * spatial * layer.linear.weight.size
    cost += _STATE_COST * layer.timesteps * int(np.prod(layer.shape))
    count = int(np.clip(_COARSE_WORK / cost, 8, len(inputs)))
    kept: Inputs = inputs[np.linspace(0, len(inputs) - 1, min(count, len(inputs))).astype(int)]
    return kept


def _rank(layer: FloatLayer, inputs: Inputs, pool: list[Candidate]) -> list[Candidate]:
    scores = score(layer, inputs, pool)
    return [pool[i] for i in sorted(range(len(pool)), key=lambda i: scores[i])]


def _best(layer: FloatLayer, setting: Setting, coding: Coding, pool: list[Candidate]) -> Chosen:
    """Score finalists on the images no rounding was fitted to, and certify the winner."""
    judged = setting.inputs[1::2] if len(setting.inputs) > 1 else setting.inputs
    scores = score(layer, judged, pool)
    winner = min(range(len(pool)), key=lambda i: scores[i])
    found, reachable = certify_layer(pool[winner].layer, setting.highest, layer.timesteps)
    return Chosen(pool[winner], found, scores[winner], coding, reachable)


def _forced(layer: FloatLayer, setting: Setting, coding: Coding, builds: list[Build]) -> Chosen:
    scale: Any = setting.forced
    tried = [b(scale) for b in builds]
    for candidate in tried:
        if not _problems(layer, setting, candidate):
            chip_weights = [] if coding == "bias" else _compensated(layer, setting, [candidate])
            return _best(layer, setting, coding, [candidate, *chip_weights])
    reasons = _problems(layer, setting, tried[-1])
    fits = [f for b in builds if (f := _largest_fitting(layer, setting, b, scale)) is not None]
    way_out = (
        f"the largest scale that fits is {_round_down(max(fits))}; give it, or leave "
        "--scale out for this layer: one is then chosen"
        if fits
        else _WAYS_OUT
    )
    raise RangeError("; ".join(reasons), where=layer.name, hint=f"scale {scale:g}: {way_out}")


_SMALLEST = 1e-12
_WAYS_OUT = (
    "fewer timesteps, a smaller fan-in, smaller weights or biases (weight decay), a larger "
    "threshold, or for the first layer the other input coding make room"
)


def _nothing_fits(layer: FloatLayer, setting: Setting, build: Build) -> RangeError:
    tried = build(_SMALLEST)
    reasons = "; ".join(_problems(layer, setting, tried))
    text = f"no scale fits; at the smallest, {tried.scale:.3g}: {reasons}"
    return RangeError(text, where=layer.name, hint=_WAYS_OUT)


def _round_down(x: float) -> str:
    """Write three digits, rounded down, so that the number itself still fits."""
    text = f"{x:.3g}"
    return text if float(text) <= x else f"{x * 0.995:.3g}"
