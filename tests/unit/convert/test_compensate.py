"""Compensated rounding: legal weights, exact where it can be, and closer where it matters."""

import numpy as np
import pytest

from spikeproof.convert.compensate import compensation
from spikeproof.convert.quantise import FloatLayer, round_layer
from spikeproof.convert.score import score
from spikeproof.ir.floats import Conv2d, Lif, Linear, Readout


def correlated_spikes(rng: np.random.Generator, samples: int, steps: int, width: int) -> np.ndarray:
    """Draw spikes that follow a few common causes, as the spikes of a trained layer do."""
    causes = rng.normal(size=(samples, steps, 4))
    return (causes @ rng.normal(size=(4, width)) > 0.7).astype(np.uint8)


def dense(seed: int, end: Lif | Readout) -> tuple[FloatLayer, np.ndarray]:
    rng = np.random.default_rng(seed)
    linear = Linear("fc", rng.normal(size=(12, 60)) / 8, rng.normal(size=12) / 4)
    return FloatLayer(linear, end, (60,), 4, False), correlated_spikes(rng, 400, 4, 60)


@pytest.mark.parametrize("end", [Lif("l1", 0.99, 1.0), Readout("out")])
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_unseen_inputs_come_out_closer(end: Lif | Readout, bits: int) -> None:
    better = 0
    for seed in range(6):
        layer, inputs = dense(seed, end)
        rounding = compensation(layer, inputs[:200])
        nearest, fitted = (
            round_layer(layer, 200.0, bits),
            round_layer(layer, 200.0, bits, rounding),
        )
        plain, compensated = score(layer, inputs[200:], [nearest, fitted])
        better += compensated.error < 0.7 * plain.error
    assert better >= 5


def test_weights_stay_on_the_grid_and_in_range() -> None:
    layer, inputs = dense(0, Lif("l1", 0.99, 1.0))
    for bits, step in ((8, 2), (5, 16)):
        found = round_layer(layer, 600.0, bits, compensation(layer, inputs)).layer.synapse.weight
        assert not (found % step).any() and found.min() >= -256 and found.max() <= 254
        assert np.abs(found).max() > 200  # the scale clips: the limits were really met


def test_weights_already_on_the_grid_are_left_alone() -> None:
    rng = np.random.default_rng(1)
    weight = 2.0 * rng.integers(-40, 41, (5, 20))
    layer = FloatLayer(Linear("fc", weight / 100, None), Lif("l1", 0.99, 1.0), (20,), 3, False)
    rounding = compensation(layer, correlated_spikes(rng, 50, 3, 20))
    found = round_layer(layer, 100.0, 8, rounding).layer
    np.testing.assert_array_equal(found.synapse.weight, weight)
    assert not found.neuron.bias.any()


def test_groups_are_rounded_apart() -> None:
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(4, 2, 3, 3)) / 4
    linear = Conv2d("c", weight, None, (1, 1), (1, 1), (1, 1), 2)
    layer = FloatLayer(linear, Lif("l1", 0.99, 1.0), (4, 5, 5), 2, False)
    inputs = correlated_spikes(rng, 60, 2, 100).reshape(60, 2, 4, 5, 5)
    whole = round_layer(layer, 150.0, 8, compensation(layer, inputs)).layer.synapse.weight
    changed = inputs.copy()
    changed[:, :, 2:] = rng.integers(0, 2, changed[:, :, 2:].shape)  # only group 2 sees this
    other = round_layer(layer, 150.0, 8, compensation(layer, changed)).layer.synapse.weight
    np.testing.assert_array_equal(whole[:2], other[:2])
    assert (whole[2:] != other[2:]).any()


def test_silent_inputs_are_rounded_to_nearest() -> None:
    layer, inputs = dense(3, Lif("l1", 0.99, 1.0))
    found = round_layer(layer, 200.0, 8, compensation(layer, 0 * inputs)).layer.synapse.weight
    nearest = round_layer(layer, 200.0, 8).layer.synapse.weight
    np.testing.assert_array_equal(found, nearest)
