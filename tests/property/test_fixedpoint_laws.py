"""Laws of the chip's arithmetic, against exact fractions and for every legal number."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, trunc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof import fixedpoint as fx

EDGE = 1 << 23
states = st.one_of(
    st.integers(-EDGE - 1, EDGE + 1),
    st.sampled_from([0, 1, -1, EDGE, -EDGE, EDGE - 1, 1 - EDGE, 4095, -4096]),
)
decays = st.one_of(st.integers(0, 16383), st.sampled_from([0, 1, 4095, 4096, 16383]))
sums = st.integers(-(1 << 31), 1 << 31)


@given(states, decays)
def test_a_decay_is_the_fraction_cut_toward_zero_on_both_sides(x: int, n: int) -> None:
    found = int(fx.scale_toward_zero(x, n))
    assert found == trunc(Fraction(x * n, 4096)) == -int(fx.scale_toward_zero(-x, n))
    if abs(x) <= EDGE:
        out = np.empty(1)
        fx.scale_exact_floats(np.array([float(x)]), n, out)
        assert out[0] == found


@given(states, states, decays)
def test_a_decay_keeps_order_and_shrinks_differences(x: int, y: int, n: int) -> None:
    a, b = (int(fx.scale_toward_zero(z, n)) for z in sorted((x, y)))
    assert 0 <= b - a <= ceil(Fraction(abs(x - y) * n, 4096))


@given(states, st.integers(0, 4095))
def test_below_one_there_is_no_dead_band(x: int, n: int) -> None:
    found = int(fx.scale_toward_zero(x, n))
    assert abs(found) < abs(x) or x == 0
    assert found * x >= 0


@given(st.integers(-3 * EDGE + 1, 3 * EDGE))
def test_a_wrap_stays_in_24_bits_and_in_its_class(u: int) -> None:
    found = int(fx.wrap_current(u))
    assert -EDGE < found <= EDGE and (found - u) % (2 * EDGE) == 0
    assert int(fx.wrap_current(found)) == found


@given(sums, sums)
def test_saturation_is_the_nearest_legal_value_and_keeps_order(v: int, w: int) -> None:
    low, high = sorted((v, w))
    a, b = (int(fx.saturate_voltage(z)) for z in (low, high))
    assert -EDGE < a <= b < EDGE
    assert a == low or abs(low) >= EDGE
    assert abs(a - low) == max(0, abs(low) - fx.STATE_MAX)


@given(sums, st.integers(0, 8), st.integers(-1000, 1000))
def test_an_exponent_floors_going_right_and_loses_nothing_going_left(
    s: int, n: int, k: int
) -> None:
    assert int(fx.shift_sum(s, -n)) == floor(Fraction(s, 1 << n))
    assert int(fx.shift_sum(fx.shift_sum(s, n), -n)) == s
    assert int(fx.shift_sum(s + (k << n), -n)) == int(fx.shift_sum(s, -n)) + k


@given(sums, st.integers(0, 31), st.integers(-1000, 1000))
def test_host_rounding_is_nearest_and_ties_go_up(x: int, shift: int, k: int) -> None:
    found = int(fx.round_half_up_shift(x, shift))
    assert found == floor(Fraction(x, 1 << shift) + Fraction(1, 2))
    assert int(fx.round_half_up_shift(x + (k << shift), shift)) == found + k


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), decays)
def test_arrays_are_treated_element_by_element(seed: int, n: int) -> None:
    x = np.random.default_rng(seed).integers(-EDGE, EDGE + 1, 50)
    for function in (lambda z: fx.scale_toward_zero(z, n), fx.wrap_current, fx.saturate_voltage):
        assert function(x).tolist() == [int(function(int(z))) for z in x]
        assert function(x).dtype == np.int64
