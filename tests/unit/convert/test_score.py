"""What a candidate is scored on are the integers the chip will have."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.convert.quantise import Candidate, FloatLayer, round_layer
from spikeproof.convert.score import chip_current, score
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
)
from spikeproof.ir.floats import Lif, Linear, Readout
from spikeproof.ir.readouts import ReadoutRule
from spikeproof.numerics.affine import columns


@pytest.mark.parametrize("exponent", [0, 3])
def test_a_host_sum_beyond_24_bits_rounds_like_the_chip(exponent: int) -> None:
    shift, sum_ = 14, 32767 * 513  # odd and above 2^24: no float32 holds it
    assert int(np.float32(sum_)) != sum_
    half = (1 << (shift - 1)) - sum_ % (1 << shift)  # sum + half lies exactly between two mantissas
    offset = np.array([half - 1, half, half + 1])
    inner = DenseSynapse(np.full((3, 3), 32767, np.int32))
    built = ChipLayer(
        "l1",
        (Connection(inner, host=HostCurrent(offset, shift)),),
        LifNeuron(2**17 - 1, 0, np.zeros(1, np.int32), exponent),
        (3,),
    )
    network = ChipNetwork("host", (1, 1, 3), 1, (built,))
    x = np.array([255, 255, 3], np.uint8).reshape(1, 1, 1, 3)
    traces = ReferenceEngine().run(network, x, trace=True).traces
    assert traces is not None
    expected = traces["l1"].v[0, 0]
    assert expected[1] == expected[2] == expected[0] + 2**exponent

    layer = FloatLayer(Linear("fc", np.ones((3, 3)), None), Lif("l1", 1.0, 1.0), (1, 1, 3), 1, True)
    unfolded = columns(layer.linear, x.astype(np.float32))
    found = chip_current(Candidate(built, 1.0, 0.0, ()), layer, x[:, None], unfolded)
    np.testing.assert_array_equal(found.ravel(), expected)


@pytest.mark.parametrize("rule", ["auto", "last", "mean", "max", "max-abs"])
def test_a_readout_is_scored_by_the_answers_its_rule_gives(rule: ReadoutRule) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (4, 8))
    layer = FloatLayer(Linear("fc", weight, None), Readout("out", rule), (8, 1, 1), 5, False)
    spikes = (rng.random((400, 5, 8, 1, 1)) < 0.4).astype(np.uint8)
    candidates = [round_layer(layer, scale, 8) for scale in (0.9, 2.0, 40.0)]
    membrane = (spikes.reshape(400, 5, 8) @ weight.T).cumsum(axis=1)
    trained = {
        "auto": membrane[:, -1],
        "last": membrane[:, -1],
        "mean": membrane.mean(axis=1),
        "max": membrane.max(axis=1),
        "max-abs": np.abs(membrane).max(axis=1),
    }[rule]
    for candidate, found in zip(candidates, score(layer, spikes, candidates), strict=True):
        network = ChipNetwork("n", (8, 1, 1), 5, (candidate.layer,), "spikes", rule)
        chip = ReferenceEngine().run(network, spikes).logits
        assert np.any(chip.argmax(1) != trained.argmax(1)) or candidate.scale > 30
        assert found.rate == pytest.approx(np.mean(chip.argmax(1) != trained.argmax(1)))
