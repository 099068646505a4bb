"""The card tells the verdict in Markdown that nothing in the report can break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spikeproof.report.card import render_card

Make = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive"])
def test_card_leads_with_the_verdict(make_report: Make, verdict: str) -> None:
    card = render_card(make_report(verdict))
    assert card.splitlines()[0].endswith(f": {verdict}")
    assert "**0** of 1,841,664 values differ between lava and the specification" in card
    assert "| pgd-20 | 8 | 1,000 | 81.1 |" in card
    assert "    spikeproof verify dlif.spk" in card


def test_tables_keep_their_columns_whatever_the_names(make_report: Make) -> None:
    raw = make_report()
    evil = "a|b\n\n# <script>x</script> [l](javascript:1) `c`"
    raw["network"]["name"] = evil
    raw["checks"][0]["title"] = evil
    raw["checks"][5]["data"]["rows"][0]["perturbation"] = evil
    card = render_card(raw)
    assert "<script>" not in card.replace("\\<", "")
    for line in card.splitlines():
        if line.startswith("|"):
            bars = line.replace("\\|", "").count("|")
            assert bars in (5, 8)
    assert sum(line.startswith("#") for line in card.splitlines()) == 1


def test_empty_report_still_has_a_card(make_report: Make) -> None:
    raw = make_report("inconclusive")
    raw["checks"], raw["provenance"] = [], {}
    card = render_card(raw)
    assert "No check ran" in card
    assert "\n\n\n" not in card
