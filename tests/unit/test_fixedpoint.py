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


def test_registers_are_as_wide_as_the_chip_has_them() -> None:
    """The widths of docs/semantics.md, written out: a wrong one would be wrong everywhere."""
    assert (fx.DECAY_BITS, fx.DECAY_ONE) == (12, 4096)
    assert (fx.CURRENT_SHIFT, fx.CURRENT_UNIT) == (6, 64)
    assert (fx.STATE_MAX, fx.WRAP_LIMIT, fx.SUM_MAX) == (8_388_607, 8_388_608, 131_071)
    assert (fx.THRESHOLD_MAX, fx.BIAS_MANTISSA_MAX, fx.BIAS_EXPONENT_MAX) == (131_071, 4_095, 7)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32])
def test_narrow_arrays_are_widened_before_they_could_overflow(kind: type) -> None:
    low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    x, span = np.array([low, high], kind), 1 << 24
    wide = kind is np.int32
    for found, expected in (
        (fx.scale_toward_zero(x, 16383), [-(-low * 16383 >> 12), high * 16383 >> 12]),
        (fx.wrap_current(x), [low + span, high - span] if wide else [low, high]),
        (fx.saturate_voltage(x), [-8_388_607, 8_388_607] if wide else [low, high]),
        (fx.shift_sum(x, 7), [low * 128, high * 128]),
        (fx.round_half_up_shift(x, 1), [low // 2, (high + 1) // 2]),
    ):
        assert found.dtype == np.int64
        assert found.tolist() == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.zeros(2, np.int8), True),
        (np.zeros(2, np.uint16), True),
        (np.zeros(2, bool), False),
        (np.zeros(2), False),
        (np.int64(3), False),
        (3, False),
        ("3", False),
    ],
)
def test_only_arrays_of_integers_count_as_integers(x: object, expected: bool) -> None:
    assert fx.is_integer_array(x) is expected


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
