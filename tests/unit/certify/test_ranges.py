"""Range certificates on layers whose bounds are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.certify.ranges import certify_ranges, check_foreign_ranges, check_ranges
from spikeproof.errors import RangeError
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    Neuron,
    ReadoutNeuron,
    TableLifNeuron,
)

NO_BIAS = np.zeros(1, np.int32)


def _network(weights: list[list[int]], neuron: object, steps: int = 2) -> ChipNetwork:
    weight = np.array(weights, np.int16)
    layer = ChipLayer("l1", (Connection(DenseSynapse(weight)),), neuron, (len(weight),))  # type: ignore[arg-type]
    return ChipNetwork("hand", (1, 1, weight.shape[1]), steps, (layer,), "spikes")


def test_a_reset_caps_the_upper_end_and_not_the_lower() -> None:
    found = certify_ranges(_network([[10, 20, -4]], LifNeuron(100, 0, NO_BIAS), 20))[0]
    assert found.sum_bound == 30
    assert found.v_high == (100 + 30) * 64  # at the threshold, then one full input
    assert found.v_low == -4 * 64 * 20
    assert found.u_bound == 30 * 64
    assert found.ok


def test_a_readout_adds_up_all_steps_and_its_bias() -> None:
    found = certify_ranges(_network([[10, -2]], ReadoutNeuron(np.array([3], np.int32), 2), 5))[0]
    assert (found.v_low, found.v_high) == (5 * (-128 + 12), 5 * (640 + 12))


def test_a_growing_table_is_followed() -> None:
    table = TableLifNeuron(np.array([0, 8192]), np.array([99_999, 99_999]), NO_BIAS)
    found = certify_ranges(_network([[10]], table))[0]
    assert found.v_high == 640 * 2 + 640


def test_a_synaptic_filter_widens_u() -> None:
    found = certify_ranges(_network([[64]], LifNeuron(10**5, 4096, NO_BIAS, 0, 2047)))[0]
    assert found.u_bound == 4096 + 2048


def test_neurons_that_cannot_fire_send_nothing() -> None:
    quiet = ChipLayer(
        "quiet",
        (Connection(DenseSynapse(np.array([[2]], np.int16))),),
        LifNeuron(1000, 0, NO_BIAS),
        (1,),
    )
    last = ChipLayer(
        "out",
        (Connection(DenseSynapse(np.array([[254]], np.int16))),),
        ReadoutNeuron(NO_BIAS),
        (1,),
    )
    ranges = certify_ranges(ChipNetwork("n", (1, 1, 1), 3, (quiet, last), "spikes"))
    assert ranges[1].v_high == 0


def test_a_host_current_is_bounded_over_all_images() -> None:
    synapse, host = DenseSynapse(np.array([[8, -4]], np.int32)), HostCurrent(np.array([16]), 4)
    layer = ChipLayer(
        "l1", (Connection(synapse, host=host),), LifNeuron(1000, 4096, NO_BIAS, 3), (1,)
    )
    found = certify_ranges(ChipNetwork("n", (1, 1, 2), 1, (layer,)))[0]
    # (8 * 255 + 16) / 16 = 128.5 rounds up to 129; (-4 * 255 + 16) / 16 = -62.75 to -63
    assert (found.host_bound, found.v_high, found.v_low) == (129, 129 * 8, -63 * 8)


def test_every_overflowing_layer_is_listed() -> None:
    wide = np.full((1, 2000), 254, np.int16)
    first = ChipLayer("l1", (Connection(DenseSynapse(wide)),), LifNeuron(1, 0, NO_BIAS), (1,))
    last = ChipLayer(
        "out",
        (Connection(DenseSynapse(np.array([[254]], np.int16))),),
        ReadoutNeuron(np.array([4095], np.int32), 7),
        (1,),
    )
    with pytest.raises(RangeError) as caught:
        check_ranges(ChipNetwork("wide", (1, 1, 2000), 20, (first, last), "spikes"))
    text = str(caught.value)
    assert "l1: synaptic sum could reach 508000 (neuron (0,)), the limit is 131071" in text
    assert "l1: u could reach" in text
    assert "out: v could reach" in text
    assert "lower the scale" in text


def _foreign(neuron: Neuron, host: HostCurrent | None = None) -> ChipNetwork:
    synapse = DenseSynapse(np.array([[127]], np.int16))
    layer = ChipLayer("l1", (Connection(synapse, host=host),), neuron, (1,))
    return ChipNetwork("foreign", (1, 1, 1), 999, (layer,), "pixels")


def test_a_foreign_network_may_wrap_and_saturate_but_not_what_we_write_for_it() -> None:
    steady = LifNeuron(10, 0, NO_BIAS, 0, 0)  # u keeps all it gets, 127 x 255 x 64 in each step
    with pytest.raises(RangeError):
        check_ranges(_foreign(steady))
    check_foreign_ranges(_foreign(steady))
    for bias, fits in ((4095, True), (4096, False)):
        offset = np.array([8 * bias - 127 * 255 + 3])
        network = _foreign(LifNeuron(131_071, 0, NO_BIAS, 7), HostCurrent(offset, 3))  # v saturates
        assert certify_ranges(network)[0].host_bound == bias
        if fits:
            check_foreign_ranges(network)
            continue
        with pytest.raises(RangeError, match=r"l1: .*4096"):
            check_foreign_ranges(network)
    with pytest.raises(RangeError, match=r"l1: v could reach"):
        check_foreign_ranges(_foreign(ReadoutNeuron(NO_BIAS)))
