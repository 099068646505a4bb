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


def test_even_weights() -> None:
    assert fx.round_even_weights(np.array([0.9, 1.1, 3.2, -2.9, 253.9])).tolist() == [
        0, 2, 4, -2, 254,
    ]  # fmt: skip
