"""The graphs made by hand show what they are for: take a part away, and the reference differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import wired

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import RunResult
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.chip import ChipNetwork, Connection
from spikeproof.ir.readouts import ReadoutRule

CASES = wired.cases()


def without(network: ChipNetwork, name: str, left: list[Connection]) -> ChipNetwork:
    """Return the network with other connections into one layer."""
    return network.changed(
        [
            replace(layer, inputs=tuple(left)) if layer.name == name else layer
            for layer in network.layers
        ]
    )


def variants(network: ChipNetwork) -> Iterator[tuple[str, ChipNetwork]]:
    """Take each connection away where others are left; let each that lags arrive a step later."""
    for layer in network.layers:
        for k, one in enumerate(layer.inputs):
            others = [c for c in layer.inputs if c is not one]
            if others and one.lag < network.timesteps:
                yield f"{layer.name} without {k}", without(network, layer.name, others)
            if 0 < one.lag < network.timesteps:
                later = [c.changed(lag=c.lag + 1) if c is one else c for c in layer.inputs]
                yield f"{layer.name}, {k} later", without(network, layer.name, later)
            if one.synapse.exponent:
                plain = one.synapse.changed(exponent=one.synapse.exponent + 1)
                other = [c.changed(synapse=plain) if c is one else c for c in layer.inputs]
                yield f"{layer.name}, exponent of {k}", without(network, layer.name, other)


def same(one: RunResult, other: RunResult) -> bool:
    assert one.traces is not None and other.traces is not None
    return all(
        np.array_equal(trace.u, other.traces[name].u)
        and np.array_equal(trace.v, other.traces[name].v)
        for name, trace in one.traces.items()
    )


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_connection_and_its_lag_matter(name: str) -> None:
    network = CASES[name]
    check_chip(network)
    x = wired.stimulus(network)
    expected = ReferenceEngine().run(network, x, trace=True)
    traces = expected.traces or {}
    assert all(t.s is None or t.s.any() for t in traces.values()), "a silent layer shows nothing"
    for what, other in variants(network):
        found = ReferenceEngine().run(other, x, trace=True)
        assert not same(expected, found), what


def test_every_readout_gives_another_answer() -> None:
    for end in (" of spikes", ""):
        answers = {
            rule: ReferenceEngine().run(CASES[key], wired.stimulus(CASES[key])).logits.tobytes()
            for rule in get_args(ReadoutRule)
            if rule != "auto" and (key := f"readout {rule}{end}") in CASES
        }
        assert len(set(answers.values())) == len(answers) > 3, answers
