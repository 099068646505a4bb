"""Numbers read the way a person would write them."""

from __future__ import annotations

import math

import pytest

from spikeproof.report import numbers as n


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (n.integer(1_234_567), "1,234,567"),
        (n.integer(-5), "\N{MINUS SIGN}5"),
        (n.integer(2**70), "1,180,591,620,717,411,303,424"),
        (n.significant(0.0), "0"),
        (n.significant(0.0123456), "0.0123"),
        (n.significant(4.4e-15), "4.40\N{MULTIPLICATION SIGN}10⁻¹⁵"),
        (n.significant(123456.0), "123,456"),
        (n.percent(0.8934), "89.3"),
        (n.rate(0.00004), "0.0040"),
        (n.rate(0.5), "50.0"),
        (n.points(-0.00401), "\N{MINUS SIGN}0.40"),
        (n.points(-0.00001), "0.00"),
        (n.points(0.012), "+1.20"),
        (n.p_value(0.00001), "< 0.001"),
        (n.p_value(0.62), "0.620"),
        (n.interval([0.98, 1.02], lambda v: n.fixed(v, 2)), "[0.98, 1.02]"),
        (n.anything(True), "yes"),
        (n.anything([5, 3, 9, 1]), "1 … 9"),
        (n.anything([4, 7]), "4, 7"),
        (n.anything(3.0), "3"),
    ],
)
def test_formats(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_nothing_is_ever_printed_as_nan(value: float | None) -> None:
    forms = (n.integer, n.fixed, n.significant, n.percent, n.rate, n.points, n.p_value)
    assert {form(value) for form in forms} == {n.MISSING}
    assert n.interval([0.0, value], n.fixed) == n.MISSING
    assert n.interval(None, n.fixed) == n.MISSING


def test_a_column_shares_its_decimals() -> None:
    assert n.column([0.126, 0.0012, None, 0.0]) == ["0.1260", "0.0012", n.MISSING, "0"]
    assert n.column([None]) == [n.MISSING]
