"""Force states exactly onto the threshold, in one small run for each spiking layer (check V13)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.document.values import Record, Text
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import Engine, LayerTrace
from spikeproof.ir.chip import ChipLayer, ChipNetwork, Connection, DenseSynapse, Neuron
from spikeproof.verify.compare import compare_traces, run_all_traced, run_traced

_OFFSETS = (-1, 0, 1)
_BIASES = np.arange(-1000, 1001, dtype=np.int64)
_WEIGHT_MAX = 255
V_STEP = int(fx.shift_sum(1, fx.CURRENT_SHIFT))
"""v-units per unit of synaptic sum."""


class EngineTies(Record):
    """States compared in the runs of one layer, and how many differ."""

    states: int
    mismatches: int


class TieLayer(Record):
    """Forced ties of one layer; an engine that cannot run such a network is left out."""

    name: Text
    ties: int
    expected: int
    engines: dict[str, EngineTies]


class Ties(Record):
    """The same small runs on every engine."""

    engines: list[Text]
    layers: list[TieLayer]


@dataclass(frozen=True, eq=False)
class TieCase:
    """A one-layer network and an input that put states exactly on the threshold.

    expected: how many states must then be exactly on it, so that a case that missed is noticed.
    """

    layer: str
    network: ChipNetwork
    x: NDArray[np.uint8]
    expected: int


def tie_cases(network: ChipNetwork) -> list[TieCase]:
    """Build one case per spiking layer, with the numbers of that layer's first neuron."""
    cases = []
    for layer in network.layers:
        if layer.neuron.spiking:
            case = _tie_case(layer, network.timesteps)
            if case is not None:
                cases.append(case)
    return cases


def _tie_case(layer: ChipLayer, steps: int) -> TieCase | None:
    """Give each (step, offset) a neuron: at that step one volley lands on threshold + offset."""
    alike = layer.neuron.of_one((0,) * len(layer.shape), layer.shape)
    found = [
        (t, offset, solution)
        for t in range(steps)
        for offset in _OFFSETS
        if (solution := _solve(alike, t, offset)) is not None
    ]
    if not found:
        return None
    largest = max(total for _, _, (_, total) in found)
    inputs = max(1, -(-largest // _WEIGHT_MAX))
    weight = np.stack([_spread(total, inputs) for _, _, (_, total) in found]).astype(np.int16)
    bias = np.array([bias for _, _, (bias, _) in found], np.int32)
    neuron = alike.changed(bias=bias, bias_exponent=0)
    built = ChipLayer(
        layer.name, (Connection(DenseSynapse(weight, "excitatory")),), neuron, (len(found),)
    )
    x = np.zeros((steps, steps, inputs, 1, 1), np.uint8)
    x[range(steps), range(steps)] = 1  # sample k: all inputs fire at step k
    expected = sum(offset == 0 for _, offset, _ in found)
    return TieCase(
        layer.name, ChipNetwork("ties", (inputs, 1, 1), steps, (built,), "spikes"), x, expected
    )


def _spread(total: int, inputs: int) -> NDArray[np.int64]:
    """Split a sum over ``inputs`` weights of at most 255."""
    full, rest = divmod(total, _WEIGHT_MAX)
    weights = np.zeros(inputs, np.int64)
    weights[:full] = _WEIGHT_MAX
    if rest:
        weights[full] = rest
    return weights


def _solve(neuron: Neuron, step: int, offset: int) -> tuple[int, int] | None:
    """Find a bias and a synaptic sum that bring v to threshold + offset at ``step``.

    Before that step the neuron sees its bias only; the bias nearest to zero is taken.
    """
    v = np.zeros_like(_BIASES) + neuron.initial
    for t in range(step):
        v = fx.scale_toward_zero(v, neuron.leak_at(t)) + _BIASES
        v = np.where(v > neuron.threshold_at(t), neuron.after_spike(v), v)
    kept = fx.scale_toward_zero(v, neuron.leak_at(step))
    missing = neuron.threshold_at(step) + offset - kept - _BIASES
    total, rest = np.divmod(missing, V_STEP)
    usable = np.flatnonzero((rest == 0) & (total >= 0) & (total <= fx.SUM_MAX))
    if not len(usable):
        return None
    best = min(usable.tolist(), key=lambda i: abs(int(_BIASES[i])))
    return int(_BIASES[best]), int(total[best])


def count_ties(case: TieCase, trace: LayerTrace) -> int:
    """Count the states of a run that are exactly on the threshold."""
    threshold = case.network.layers[0].thresholds(trace.v.shape[1])
    return int((trace.v == threshold).sum())


def compare_ties(cases: list[TieCase], engines: list[Engine]) -> Ties:
    """Run states that sit exactly on the threshold through every engine and the reference."""
    traces = [run_traced(ReferenceEngine(), case.network, case.x) for case in cases]
    found: list[dict[str, EngineTies]] = [{} for _ in cases]
    for engine in engines:
        able = [i for i, case in enumerate(cases) if not engine.problems(case.network)]
        answers = run_all_traced(engine, [(cases[i].network, cases[i].x) for i in able])
        for i, answer in zip(able, answers, strict=True):
            states = int(traces[i][cases[i].layer].v.size)
            differ = sum(x.mismatches for x in compare_traces(traces[i], answer))
            found[i][engine.name] = EngineTies(states=states, mismatches=differ)
    rows = [
        TieLayer(
            name=case.layer,
            ties=count_ties(case, trace[case.layer]),
            expected=case.expected,
            engines=engines_found,
        )
        for case, trace, engines_found in zip(cases, traces, found, strict=True)
    ]
    return Ties(engines=[engine.name for engine in engines], layers=rows)
