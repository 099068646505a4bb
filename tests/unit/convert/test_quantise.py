"""Rounding one layer: legal weights, biases, thresholds, and what happens on the threshold."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.convert.quantise import FloatLayer, round_bias, round_layer, weight_grid
from spikeproof.engines.floats import run_float
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.ir.chip import LifNeuron, TableLifNeuron
from spikeproof.ir.floats import FloatNetwork, Lif, Linear, Readout

ALL_CORNERS = np.array(list(product((0, 255), repeat=4)), np.uint8).reshape(-1, 1, 2, 2)


def _layer(weight: list[list[float]], lif: Lif | None = None) -> FloatLayer:
    matrix = np.array(weight)
    end = lif or Lif("l1", 1.0, 1.0)
    return FloatLayer(Linear("fc", matrix, None), end, (1, 1, matrix.shape[1]), 2, False)


@pytest.mark.parametrize(
    ("weight", "bits", "expected"),
    [
        ([-1.0, 2.0], 8, ("mixed", 2, -254, 254)),
        ([-1.0, 2.0], 6, ("mixed", 8, -248, 248)),
        ([-1.0, 2.0], 2, ("mixed", 128, -128, 128)),
        ([0.0, 2.0], 8, ("excitatory", 1, 0, 255)),
        ([0.0, -2.0], 8, ("inhibitory", 1, -255, 0)),
        ([0.0, 0.01], 8, ("excitatory", 1, 0, 255)),
        ([0.0, -0.01], 8, ("inhibitory", 1, -255, 0)),
        ([0.0, 0.0], 8, ("mixed", 2, -254, 254)),
    ],
)
def test_the_weight_grid_follows_the_signs(
    weight: list[float], bits: int, expected: tuple[Any, ...]
) -> None:
    assert weight_grid(np.array(weight), bits) == expected


def test_weights_are_rounded_to_even_and_outliers_clipped() -> None:
    found = round_layer(_layer([[0.5, -0.013, 3.0, -3.0]]), 100, 8)
    weight: Any = found.layer.synapse
    assert weight.weight.tolist() == [[50, -2, 254, -254]]
    assert found.clipped_share == 0.5


def test_the_scale_makes_the_threshold_a_whole_mantissa() -> None:
    found = round_layer(_layer([[0.5, -0.5]], Lif("l1", 1.0, 0.7)), 100.3, 8)
    assert isinstance(found.layer.neuron, LifNeuron)
    assert found.layer.neuron.threshold == 70
    assert found.scale == 70 / 0.7


def test_the_thresholds_of_a_table_are_rounded_down() -> None:
    # 6400 v-units over gains 1, 3, 7 and 0.9: for whole v, v > 2133.33 is v > 2133.
    gain = np.array([1.0, 3.0, 7.0, 0.9])
    linear, lif = Linear("fc", np.array([[0.5, -0.5]]), None), Lif("l1", 0.9, 1.0, True, gain)
    found = round_layer(FloatLayer(linear, lif, (1, 1, 2), 4, False), 100.0, 8).layer.neuron
    assert isinstance(found, TableLifNeuron)
    assert found.threshold.tolist() == [6400, 2133, 914, 7111]


def test_a_bias_takes_the_smallest_exponent_that_fits() -> None:
    mantissa, exponent, problems = round_bias(np.array([4095.0, -3.4]), False)
    assert (mantissa.tolist(), exponent, problems) == ([4095, -3], 0, [])
    mantissa, exponent, _ = round_bias(np.array([40_000.0]), False)
    assert (mantissa.tolist(), exponent) == ([2500], 4)
    _, _, problems = round_bias(np.array([6e5]), False)
    assert problems == [
        "the bias needs 600000 v-units, the chip's mantissa and exponent hold 524160"
    ]


def test_a_bias_for_equality_is_strictly_above() -> None:
    mantissa, _, _ = round_bias(np.array([0.0, 64.0, 63.9999999999, 2.5, -2.5]), True)
    assert mantissa.tolist() == [1, 65, 65, 3, -2]


def _on_threshold(strict: bool, leak: float) -> FloatNetwork:
    """Build a network whose states lie exactly on the threshold for many corner images."""
    first = Linear("fc1", np.eye(4) * 2, None)
    second = np.array([[0.5, 0.5, 0.0, 0.0], [0.5, 0.25, 0.25, -0.5], [1.0, -0.5, -0.5, 0.5]])
    nodes = (
        first,
        Lif("l1", 0.0, 1.0),
        Linear("fc2", second, None),
        Lif("l2", leak, 1.0, strict),
        Linear("fc3", np.eye(3), None),
        Readout("out"),
    )
    return FloatNetwork("ties", (1, 2, 2), 6, nodes)


@pytest.mark.parametrize("leak", [1.0, 0.5])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("coding", ["graded", "bias"])
def test_states_on_the_threshold_fire_as_the_float_network_says(
    strict: bool, leak: float, coding: Any
) -> None:
    network = _on_threshold(strict, leak)
    done = convert_network(network, ALL_CORNERS, ConvertOptions(input_coding=coding))
    floats = run_float(network, ALL_CORNERS, trace=True)
    chip = ReferenceEngine().run(done.chip, ALL_CORNERS, trace=True)
    assert chip.traces is not None
    state = floats.traces["l2"].v
    assert state is not None and (state == 1.0).sum() > 10
    for name in ("l1", "l2"):
        np.testing.assert_array_equal(chip.traces[name].s, floats.traces[name].s)


@pytest.mark.parametrize(
    ("coding", "scale"), [("graded", None), ("graded", 64770.0), ("bias", None), ("bias", 64.0)]
)
def test_a_first_layer_that_ties_on_white_pixels_keeps_its_spikes(
    coding: Any, scale: float | None
) -> None:
    forced = None if scale is None else {"l1": scale}
    for strict in (True, False):
        nodes = (
            Linear("fc", np.eye(4) - 0.5 * np.eye(4, k=1), None),
            Lif("l1", 1.0, 1.0, strict),
            Linear("fc2", np.eye(4), None),
            Readout("out"),
        )
        network = FloatNetwork("ties", (1, 2, 2), 1, nodes)
        options = ConvertOptions(input_coding=coding, scale=forced)
        done = convert_network(network, ALL_CORNERS, options)
        floats = run_float(network, ALL_CORNERS, trace=True).traces["l1"].s
        chip = ReferenceEngine().run(done.chip, ALL_CORNERS, trace=True).traces
        assert chip is not None
        np.testing.assert_array_equal(chip["l1"].s, floats)
        assert floats is not None and floats.any() == (not strict)


@pytest.mark.parametrize("coding", ["graded", "bias"])
def test_a_dlif_with_exact_parameters_equals_the_float_dlif(coding: Any) -> None:
    rng = np.random.default_rng(3)
    gain = np.array([1.0, 2.0, 1.0, 0.5])
    first = Linear("fc1", np.eye(4) * 2, None)
    second = 2 * rng.integers(-100, 101, (12, 4)) / 128
    nodes = (
        first,
        Lif("l1", 0.0, 1.0),
        Linear("fc2", second, None),
        Lif("l2", 0.5, 1.25, True, gain),
        Linear("fc3", np.eye(12), None),
        Readout("out"),
    )
    network = FloatNetwork("dlif", (1, 2, 2), 4, nodes)
    options = ConvertOptions(input_coding=coding, scale={"l2": 128.0})
    done = convert_network(network, ALL_CORNERS, options)
    neuron = done.chip.layers[1].neuron
    assert isinstance(neuron, TableLifNeuron)
    assert neuron.leak.tolist() == [2048, 1024, 4096, 4096]
    assert neuron.threshold.tolist() == [10240, 5120, 10240, 20480]
    floats = run_float(network, ALL_CORNERS, trace=True).traces["l2"]
    chip = ReferenceEngine().run(done.chip, ALL_CORNERS, trace=True).traces
    assert chip is not None and floats.v is not None
    np.testing.assert_array_equal(chip["l2"].s, floats.s)
    scaled = floats.v / gain[:, None] * done.units["l2"]
    np.testing.assert_array_equal(chip["l2"].v, scaled)


def test_the_host_current_uses_its_sixteen_bits(
    make_network: Any, images: NDArray[np.uint8]
) -> None:
    done = convert_network(make_network(), images, ConvertOptions(input_coding="bias"))
    assert done.chip.layers[0].host
    assert 16384 <= np.abs(done.chip.layers[0].synapse.weight).max() <= 32767
    assert 3000 < done.table[0].host_bound <= 4095
