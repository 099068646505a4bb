"""Choose the scale of each layer by measurement, among scales that provably cannot overflow.

Max-abs scaling spends the 8 bits on the largest weight. Here a geometric grid around it is
tried, including scales that clip outliers; candidates are scored on calibration images against the
float layer (:mod:`score`), coarse before fine, and the best of those that are certified go on. The
finalists are rounded a second time with compensation, fitted to one half of the images and judged
on the other. What one layer may cost is bounded: of a large one, fewer images are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from spikeproof.certify.lower_rail import LowerRail
from spikeproof.certify.ranges import LayerRange, certify_layer
from spikeproof.convert.compensate import compensation
from spikeproof.convert.host import (
    largest_host_scale,
    round_host_layer,
    round_mixed_layer,
    spikes_alone,
)
from spikeproof.convert.quantise import (
    Candidate,
    Coding,
    FloatLayer,
    max_abs_scale,
    round_layer,
    settle_scale,
)
from spikeproof.convert.score import Inputs, Score, score
from spikeproof.errors import RangeError
from spikeproof.numerics.affine import Parallel
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

_FINE_WORK = 5e10
"""The same where finalists are judged: 16 images or more, which have a million spikes to flip."""

_STATE_COST = 150

_HELD = 1 << 28
"""Weights of all candidates of a layer that are held at a time; others are rounded again."""

_BISECTION_WORK = 1e8
"""Multiplications of a certificate from which the largest scale that fits is predicted."""

Build = Callable[[float], Candidate]
Tell = Callable[[str], None]
"""Told what is being done to a layer now."""

Certificate = tuple[LayerRange, Ints]


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
    highest: Sequence[Ints]
    """The largest payload of each input, for every connection."""
    bits: int = 8
    search: bool = True
    compensate: bool = True
    forced: float | None = None
    bias_exponent: int | None = None
    """The only exponent biases may have; None: any of the chip's."""
    lower_rail: LowerRail = "never"
    tell: Tell = field(default=lambda _: None)
    certificates: WeakKeyDictionary[Candidate, Certificate] = field(
        default_factory=WeakKeyDictionary
    )
    """What has been certified of this layer: no candidate is certified twice."""


