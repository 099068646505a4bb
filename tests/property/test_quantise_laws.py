"""Rounding a layer to chip integers: near, in order, the same in every unit and every order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof import fixedpoint as fx
from spikeproof.convert.base import apply_pass
from spikeproof.convert.fold import FOLD
from spikeproof.convert.quantise import (
    FloatLayer,
    max_abs_scale,
    round_bias,
    round_layer,
    weight_grid,
)
from spikeproof.ir.floats import Lif, Linear
from spikeproof.ir.limits import WEIGHT_LIMITS

seeds = st.integers(0, 2**32 - 1)
bits = st.integers(2, 8)


def layer(seed: int, threshold: float = 1.0) -> FloatLayer:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(5, 7)) * rng.choice([0.01, 1.0, 30.0])
    if seed % 3 == 0:
        weight = np.abs(weight) * rng.choice([-1, 1])
    end = Lif("l1", 0.9, threshold, bool(seed % 2))
    return FloatLayer(Linear("fc", weight, rng.normal(size=5)), end, (7,), 4, False)


@settings(max_examples=80, deadline=None)
@given(seeds, bits, st.floats(0.2, 1.0))
def test_every_weight_is_the_nearest_one_the_layer_may_use(seed: int, n: int, share: float) -> None:
    drawn = layer(seed)
    grid = weight_grid(drawn.weight, n)
    found = round_layer(drawn, share * max_abs_scale(drawn, n), n)
    weight = found.layer.synapse.weight.astype(np.int64)  # type: ignore[union-attr]
    low, high = WEIGHT_LIMITS[grid.sign]
    assert low <= weight.min() and weight.max() <= high and not (weight % grid.step).any()
    wanted = drawn.weight * found.scale
    inside = np.clip(wanted, grid.low, grid.high)
    assert np.abs(weight - inside).max() <= grid.step / 2 + 1e-9


@settings(max_examples=60, deadline=None)
@given(seeds, bits)
def test_rounding_keeps_the_order_of_weights(seed: int, n: int) -> None:
    drawn = layer(seed)
    found = round_layer(drawn, max_abs_scale(drawn, n), n)
    order = np.argsort(drawn.weight, axis=None)
    weight = found.layer.synapse.weight.astype(np.int64)  # type: ignore[union-attr]
    assert (np.diff(weight.ravel()[order]) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(-20, 20))
def test_the_unit_of_the_membrane_does_not_matter(seed: int, power: int) -> None:
    drawn, unit = layer(seed), 2.0**power
    linear = drawn.linear
    assert isinstance(linear, Linear) and linear.bias is not None and isinstance(drawn.end, Lif)
    other = replace(
        drawn,
        linear=replace(linear, weight=linear.weight * unit, bias=linear.bias * unit),
        end=replace(drawn.end, threshold=drawn.end.threshold * unit),
    )
    scale = max_abs_scale(drawn, 8)
    first, second = round_layer(drawn, scale, 8), round_layer(other, scale / unit, 8)
    np.testing.assert_array_equal(first.layer.synapse.weight, second.layer.synapse.weight)  # type: ignore[union-attr]
    np.testing.assert_array_equal(first.layer.neuron.bias, second.layer.neuron.bias)
    assert vars(first.layer.neuron).keys() == vars(second.layer.neuron).keys()
    assert first.layer.neuron.threshold == second.layer.neuron.threshold  # type: ignore[union-attr]
    assert first.units == second.units * unit


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_neurons_in_another_order_give_the_same_integers_in_that_order(seed: int) -> None:
    drawn = layer(seed)
    order = np.random.default_rng(seed).permutation(5)
    linear = drawn.linear
    assert isinstance(linear, Linear) and linear.bias is not None
    moved = replace(
        drawn, linear=replace(linear, weight=linear.weight[order], bias=linear.bias[order])
    )
    scale = max_abs_scale(drawn, 8)
    first, second = round_layer(drawn, scale, 8), round_layer(moved, scale, 8)
    np.testing.assert_array_equal(first.layer.synapse.weight[order], second.layer.synapse.weight)  # type: ignore[union-attr]
    np.testing.assert_array_equal(first.layer.neuron.bias[order], second.layer.neuron.bias)


@settings(max_examples=150, deadline=None)
@given(seeds, st.floats(0, 6), st.booleans())
def test_a_bias_is_the_nearest_or_the_next_above_and_keeps_its_order(
    seed: int, magnitude: float, above: bool
) -> None:
    bias = np.random.default_rng(seed).normal(size=9) * 10.0**magnitude
    if seed % 4 == 0:
        bias = np.round(bias)
    mantissa, exponent, problems = round_bias(bias, above)
    if problems:
        assert np.abs(bias).max() > (fx.BIAS_MANTISSA_MAX - 1) * 2.0**exponent
        return
    value, unit = mantissa.astype(np.float64) * 2.0**exponent, 2.0**exponent
    if above:
        assert (value > bias).all() and (value - bias <= unit).all()
    else:
        assert (np.abs(value - bias) <= unit / 2).all()
    assert (np.diff(value[np.argsort(bias)]) >= 0).all()
    assert np.abs(mantissa).max() <= fx.BIAS_MANTISSA_MAX


def test_folding_twice_changes_nothing(tiny_network: object) -> None:
    once = apply_pass(FOLD, tiny_network)
    twice = apply_pass(FOLD, once)
    assert [type(n) for n in twice.nodes] == [type(n) for n in once.nodes]
    for a, b in zip(once.nodes, twice.nodes, strict=True):
        for key, value in vars(a).items():
            np.testing.assert_array_equal(np.asarray(value), np.asarray(getattr(b, key)))
