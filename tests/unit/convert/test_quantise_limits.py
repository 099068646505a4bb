"""Rounding a layer at the limits of the registers, and what is read back from the integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikeproof.convert.host import round_host_layer
from spikeproof.convert.quantise import (
    FloatLayer,
    dequantise,
    max_abs_scale,
    round_bias,
    round_layer,
    settle_scale,
    weight_grid,
)
from spikeproof.ir.chip import ConvSynapse, LifNeuron, ReadoutNeuron, TableLifNeuron
from spikeproof.ir.floats import Conv2d, Lif, Linear, Readout

LIF = Lif("l1", 0.9, 1.0)


def dense(
    weight: Any = ((0.5, -0.5),),
    bias: Any = None,
    end: Lif | Readout = LIF,
    *,
    pixels: bool = False,
) -> FloatLayer:
    matrix = np.array(weight, np.float64)
    linear = Linear("fc", matrix, None if bias is None else np.array(bias, np.float64))
    return FloatLayer(linear, end, (1, 1, matrix.shape[1]), 2, pixels)


def conv(bias: Any, end: Lif | Readout = LIF) -> FloatLayer:
    """Two channels of 3x2 neurons over a 2x5x5 input, every number of the geometry different."""
    weight = np.array([[[[0.5, -0.25]]], [[[1.0, 0.125]]]])
    linear = Conv2d("c", weight, bias, (2, 1), (0, 1), (1, 4), 2)
    return FloatLayer(linear, end, (2, 5, 4), 2, False)


# ------------------------------------------------------------------------------- what goes in


def test_pixels_are_counted_in_grey_levels() -> None:
    assert dense([[51.0, 255.0]], pixels=True).weight.tolist() == [[0.2, 1.0]]
    assert dense([[51.0, 255.0]]).weight.tolist() == [[51.0, 255.0]]


def test_biases_broadcast_to_the_neurons_in_every_form() -> None:
    assert dense().bias.shape == (1,)
    assert dense(bias=[0.5]).bias.tolist() == [0.5]
    assert conv(None).bias.tolist() == [[[0.0]]]
    assert conv(np.array([1.0, 2.0])).bias.tolist() == [[[1.0]], [[2.0]]]
    field = np.arange(12.0).reshape(2, 3, 2)
    assert conv(field).bias.tolist() == field.tolist()


def test_only_a_neuron_that_is_not_strict_fires_at_equality() -> None:
    assert dense(end=replace(LIF, strict=False)).fires_at_equality
    assert not dense(end=LIF).fires_at_equality
    assert not dense(end=Readout("out")).fires_at_equality
    at = round_layer(dense(bias=[0.5], end=replace(LIF, strict=False)), 10.0, 8)
    above = round_layer(dense(bias=[0.5]), 10.0, 8)
    assert (at.layer.neuron.bias, above.layer.neuron.bias) == (321, 320)  # 0.5 × 10 × 64


# ------------------------------------------------------------------------------------ scales


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        ([[0.5, -2.0]], 254 / 2),
        ([[0.5, 2.0]], 255 / 2),
        ([[-0.5, -2.0]], 255 / 2),
        ([[0.0, 0.0]], 254 / 4),  # only a bias: the threshold is the yardstick
    ],
)
def test_the_largest_weight_gets_the_largest_number(weight: Any, expected: float) -> None:
    assert max_abs_scale(dense(weight, end=Lif("l1", 0.9, 4.0)), 8) == expected


def test_a_readout_without_weights_has_one_as_its_yardstick() -> None:
    assert max_abs_scale(dense([[0.0, 0.0]], end=Readout("out")), 8) == 254


def test_no_weights_at_all_count_as_mixed() -> None:
    assert weight_grid(np.zeros((3, 0)), 8) == ("mixed", 2, -254, 254)
    assert max_abs_scale(dense(np.zeros((3, 0))), 8) == 254


def test_a_scale_settles_where_the_threshold_is_whole_and_never_at_zero() -> None:
    lif = Lif("l1", 0.9, 0.75)
    assert settle_scale(dense(end=lif), 100.0) == 100.0
    assert settle_scale(dense(end=lif), 100.6) == 75 / 0.75
    assert settle_scale(dense(end=lif), 100.7) == 76 / 0.75
    assert settle_scale(dense(end=lif), 1e-9) == 1 / 0.75
    assert settle_scale(dense(end=replace(lif, gain=np.ones(2))), 100.6) == 100.6
    assert settle_scale(dense(end=Readout("out")), 100.6) == 100.6


# ----------------------------------------------------------------------- thresholds and leaks


def test_a_threshold_has_17_bits_and_one_more_is_named() -> None:
    good = round_layer(dense(), 131_071.0, 8)
    assert isinstance(good.layer.neuron, LifNeuron)
    assert (good.layer.neuron.threshold, good.problems) == (131_071, ())
    bad = round_layer(dense(), 131_072.0, 8)
    assert isinstance(bad.layer.neuron, LifNeuron)
    assert bad.layer.neuron.threshold == 131_071
    assert bad.problems == ("threshold 131072 needs 18 bits, the chip has 17",)
    assert good.units == 64 * 131_071


def test_problems_of_bias_and_threshold_are_both_named() -> None:
    found = round_layer(dense(bias=[1.0]), 131_072.0, 8).problems
    assert len(found) == 2
    assert found[0].startswith("the bias needs 8.38861e+06 v-units")
    assert found[1].startswith("threshold 131072")


@pytest.mark.parametrize(
    ("leak", "dv"), [(0.0, 4095), (0.9, 410), (1.0, 0), (1.4 / 4096, 4095), (1.6 / 4096, 4094)]
)
def test_leaks_are_rounded_to_what_the_decay_register_holds(leak: float, dv: int) -> None:
    layer = dense(end=replace(LIF, leak=leak, strict=False))
    found = round_layer(layer, 10.0, 8)
    assert isinstance(found.layer.neuron, LifNeuron)
    assert found.layer.neuron.dv == dv
    _, end = dequantise(layer, found)
    expected = Lif("l1", (4096 - dv) / 4096, 1.0, True)  # equality went into the bias
    assert vars(end) == vars(expected)


def table(threshold: float, scale: float, gain: Any = (1.0, 2.0)) -> Any:
    layer = dense(((9.0, -9.0),), end=Lif("l1", 0.9, threshold, False, np.array(gain)))
    return layer, round_layer(layer, scale, 8)


def test_tables_hold_thresholds_from_one_to_the_largest_v() -> None:
    _, good = table(8_388_607 / 64, 1.0)
    assert good.layer.neuron.threshold.tolist() == [8_388_607, 4_194_303]
    assert good.problems == ()
    _, high = table(8_388_608 / 64, 1.0)
    assert high.layer.neuron.threshold.tolist() == [8_388_607, 4_194_304]
    assert high.problems == ("threshold 8.38861e+06 v-units is above the largest v 8388607",)
    _, least = table(2 / 64, 1.0)
    assert (least.layer.neuron.threshold.tolist(), least.problems) == ([2, 1], ())
    _, low = table(1 / 64, 1.0)
    assert low.layer.neuron.threshold.tolist() == [1, 1]
    assert low.problems == ("a threshold is below one v-unit",)


def test_a_threshold_computed_a_hair_below_a_whole_number_is_that_number() -> None:
    _, found = table(49 * (1 / 49), 10.0, (1.0, 1 / 49 * 49))  # 0.9999999999999999 in floats
    assert found.layer.neuron.threshold.tolist() == [640, 640]
    _, found = table(1.0, 10.0, (1 / (1 - 7e-10), 1 / (1 - 2e-9)))
    assert found.layer.neuron.threshold.tolist() == [640, 639]


def test_a_table_is_read_back_as_the_gain_that_gives_its_thresholds() -> None:
    layer, found = table(1.0, 100.0, (1.0, 3.0))
    assert isinstance(found.layer.neuron, TableLifNeuron)
    assert found.layer.neuron.threshold.tolist() == [6400, 2133]
    _, end = dequantise(layer, found)
    assert isinstance(end, Lif) and end.gain is not None
    assert end.gain.tolist() == pytest.approx([1.0, 6400 / 2133])
    assert (end.leak, end.threshold, end.strict) == (3686 / 4096, 1.0, True)


# ------------------------------------------------------------------------------------- biases


def test_biases_are_legal_up_to_4095_at_the_largest_exponent() -> None:
    mantissa, exponent, problems = round_bias(np.array([524_160.0, -524_160.0]), False)
    assert (mantissa.tolist(), exponent, problems) == ([4095, -4095], 7, [])
    mantissa, exponent, problems = round_bias(np.array([-524_290.0, 3.0]), False)
    assert (mantissa.tolist(), exponent) == ([-4095, 0], 7)
    assert problems == [
        "the bias needs 524290 v-units, the chip's mantissa and exponent hold 524160"
    ]


def test_a_forced_exponent_is_the_only_one_tried() -> None:
    mantissa, exponent, problems = round_bias(np.array([640.0, -65.0]), False, 6)
    assert (mantissa.tolist(), exponent, problems) == ([10, -1], 6, [])
    mantissa, exponent, problems = round_bias(np.array([8192.0]), False, 0)
    assert (mantissa.tolist(), exponent) == ([4095], 0)
    assert problems == ["the bias needs 8192 v-units, the chip's mantissa and exponent hold 4095"]
    found = round_layer(dense(bias=[1.0]), 10.0, 8, bias_exponent=6).layer.neuron
    assert (found.bias.tolist(), found.bias_exponent) == ([10], 6)


def test_only_rounding_errors_of_float64_count_as_whole() -> None:
    """One part in 10^9, or 10^-9 near zero: a whole bias for equality is raised by one."""
    bias = np.array([4000 - 3e-6, 4000 - 5e-6, -4000 - 3e-6, -8e-10, -2e-9])
    mantissa, _, _ = round_bias(bias, True)
    assert mantissa.tolist() == [4001, 4000, -3999, 1, 0]


def test_a_layer_of_no_neurons_has_no_bias_to_complain_of() -> None:
    mantissa, exponent, problems = round_bias(np.zeros(0), True)
    assert (mantissa.shape, exponent, problems) == ((0,), 0, [])


# ----------------------------------------------------------------------- weights and read back


def test_weights_beyond_the_grid_are_clipped_and_counted() -> None:
    found = round_layer(dense([[2.54, -2.54, 2.57, -2.57]]), 100.0, 8)
    assert found.layer.synapse.weight.tolist() == [[254, -254, 254, -254]]  # type: ignore[union-attr]
    assert found.clipped_share == 0.5


@pytest.mark.parametrize("pixels", [False, True])
def test_weights_and_biases_are_read_back_in_float_units(pixels: bool) -> None:
    weight = [[0.5, -0.25], [1.0, 0.75]]
    layer = dense(weight, [0.25, -0.125], pixels=pixels)
    scale = 100.0 * (255 if pixels else 1)
    found = round_layer(layer, scale, 8)
    linear, _ = dequantise(layer, found)
    assert linear.bias is not None and linear.name == "fc"
    np.testing.assert_allclose(linear.weight, [[0.5, -0.24], [1.0, 0.76]], rtol=0, atol=1e-12)
    np.testing.assert_allclose(linear.bias, [0.25, -0.125], rtol=1e-3)
    rounded = dense(weight, [0.3001, 0.0])  # 1920.64 v-units
    linear, _ = dequantise(rounded, round_layer(rounded, 100.0, 8))
    np.testing.assert_allclose(linear.bias, [1921 / 6400, 0.0], rtol=1e-12)  # type: ignore[arg-type]
    quiet, _ = dequantise(dense(weight), round_layer(dense(weight), 100.0, 8))
    assert quiet.bias is None


def test_a_bias_for_equality_reaches_every_channel() -> None:
    layer = conv(None, replace(LIF, strict=False))
    linear, _ = dequantise(layer, round_layer(layer, 1.0, 8))
    assert linear.bias is not None
    assert linear.bias.tolist() == [1 / 64, 1 / 64]


@pytest.mark.parametrize("field", [False, True])
def test_a_convolution_keeps_its_geometry_both_ways(field: bool) -> None:
    bias = np.arange(12.0).reshape(2, 3, 2) / 8 if field else np.array([0.5, -1.0])
    layer = conv(bias)
    found = round_layer(layer, 64.0, 8)
    synapse = found.layer.synapse
    assert isinstance(synapse, ConvSynapse)
    assert (synapse.input_shape, synapse.stride, synapse.padding) == ((2, 5, 4), (2, 1), (0, 1))
    assert (synapse.dilation, synapse.groups, found.layer.shape) == ((1, 4), 2, (2, 3, 2))
    linear, _ = dequantise(layer, found)
    assert linear.bias is not None and linear.bias.shape == bias.shape
    np.testing.assert_array_equal(linear.bias, bias)
    np.testing.assert_array_equal(linear.weight, layer.linear.weight)
    assert linear.bias.flags.writeable


def test_a_readout_is_read_back_as_it_was() -> None:
    layer = dense(bias=[0.5], end=Readout("out"))
    found = round_layer(layer, 12.5, 8)
    assert isinstance(found.layer.neuron, ReadoutNeuron)
    assert (found.layer.name, found.scale, found.layer.neuron.bias_exponent) == ("out", 12.5, 0)
    linear, end = dequantise(layer, found)
    assert end is layer.end
    np.testing.assert_allclose(linear.bias, [0.5])  # type: ignore[arg-type]


def test_a_host_current_is_read_back_in_float_units() -> None:
    weight = [[51.0, -102.0], [25.5, 127.5]]
    layer = dense(weight, [0.25, -0.5], pixels=True)
    found = round_host_layer(layer, 1.0, 2)
    linear, _ = dequantise(layer, found)
    np.testing.assert_allclose(linear.weight, weight, rtol=1e-3)
    np.testing.assert_allclose(linear.bias, [0.25, -0.5], rtol=1e-3)  # type: ignore[arg-type]


def test_a_layer_of_which_nothing_is_left_is_a_problem() -> None:
    """Weights that were 0 before lose nothing, and one that stays is something."""
    lost = "every weight rounds to 0 in 8 bits: nothing of the layer is left"
    assert lost in round_layer(dense([[0.5, -0.5]]), 1.0, 8).problems
    assert lost in round_layer(dense([[0.5, 0.0]]), 1.0, 8).problems
    assert lost not in round_layer(dense([[0.0, 0.0]]), 1.0, 8).problems
    assert lost not in round_layer(dense([[0.5, -20.0]]), 1.0, 8).problems
