"""Integer arithmetic of the chip: values worked out by hand."""

import numpy as np
import pytest

from spikeproof import fixedpoint as fx


@pytest.mark.parametrize(
    ("x", "numerator", "expected"),
    [
        (4096, 4095, 4095),
        (-4096, 4095, -4095),
        (1, 4095, 0),  # toward zero on both sides: no dead band
        (-1, 4095, 0),
        (-5, 2048, -2),  # floor would give -3
        (5, 2048, 2),
        ((1 << 23) - 1, 4055, 8304639),
        (-((1 << 23) - 1), 4055, -8304639),
        (7, 0, 0),
        (3, 8192, 6),
    ],
)
def test_decay_rounds_toward_zero(x: int, numerator: int, expected: int) -> None:
    assert fx.scale_toward_zero(x, numerator) == expected


@pytest.mark.parametrize(
    ("u", "expected"),
    [
        (0, 0),
        ((1 << 23) - 1, (1 << 23) - 1),
        (1 << 23, 1 << 23),  # Lava's wrap admits +2^23 itself
        ((1 << 23) + 1, 1 - (1 << 23)),
        (-(1 << 23), 1 << 23),
        (1 - (1 << 23), 1 - (1 << 23)),
    ],
)
def test_current_wraps_once(u: int, expected: int) -> None:
    assert fx.wrap_current(u) == expected


def test_voltage_saturates() -> None:
    v = fx.saturate_voltage([1 << 24, -(1 << 24), 5])
    assert v.tolist() == [(1 << 23) - 1, 1 - (1 << 23), 5]


def test_negative_weight_exponent_floors_the_finished_sum() -> None:
    assert fx.shift_sum([-12, -9, 9], -3).tolist() == [-2, -2, 1]
    assert fx.shift_sum([-3, 5], 2).tolist() == [-12, 20]


def test_host_rounding_is_half_up() -> None:
    assert fx.round_half_up_shift([5, 6, -5, -6, -7], 2).tolist() == [1, 2, -1, -1, -2]
    assert fx.round_half_up_shift(9, 0) == 9


@pytest.mark.parametrize("numerator", [0, 1, 41, 4055, 4095, 4096, 16383])
def test_decay_in_float64_equals_the_integer_decay(numerator: int) -> None:
    edge = (1 << 23) + 1
    x = np.concatenate([np.arange(-5000, 5000), np.arange(edge - 5000, edge)])
    x = np.concatenate([x, -x])
    found = np.empty(len(x))
    fx.scale_exact_floats(x.astype(np.float64), numerator, out=found)
    np.testing.assert_array_equal(found.astype(np.int64), fx.scale_toward_zero(x, numerator))


def test_without_memory_a_current_of_any_size_leaves_nothing() -> None:
    found = np.empty(2)
    fx.scale_exact_floats(np.array([2.0**31, -(2.0**31)]), 0, out=found)
    assert found.tolist() == [0, 0]
