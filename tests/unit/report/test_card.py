"""The card tells the verdict in Markdown that nothing in the report can break."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from spikeproof.attacks.weak import WEAK
from spikeproof.report.card import render_card
from spikeproof.report.html import render_html

Make = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive"])
def test_card_leads_with_the_verdict(make_report: Make, verdict: str) -> None:
    raw = make_report(verdict)
    card = render_card(raw)
    assert card.splitlines()[1].endswith(f": {verdict}")
    compared = raw["checks"][0]["figures"]["compared"]
    told = f"**0** of {compared:,} values differ between fast and the specification"
    assert told in card
    row = next(c for c in raw["checks"] if c["id"] == "V7")["data"]["rows"][-1]
    right = f"{100 * row['float_accuracy']:.2f}"
    start = rf"| pgd-20 \({WEAK.bound}\) | 32 | {row['samples']} | {right} |"
    assert start in card
    assert f"    {raw['provenance']['command']}" in card


def test_tables_keep_their_columns_whatever_the_names(make_report: Make) -> None:
    raw = make_report()
    evil = "a|b\n\n# <script>x</script> [l](javascript:1) `c`"
    raw["network"]["name"] = evil
    raw["checks"][0]["title"] = evil
    accuracy = next(c for c in raw["checks"] if c["id"] == "V7")
    accuracy["data"]["rows"][0]["perturbation"] = evil
    card = render_card(raw)
    assert "<script>" not in card.replace("\\<", "")
    for line in card.splitlines():
        if line.startswith("|"):
            bars = line.replace("\\|", "").count("|")
            assert bars in (5, 8), line
    assert sum(line.startswith("#") for line in card.splitlines()) == 1


def test_empty_report_still_has_a_card(make_report: Make) -> None:
    raw = make_report("inconclusive")
    raw["checks"], raw["provenance"] = [], {}
    card = render_card(raw)
    assert "No check ran" in card
    assert "\n\n\n" not in card


def _attacked(report: dict[str, Any], ahead: float) -> dict[str, Any]:
    """Set how far the chip is ahead under attack."""
    for row in next(c for c in report["checks"] if c["id"] == "V7")["data"]["rows"]:
        if row["perturbation"] in ("fgsm", "pgd-20"):
            row["difference"] = ahead
            row["chip_accuracy"] = row["float_accuracy"] + ahead
    return report


@pytest.mark.parametrize("render", [render_card, render_html])
def test_attack_figures_are_upper_bounds_and_a_chip_ahead_is_no_more_robust(
    make_report: Make, render: Callable[[dict[str, Any]], str]
) -> None:
    ahead, behind = (render(_attacked(make_report(), d)).replace("\\", "") for d in (0.01, -0.01))
    for text in (ahead, behind):
        words = re.sub("</?span[^>]*>", "", text)
        assert words.count(f"pgd-20 ({WEAK.bound})") >= 1
        assert "gaussian (upper bound" not in text
        assert "stronger attacks leave less" in text
    assert "artefact of transfer" in ahead and "artefact of transfer" not in behind
