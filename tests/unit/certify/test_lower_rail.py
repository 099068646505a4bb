"""v may saturate at its lower end where that is allowed, and only there; what is claimed holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeproof import fixedpoint as fx
from spikeproof.bundles import check_bundle_ranges, overflow_warnings
from spikeproof.certify.ranges import certify_ranges, check_ranges
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.registry import ENGINES
from spikeproof.errors import RangeError
from spikeproof.io.bundle import Bundle
from spikeproof.io.record import BundleRecord
from spikeproof.ir.chip import (
    INPUT,
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    LifNeuron,
    ReadoutNeuron,
)
from spikeproof.ir.floats import Flatten, FloatNetwork, Lif, Linear, Readout
from spikeproof.verify.certificate import judge_certificate
from spikeproof.verify.checks.overflow import ranges_outcome
from spikeproof.verify.interval import bound_network

LOWEST = -fx.STATE_MAX
NO_BIAS = np.zeros(1, np.int32)
TO_ONE = DenseSynapse(np.full((1, 400), 2, np.int16), "excitatory")
RELAY = DenseSynapse(2 * np.eye(400, dtype=np.int16), "excitatory")


def _network(weight: int, threshold: int = 700) -> ChipNetwork:
    """Sum up 397 equal weights and three that excite, over 20 steps without leak."""
    row = np.full((1, 400), weight, np.int16)
    row[0, :3] = 254
    first = ChipLayer(
        "l1", (Connection(DenseSynapse(row, "mixed")),), LifNeuron(threshold, 0, NO_BIAS), (1,)
    )
    read = DenseSynapse(np.array([[2]], np.int16), "excitatory")
    out = ChipLayer("out", (Connection(read),), ReadoutNeuron(NO_BIAS), (1,))
    return ChipNetwork("n", (1, 1, 400), 20, (first, out), "spikes")


def test_only_v_of_a_spiking_layer_may_saturate_and_only_below() -> None:
    network = _network(-254)
    assert not certify_ranges(network)[0].ok
    allowed, out = certify_ranges(network, "may-saturate")
    assert allowed.ok
    assert allowed.saturates
    assert allowed.v_low == LOWEST
    assert not out.saturates
    # 3 x 254 excite, from at most the threshold on.
    assert allowed.v_high == 700 * 64 + 3 * 254 * 64
    with pytest.raises(RangeError, match="l1: v could reach"):
        check_ranges(network)
    check_ranges(network, "may-saturate")
    too_high = certify_ranges(_network(254, 60_000), "may-saturate")[0]
    assert not too_high.ok
    pixels = ChipNetwork("n", (1, 1, 400), 20, network.layers, "pixels")
    assert not certify_ranges(pixels, "may-saturate")[0].saturates
    one = network.layers[0].inputs[0]
    beside = network.layers[0].changed(inputs=(one.changed(source=INPUT), Connection(TO_ONE, "r")))
    relay = ChipLayer("r", (Connection(RELAY, INPUT),), LifNeuron(0, 4096, NO_BIAS), (400,))
    mixed = ChipNetwork("n", (1, 1, 400), 20, (relay, beside), "pixels")
    assert not certify_ranges(mixed, "may-saturate")[1].saturates, "pixels reach it, too"
    fits = certify_ranges(_network(-2), "may-saturate")[0]
    assert not fits.saturates
    assert fits == certify_ranges(_network(-2))[0]


def test_what_is_certified_happens_at_worst_on_every_engine() -> None:
    network = _network(-254)
    x = np.zeros((2, 20, 1, 1, 400), np.uint8)
    x[0, :, :, :, 3:] = 1  # all that inhibits in every step
    x[1, :18, :, :, 3:] = 1
    x[1, 18:, :, :, :3] = 1
    expected: Any = None
    for name in ("reference", "numpy", "fast"):
        found = (ENGINES.get(name)().run(network, x, trace=True).traces or {})["l1"].v
        expected = found if expected is None else expected
        np.testing.assert_array_equal(found, expected)
    assert expected.min() == LOWEST
    assert expected[1, -1, 0] == LOWEST + 2 * 3 * 254 * 64


def test_a_neuron_that_recovers_from_the_lower_end_may_spike() -> None:
    # A slow current outgrows a negative bias; without the end, v would still be far below.
    neuron = LifNeuron(100, 0, np.array([-4095], np.int32), 7, du=0)
    synapse = DenseSynapse(np.array([[200]], np.int16), "excitatory")
    first = ChipLayer("l1", (Connection(synapse),), neuron, (1,))
    network = ChipNetwork("n", (1, 1, 1), 79, (first, _network(2).layers[1]), "spikes")
    ran = ENGINES.get("numpy")().run(network, np.ones((1, 79, 1, 1, 1), np.uint8), trace=True)
    v = (ran.traces or {})["l1"].v
    assert v.min() == LOWEST
    assert v.max() > 6400
    found, out = certify_ranges(network, "may-saturate")
    assert found.v_high >= v.max()
    assert out.sum_bound > 0
    bounds = bound_network(network, "may-saturate")
    assert bounds[0].v_high[0] == found.v_high
    assert bounds[0].fires.all()


def test_the_verification_allows_what_the_conversion_was_allowed() -> None:
    network = _network(-254)

    def certify(network: ChipNetwork) -> list[Any]:
        return certify_ranges(network, "may-saturate")

    rows = judge_certificate(network, None, certify, "may-saturate")
    outcome = ranges_outcome(rows)
    assert outcome.verdict == "pass"
    assert rows[0].reached is not None
    assert rows[0].reached.v_low == LOWEST
    assert "v of l1 may stay at the lower end" in outcome.summary
    assert "No input can leave" not in outcome.summary
    assert ranges_outcome(judge_certificate(network, None)).verdict == "fail"
    # The option does not excuse a certificate that is silent about it.
    quiet = judge_certificate(_network(-254), None, certify_ranges, "may-saturate")
    assert any("does not saturate, and it may" in text for text in quiet[0].unsound)
    for network in (_network(254, 60_000), _network(-2)):
        bounds = bound_network(network, "may-saturate")[0]
        assert not bounds.saturates


def _source() -> FloatNetwork:
    """Draw a layer of many inputs whose worst inhibition decides the scale."""
    rng = np.random.default_rng(3)
    nodes = (
        Flatten("flat"),
        Linear("a", rng.normal(size=(1500, 64)) / 8, rng.normal(size=1500) / 8),
        Lif("l1", 1.0, 1.0),
        Linear("b", rng.normal(size=(40, 1500)) / 20, None),
        Lif("l2", 1.0, 1.0),
        Linear("c", rng.normal(size=(4, 40)), None),
        Readout("out"),
    )
    return FloatNetwork("deep", (1, 8, 8), 24, nodes)


def test_a_conversion_with_the_option_is_finer_and_says_what_may_happen() -> None:
    source = _source()
    images = np.random.default_rng(4).integers(0, 256, (24, 1, 8, 8)).astype(np.uint8)
    options = ConvertOptions(lower_rail="may-saturate", compensate=False)
    strict = convert_network(source, images, ConvertOptions(compensate=False))
    free = convert_network(source, images, options)
    assert strict.table[1].headroom_bits < 0.1
    assert free.table[1].scale > 1.5 * strict.table[1].scale
    assert free.table[1].flip_rate_calibration < strict.table[1].flip_rate_calibration
    assert free.table[1].v_low == LOWEST
    # Constant pixels do inhibit in every step: there the option allows nothing.
    assert free.table[0].scale == strict.table[0].scale
    assert free.table[0].v_low > LOWEST
    for conversion, allowed in ((free, "may-saturate"), (free, "never"), (strict, "never")):
        bundle = Bundle(
            conversion.chip, BundleRecord(options={"lower_rail": allowed}), images[:1], {}
        )
        if conversion is free and allowed == "never":
            with pytest.raises(RangeError, match="l2: v could reach"):
                check_bundle_ranges(bundle)
            continue
        check_bundle_ranges(bundle)
        told = overflow_warnings(bundle)
        assert [text[:18] for text in told] == ["l2: v could reach "] * (conversion is free)
