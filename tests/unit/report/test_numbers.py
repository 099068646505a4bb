"""Numbers read the way a person would write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from spikeproof.cli.console import Console
from spikeproof.cli.verdict import show_verdict
from spikeproof.document import numbers as n
from spikeproof.report.card import render_card
from spikeproof.report.html import render_html
from spikeproof.verify.document import parse_report


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
        (n.accuracy(0.811), "81.10"),
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
    forms = (n.integer, n.fixed, n.significant, n.percent, n.accuracy, n.rate, n.points, n.p_value)
    assert {form(value) for form in forms} == {n.MISSING}
    assert n.interval([0.0, value], n.fixed) == n.MISSING
    assert n.interval(None, n.fixed) == n.MISSING


def test_a_column_shares_its_decimals() -> None:
    assert n.column([0.126, 0.0012, None, 0.0]) == ["0.1260", "0.0012", n.MISSING, "0"]
    assert n.column([None]) == [n.MISSING]


@pytest.mark.parametrize("samples", [300, 1000, 10_000])
def test_an_accuracy_reads_the_same_in_terminal_card_table_and_chart(
    make_report: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    samples: int,
) -> None:
    """81.1 % in the table of the report was 81.10 % in the terminal and the card."""
    raw = make_report()
    row = next(c for c in raw["checks"] if c["id"] == "V7")["data"]["rows"][-1]
    right = round(0.811 * samples)
    row.update(samples=samples, float_accuracy=right / samples, chip_accuracy=(right + 1) / samples)
    row.update(bound="", clean_float_accuracy=0.9, clean_chip_accuracy=0.9)
    monkeypatch.setenv("COLUMNS", "80")  # narrower, the table becomes a list
    show_verdict(Console(), parse_report(raw))
    terminal, card, page = capsys.readouterr().out, render_card(raw), render_html(raw)
    trained, chip = n.accuracy(right / samples), n.accuracy((right + 1) / samples)
    assert f" {trained} {chip} " in " ".join(terminal.split())
    assert f" {trained} | {chip} |" in card
    assert f'<td class="num">{trained}</td>\n<td class="num">{chip}</td>' in page
    assert f"trained {trained} %, chip {chip} %" in page


def test_the_table_of_accuracies_fits_a_terminal_and_its_bounds_stand_below(
    make_report: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With its bound in the cell the table fell apart, with 1,000 as the key of a line."""
    raw = make_report()
    rows = next(c for c in raw["checks"] if c["id"] == "V7")["data"]["rows"]
    bound = "upper bound: weak attack, of no named suite"
    rows[-1].update(perturbation="mi-pgd-20", samples=10_000, bound=bound)
    monkeypatch.setenv("COLUMNS", "80")
    show_verdict(Console(), parse_report(raw))
    lines = capsys.readouterr().out.splitlines()
    (head,) = [i for i, line in enumerate(lines) if line.startswith("perturbation")]
    assert "trained %" in lines[head] and "verdict" in lines[head]
    (row,) = [line for line in lines[head:] if line.startswith("mi-pgd-20")]
    mark = row.split()[1].removeprefix("32/255")
    assert set(mark) == {"*"} and "10,000" in row
    assert any(line.startswith(f"{mark} {bound}") for line in lines[head:])
    assert max(map(len, lines[head : head + 3 + len(rows)])) <= 80
