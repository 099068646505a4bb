"""Check the relation each pass declares on real images (V2)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.conversion import KINDS, PIPELINE, Relation, Stage
from spikeproof.ir.chip import ChipNetwork, GeneralLifNeuron
from spikeproof.ir.floats import Lif
from spikeproof.verify.checked_relation import BoundedLayer, CheckedRelation
from spikeproof.verify.config import StageLimits
from spikeproof.verify.interval import bound_network, constants
from spikeproof.verify.stages import Membrane, StageRuns, Stages
from spikeproof.verify.verdict import Verdict

Mask = NDArray[np.bool_]
F64 = NDArray[np.float64]
_SLACK = 1e-6
"""Float64 rounding of a real-valued state, in v-units."""


def check_stages(stages: Stages, runs: StageRuns, limits: StageLimits) -> list[CheckedRelation]:
    """Check what each stage declares of its relation to the one before, a row for each pair.

    A behavioural one is measured, and judged end to end elsewhere.
    """
    rows = []
    for before, after in pairwise(stages.stages):
        row = _check(stages, runs, before, after, limits)
        same = runs.predictions[before.name] == runs.predictions[after.name]
        ends = {"source": before.name, "target": after.name, "agreement": float(same.mean())}
        rows.append(row.model_copy(update=ends))
    return rows


def _check(
    stages: Stages, runs: StageRuns, before: Stage, after: Stage, limits: StageLimits
) -> CheckedRelation:
    first, second = runs.whole[before.name], runs.whole[after.name]
    if isinstance(after.network, ChipNetwork):  # compared layer by layer, on equal input spikes
        second = runs.local[before.name]
    promised = next(link for link in PIPELINE if link.stage == after.name)
    declared = after.relation
    if declared is None or KINDS.index(declared.kind) > KINDS.index(promised.kind):
        return compare_bounded(first, second, [])  # less than this version's passes promise
    bounded = declared.kind == "bounded"
    if declared.unit != (promised.unit if bounded else "") or (bounded and not promised.unit):
        return _unknown_unit(_measure(first, second), declared, promised.unit if bounded else "")
    if declared.kind == "exact":
        return compare_exact(first, second, limits)
    if declared.kind == "behavioural":
        return _measure(first, second)
    return judge_bound(compare_bounded(first, second, state_bounds(stages)), declared.bound)


def _unknown_unit(row: CheckedRelation, declared: Relation, expected: str) -> CheckedRelation:
    """Fail a step whose declared bound cannot be compared with anything that is known of it."""
    found = {"relation": declared.kind, "verdict": Verdict.FAIL, "declared_bound": declared.bound}
    units = {"declared_unit": declared.unit, "expected_unit": expected}
    return row.model_copy(update=found | units)


def judge_bound(row: CheckedRelation, declared: float) -> CheckedRelation:
    """Judge the bound that the bundle declares, in v-units, beside the one its numbers give.

    A wider one is no bound of these numbers; one that a measured difference exceeds is none either.
    """
    bounds = [x for x in row.layers if isinstance(x, BoundedLayer)]
    update = {"declared_bound": declared, "verdict": Verdict.FAIL}
    if declared > max(x.bound for x in bounds) * (1 + 1e-6):
        return row.model_copy(update=update)
    exceeding = [x for x in bounds if x.largest > declared + _SLACK]
    if row.verdict is Verdict.PASS and exceeding:
        return row.model_copy(update={**update, "bound": declared, "layer": exceeding[0].layer})
    return row


def state_bounds(stages: Stages) -> list[float]:
    """Bound |integer v - real v| per layer, in v-units, for equal parameters, inputs and spikes.

    Each step cuts off less than one unit, a host current is off by half a step of its mantissa,
    and the leak carries all of it on. The leak of a table differs a little from the one that its
    thresholds stand for; that acts on a v that stayed silent. Nothing is read from the record.
    """
    found = []
    everywhere = bound_network(stages.chip, stages.options.lower_rail)
    for layer, bounds in zip(stages.chip.layers, everywhere, strict=True):
        end = next(n for n in stages.quantised.nodes if n.name == layer.name)
        neuron = layer.neuron
        fresh = 2.0**neuron.bias_exponent / 2 if layer.host else 0.0
        low, high = -float(bounds.v_low.min()), float(bounds.v_high.max())
        soft = isinstance(neuron, GeneralLifNeuron) and neuron.reset is not None
        begins = isinstance(neuron, GeneralLifNeuron) and neuron.initial.any()
        first = np.asarray(constants(neuron, 0)[1]) / 4096
        error = worst = fresh + _cut(first) * begins
        for t in range(1, stages.chip.timesteps):
            leak, silent = np.asarray(constants(neuron, t)[1]) / 4096, constants(neuron, t - 1)[2]
            off: Any = 0.0
            if isinstance(end, Lif) and end.gain is not None:
                grown = np.asarray(constants(neuron, t)[2]) / silent
                off = np.abs(end.leak * grown - leak)
            # A spike that is not followed by a reset to 0 leaves what was above the threshold.
            kept = np.maximum(low, high if silent is None or soft else np.minimum(silent, high))
            error = error * (leak + off) + off * kept + _cut(leak) + fresh
            worst = np.maximum(worst, error)
        found.append(float(np.max(worst)))
    return found


def _cut(leak: F64) -> F64:
    """Return what a step cuts off at most: 1 unit, or nothing where it keeps all or nothing."""
    return np.where(np.isin(leak, (0.0, 1.0)), 0.0, 1.0)


def compare_exact(
    first: list[Membrane], second: list[Membrane], limits: StageLimits
) -> CheckedRelation:
    """Check that two float stages are one function, up to float64 rounding.

    A spike may differ only where the membrane is within the tolerance of the threshold; what
    follows from such a spike (later steps, later layers) is not compared, and counted.
    """
    tolerance = limits.exact_tolerance
    alive = np.ones(len(first[0].v), np.bool_)
    largest, flips, unexcused, spikes = 0.0, 0, 0, 0
    broken = None
    for left, right in zip(first, second, strict=True):
        before = unexcused
        scale = max(1.0, float(np.abs(left.v).max()))
        comparable = np.broadcast_to(alive[:, None], left.v.shape[:2])
        if left.s is not None and right.s is not None:
            differs = left.s != right.s
            flipped = differs.reshape(*differs.shape[:2], -1).any(axis=2)
            comparable = comparable & ~_earlier(flipped)
            clear = np.abs(left.v - 1.0) / scale > tolerance
            unexcused += int((differs & clear)[comparable].sum())
            flips += int(differs.sum())
            spikes += int(left.s.sum())
            alive = alive & ~flipped.any(axis=1)
        error = float(np.abs(left.v - right.v)[comparable].max(initial=0.0)) / scale
        largest = max(largest, error)
        if broken is None and (error > tolerance or unexcused > before):
            broken = left.name
    verdict = Verdict.PASS
    if largest > tolerance or unexcused:
        verdict = Verdict.FAIL
    elif 1 - alive.mean() > limits.excused:
        verdict = Verdict.INCONCLUSIVE
    row = _row("exact", tolerance, "relative", largest, flips, spikes, verdict)
    return row.model_copy(
        update={
            "excused_share": float(1 - alive.mean()),
            "excused_limit": limits.excused,
            "unexcused_spikes": unexcused,
            "layer": broken,
        }
    )


def compare_bounded(
    first: list[Membrane], local: list[Membrane], bounds: list[float]
) -> CheckedRelation:
    """Check |integer v - real v| layer by layer on equal input spikes, in v-units.

    A neuron is followed until its own spike train first differs; it may differ only where the
    real membrane is within the bound of the threshold. ``bounds``: one per layer, or empty.
    """
    largest, flips, unexcused, spikes = 0.0, 0, 0, 0
    broken = None
    layers = []
    for left, right, bound in zip(first, local, bounds or [0.0] * len(first), strict=True):
        error = np.abs(left.v - right.v) * left.lsb
        clear = 0
        if left.s is not None and right.s is not None:
            differs = left.s != right.s
            followed = ~_earlier(differs)
            error = np.where(followed, error, 0.0)
            far = np.abs(left.v - 1.0) * left.lsb > bound + _SLACK
            clear = int((differs & followed & far).sum())
            flips += int(differs.sum())
            spikes += int(left.s.sum())
        worst = float(error.max())
        unexcused += clear
        largest = max(largest, worst)
        if broken is None and (worst > bound + _SLACK or clear):
            broken = left.name
        layers.append(BoundedLayer(layer=left.name, bound=bound, largest=worst))
    if not bounds:
        return _row("bounded", None, "v-units", largest, flips, spikes, Verdict.INCONCLUSIVE)
    verdict = Verdict.PASS if broken is None else Verdict.FAIL
    row = _row("bounded", max(bounds), "v-units", largest, flips, spikes, verdict)
    return row.model_copy(update={"unexcused_spikes": unexcused, "layer": broken, "layers": layers})


def _measure(first: list[Membrane], second: list[Membrane]) -> CheckedRelation:
    """Measure a behavioural pass; it is judged end to end, by the accuracy of the chip."""
    largest, flips, spikes = 0.0, 0, 0
    for left, right in zip(first, second, strict=True):
        if left.s is not None and right.s is not None:
            flips += int((left.s != right.s).sum())
            spikes += int(left.s.sum())
            largest = max(largest, float(np.abs(left.v - right.v).max()))
    return _row("behavioural", None, "threshold", largest, flips, spikes, Verdict.INFO)


def _earlier(flags: Mask) -> Mask:
    """Tell for each step (axis 1) whether any earlier step is flagged."""
    seen = np.logical_or.accumulate(flags, axis=1)
    result = np.zeros_like(seen)
    result[:, 1:] = seen[:, :-1]
    return result


def _row(
    relation: str,
    bound: float | None,
    unit: str,
    largest: float,
    flips: int,
    spikes: int,
    verdict: Verdict,
) -> CheckedRelation:
    """Write a row; its ends and the agreement of the predictions are set where they are known."""
    return CheckedRelation(
        source="",
        target="",
        relation=relation,
        bound=bound,
        unit=unit,
        max_difference=largest,
        flipped_spikes=flips,
        spikes=spikes,
        agreement=None,
        verdict=verdict,
    )
