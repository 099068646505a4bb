"""V13: forced ties sit on the threshold, and an engine off by one is caught."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikeproof.engines.fast import FastEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir import chip
from spikeproof.verify.checks.threshold import (
    BoundaryFigures,
    BoundaryLayer,
    Quantiles,
    audit_layer,
    boundary_outcome,
)
from spikeproof.verify.ties import compare_ties, count_ties, tie_cases


class OffByOne(FastEngine):
    """An engine that fires at the threshold, not above it: a threshold one unit too low."""

    name = "off-by-one"

    def run(self, network: Any, x: Any, **options: Any) -> Any:
        layers = []
        for layer in network.layers:
            neuron = layer.neuron
            if isinstance(neuron, chip.LifNeuron):
                steps = network.timesteps
                raw = np.full(steps, neuron.threshold * 64 - 1, np.int64)
                leak = np.full(steps, 4096 - neuron.dv, np.int64)
                rest = (neuron.bias, neuron.bias_exponent, neuron.du)
                neuron = chip.TableLifNeuron(leak, raw, *rest)
            elif isinstance(neuron, chip.TableLifNeuron):
                neuron = replace(neuron, threshold=neuron.threshold - 1)
            layers.append(replace(layer, neuron=neuron))
        return super().run(replace(network, layers=tuple(layers)), x, **options)


def _check(network: Any, engine: Any) -> Any:
    engines = engine if isinstance(engine, list) else [engine]
    return boundary_outcome(_audited("l1", "l2"), compare_ties(tie_cases(network), engines), 0)


def _audited(*names: str) -> Any:
    quantiles = Quantiles(p01=0, p10=0, p50=0)
    return [
        BoundaryLayer(
            name=n,
            states=1,
            on_threshold=0,
            within_1_lsb=0,
            float_within_1_lsb=0,
            margin_quantiles=quantiles,
        )
        for n in names
    ]


@pytest.mark.parametrize("kind", ["case", "table_case"])
def test_ties_are_really_on_the_threshold(kind: str, request: Any) -> None:
    cases = tie_cases(request.getfixturevalue(kind).bundle.network)
    assert [c.layer for c in cases] == ["l1", "l2"]
    for case in cases:
        trace = ReferenceEngine().run(case.network, case.x, trace=True).traces[case.layer]
        # every step of the layer's own clock gets a tie
        assert case.expected == case.network.timesteps
        assert count_ties(case, trace) >= case.expected
        threshold_reached = trace.s.reshape(-1).sum()
        assert threshold_reached >= case.expected  # the neurons one unit above do fire


@pytest.mark.parametrize("kind", ["case", "table_case"])
def test_engine_off_by_one_fails_only_by_ties(kind: str, request: Any) -> None:
    network = request.getfixturevalue(kind).bundle.network
    assert _check(network, FastEngine()).verdict == "pass"
    wrong = _check(network, OffByOne())
    assert wrong.verdict == "fail"
    assert isinstance(wrong.figures, BoundaryFigures) and wrong.figures.forced_mismatches > 0


def test_engine_that_cannot_run_ties_is_inconclusive(case: Any) -> None:
    class Picky(FastEngine):
        def problems(self, network: Any) -> list[str]:
            return ["no spike input"] if network.coding == "spikes" else []

    assert _check(case.bundle.network, Picky()).verdict == "inconclusive"
    Picky.name = "picky"
    found = _check(case.bundle.network, [FastEngine(), Picky()])
    assert found.verdict == "inconclusive", "the fast engine alone does not speak for a target"
    assert "l1 (picky), l2 (picky)" in found.summary


def test_layer_without_a_tie_is_inconclusive(case: Any) -> None:
    ties = compare_ties(tie_cases(case.bundle.network)[:1], [FastEngine()])
    found = boundary_outcome(_audited("l1", "l2"), ties, 0)
    assert found.verdict == "inconclusive" and "l2 (fast)" in found.summary


def test_missed_tie_is_a_fail(case: Any) -> None:
    ties = compare_ties(tie_cases(case.bundle.network), [FastEngine()])
    missed = ties.layers[0].model_copy(update={"ties": 0})
    ties = ties.model_copy(update={"layers": [missed, *ties.layers[1:]]})
    assert boundary_outcome(_audited("l1", "l2"), ties, 0).verdict == "fail"


def test_audit_counts_states_at_the_threshold() -> None:
    neuron = chip.LifNeuron(2, 41, np.zeros(5, np.int32))  # threshold 128
    synapse = chip.DenseSynapse(np.zeros((5, 1), np.int16))
    layer = chip.ChipLayer("l", (chip.Connection(synapse),), neuron, (5,))
    v = np.array([[[128, 129, 127, 0, 640]]], np.int32)
    row = audit_layer(layer, LayerTrace(v * 0, v, (v > 128).astype(np.uint8)), None)
    assert (row.states, row.on_threshold, row.within_1_lsb) == (5, 1, 3)
    assert row.margin_quantiles.p50 == pytest.approx(1 / 128)
    assert row.float_within_1_lsb is None