def choose(layer: FloatLayer, setting: Setting, coding: Coding) -> Chosen:
    """Return the best certified candidate of a layer under one coding.

    Raises:
        RangeError: a forced scale overflows, or no scale fits; says which bound and what helps.
    """
    if coding == "bias" and not layer.mixed:
        return _choose_host(layer, setting)
    on_host = coding == "bias"

    @lru_cache(maxsize=max(2, _HELD // max(1, layer.linear.weight.size)))
    def build(scale: float) -> Candidate:
        if on_host:
            return round_mixed_layer(layer, scale, setting.bits, setting.bias_exponent)
        return round_layer(layer, scale, setting.bits, bias_exponent=setting.bias_exponent)

    if setting.forced is not None:
        return _forced(layer, setting, coding, [build])
    base = max_abs_scale(spikes_alone(layer) if on_host else layer, setting.bits)
    setting.tell("largest scale that cannot overflow")
    top = _largest_fitting(layer, setting, build, HIGHEST * base)
    if top is None:
        raise _nothing_fits(layer, setting, build)
    plain = min(base, top)
    if not setting.search:
        only = _fitting(layer, setting, build, [plain, top])[:1]
        return _best(layer, setting, coding, [*only, *_compensated(layer, setting, only)])
    low = LOWEST * plain
    grid = np.geomspace(low, min(top, HIGHEST * base), COARSE).tolist()
    scales = [plain, *grid, top]
    setting.tell(f"scoring {len(scales)} scales")
    scores = _scores(layer, setting, build, scales)
    ranked = _best_fitting(layer, setting, build, scores, 4)
    plainest = next(c for scale in scales if _fits(layer, setting, c := build(scale)))
    ratio = float((top / low) ** (1 / (COARSE - 1)))
    centre = ranked[0].scale
    near = [centre * ratio**k for k in (-0.6, -0.3, -0.15, 0.15, 0.3, 0.6)]
    setting.tell("scoring neighbours of the best scale")
    scores |= _scores(layer, setting, build, near)
    ranked = _best_fitting(layer, setting, build, scores, 3)
    finalists = _distinct([*ranked, plainest])
    again = _compensated(layer, setting, _distinct([ranked[0], plainest]))
    return _best(layer, setting, coding, [*finalists, *again])


def _compensated(layer: FloatLayer, setting: Setting, pool: list[Candidate]) -> list[Candidate]:
    """Round the same scales again, letting roundings make up for each other."""
    missing = isinstance(layer.linear, Parallel) and layer.linear.grouped
    on_host = any(candidate.layer.host for candidate in pool)
    if not setting.compensate or missing or on_host:
        return []
    setting.tell("moments of the inputs, for compensation")
    rounding = compensation(layer, setting.inputs[::2])
    setting.tell("rounding with compensation")
    again = [
        round_layer(layer, c.scale, setting.bits, rounding, setting.bias_exponent) for c in pool
    ]
    return [c for c in again if _fits(layer, setting, c)]


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


def _certificate(layer: FloatLayer, setting: Setting, candidate: Candidate) -> Certificate:
    found = setting.certificates.get(candidate)
    if found is None:
        found = certify_layer(candidate.layer, setting.highest, layer.timesteps, setting.lower_rail)
        setting.certificates[candidate] = found
    return found


def _problems(layer: FloatLayer, setting: Setting, candidate: Candidate) -> tuple[str, ...]:
    return candidate.problems + _certificate(layer, setting, candidate)[0].problems


def _fits(layer: FloatLayer, setting: Setting, candidate: Candidate) -> bool:
    return not _problems(layer, setting, candidate)


def _fitting(
    layer: FloatLayer, setting: Setting, build: Build, scales: Sequence[float]
) -> list[Candidate]:
    built = _distinct([build(s) for s in scales])
    return [c for c in built if _fits(layer, setting, c)]


def _scores(
    layer: FloatLayer, setting: Setting, build: Build, scales: Sequence[float]
) -> dict[float, Score]:
    """Score scales coarsely, as many at a time as may be held; a repeated one counts once."""
    inputs = _coarse(layer, setting)
    held = max(1, _HELD // max(1, layer.linear.weight.size))
    found: dict[float, Score] = {}
    for start in range(0, len(scales), held):
        some = _distinct([build(scale) for scale in scales[start : start + held]])
        scored = zip(some, score(layer, inputs, some), strict=True)
        found |= {c.scale: its for c, its in scored if c.scale not in found}
    return found


def _best_fitting(
    layer: FloatLayer, setting: Setting, build: Build, scores: dict[float, Score], count: int
) -> list[Candidate]:
    """Return the best candidates that fit, best first: only those are certified, and who misses."""
    found: list[Candidate] = []
    for scale in sorted(scores, key=lambda scale: scores[scale]):
        if len(found) < count and _fits(layer, setting, candidate := build(scale)):
            found.append(candidate)
    return found


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Drop repeated scales (thresholds are whole numbers), keeping the order."""
    seen: dict[tuple[float, int], Candidate] = {}
    for c in candidates:
        seen.setdefault((c.scale, c.layer.neuron.bias_exponent), c)
    return list(seen.values())


def _largest_fitting(layer: FloatLayer, setting: Setting, build: Build, top: float) -> float | None:
    """Return ``top`` if it fits, else the largest scale below it that does, to about 1 %.

    Bounds are nearly linear in the scale, so a large layer's is predicted from the headroom of a
    scale that was tried, and the two ends of the bisection that it leads to are certified.
    """
    known = _Known(layer, setting, build)
    if known.fits(top):
        return top
    work = layer.linear.weight.size * int(np.prod(layer.shape[1:]))
    for _ in range(_PREDICTIONS if work > _BISECTION_WORK else 0):
        ends = _bisect(layer, top, partial(known.guess, known.predicted))
        if ends is None:
            break
        if known.fits(ends[0]) and not known.fits(ends[1]):
            return ends[0]
    ends = _bisect(layer, top, known.fits)
    return None if ends is None else ends[0]


_PREDICTIONS = 6


class _Known:
    """Which scales of a layer fit: those that were tried, and what that says of others."""

    def __init__(self, layer: FloatLayer, setting: Setting, build: Build) -> None:
        self._layer, self._setting, self._build = layer, setting, build
        self._tried: dict[float, bool] = {}
        self.predicted = 0.0
        """The largest scale that fits, as far as the scale that was tried last can tell."""

    def fits(self, scale: float) -> bool:
        """Certify a scale."""
        if scale not in self._tried:
            candidate = self._build(scale)
            self._tried[scale] = _fits(self._layer, self._setting, candidate)
            headroom = _certificate(self._layer, self._setting, candidate)[0].headroom_bits
            # What the certificate does not know of, registers too small for a bias or a threshold,
            # fits at half the scale or at half of that.
            self.predicted = scale * 2.0 ** (min(headroom, -1) if candidate.problems else headroom)
        return self._tried[scale]

    def guess(self, predicted: float, scale: float) -> bool:
        """Tell without certifying: smaller than one that fits does, larger than one that does not.

        In between a prediction decides.
        """
        if any(fits and scale <= tried for tried, fits in self._tried.items()):
            return True
        if any(not fits and scale >= tried for tried, fits in self._tried.items()):
            return False
        return scale <= predicted


def _bisect(
    layer: FloatLayer, top: float, fits: Callable[[float], bool]
) -> tuple[float, float] | None:
    """Return a scale below ``top``, which does not fit, that fits, and one 1 % above that does not.

    None if none fits.
    """
    high, low = top, top
    for _ in range(60):
        low /= 2
        if fits(low):
            break
        if settle_scale(layer, low) > 4 * low:  # the threshold mantissa is already 1
            return None
        high = low
    else:
        return None
    while high / low > 1.01:
        middle = (high * low) ** 0.5
        if fits(middle):
            low = middle
        else:
            high = middle
    return low, high


def _coarse(layer: FloatLayer, setting: Setting) -> Inputs:
    """Take as many calibration samples as a coarse round may cost, evenly spread."""
    return _affordable(layer, setting.inputs, _COARSE_WORK, 8)


def _affordable(layer: FloatLayer, inputs: Inputs, work: float, fewest: int) -> Inputs:
    spatial = int(np.prod(layer.shape[1:]))
    cost = inputs.shape[1] * spatial * layer.linear.weight.size
    cost += _STATE_COST * layer.timesteps * int(np.prod(layer.shape))
    count = int(np.clip(work / cost, fewest, max(fewest, len(inputs))))
    kept: Inputs = inputs[np.linspace(0, len(inputs) - 1, min(count, len(inputs))).astype(int)]
    return kept


def _rank(layer: FloatLayer, inputs: Inputs, pool: list[Candidate]) -> list[Candidate]:
    scores = score(layer, inputs, pool)
    return [pool[i] for i in sorted(range(len(pool)), key=lambda i: scores[i])]


def _best(layer: FloatLayer, setting: Setting, coding: Coding, pool: list[Candidate]) -> Chosen:
    """Score finalists on the images no rounding was fitted to, and certify the winner."""
    judged = setting.inputs[1::2] if len(setting.inputs) > 1 else setting.inputs
    setting.tell(f"judging {len(pool)} finalists")
    scores = score(layer, _affordable(layer, judged, _FINE_WORK, 16), pool)
    winner = min(range(len(pool)), key=lambda i: scores[i])
    found, reachable = _certificate(layer, setting, pool[winner])
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
