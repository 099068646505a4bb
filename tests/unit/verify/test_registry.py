"""A check is one file and one line in the registry: a toy one goes all the way to the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_check import PIXELS, TOY, Brightness, Figures
from verified import verified

from spikeproof.document.values import dump
from spikeproof.errors import InputError
from spikeproof.report.card import render_card
from spikeproof.report.html import render_html
from spikeproof.verify.checks import registry
from spikeproof.verify.checks.base import Findings, Outcome, no_clause
from spikeproof.verify.document import Report, parse_report
from spikeproof.verify.gates import sentence
from spikeproof.verify.verdict import Verdict


def test_a_new_check_is_run_timed_judged_written_read_and_shown(
    case: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "CHECKS", (*registry.CHECKS, TOY))
    raw = verified(case, config, tmp_path)
    assert raw["checks"][-1]["id"] == "V99" and raw["verdict"] == "fail"
    assert "Images are dark (V99): mean pixel" in raw["sentence"] and "V99" in raw["timing"]
    report = parse_report(raw)
    mean = f"{report.result(Brightness).mean:.1f}"
    page = render_html(raw)
    section = page[page.index('<section id="brightness">') :]
    assert "How bright" in section and "Dim." in section and f">{mean}<" in section
    assert f"**{mean}** mean" in render_card(raw)
    raw["checks"][-1]["data"] = {"average": 3.0}
    with pytest.raises(InputError, match=r"V99\.data\.average"):
        parse_report(raw)


def test_a_check_that_passes_is_in_the_sentence_where_it_stands_among_the_others(
    case: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def passes(found: Findings) -> Outcome[Brightness]:
        data = found.of(PIXELS)
        return Outcome(Verdict.PASS, "Dark.", Figures(mean=data.mean), data)

    own = replace(TOY, judge=passes, clause=lambda check, result: f"{result.mean:.0f} is dark")
    v1, *others = registry.CHECKS
    monkeypatch.setattr(registry, "CHECKS", (v1, own, *others))
    raw = verified(case, config, tmp_path)
    mean = next(c["data"]["mean"] for c in raw["checks"] if c["id"] == "V99")
    first, second, *more = raw["sentence"].split("; ")
    assert first == "On 20 images fast reproduces the specification bit for bit"
    assert second == f"{mean:.0f} is dark"
    told = ("react to perturbations as strongly", "is as accurate as", "no input can overflow")
    assert len(more) == len(told) and raw["sentence"].endswith(".")
    assert all(text in clause for text, clause in zip(told, more, strict=True))
    monkeypatch.setattr(registry, "CHECKS", (replace(own, clause=no_clause),))
    assert sentence([parse_report(raw).checks[1]]) == "Every check passed."


def test_every_check_has_all_that_the_report_asks_for() -> None:
    ids = [kind.id for kind in registry.CHECKS]
    assert len(ids) == len(set(ids))
    for kind in registry.CHECKS:
        assert kind.title and kind.section and kind.result.__doc__
        empty = kind.result()
        assert dump(empty) == {}
        check = kind.check(Outcome(Verdict.PASS, "", kind.figures.model_construct(), empty))
        assert registry.facts(check, set()) == []
        assert kind.headline(check, empty) is None
        assert not any(kind.tables(empty).values())
    assert Report.model_fields["checks"].annotation


def _all_work_is_timed_once_and_by_the_first_check_that_needs_it() -> None:
    work = {k.id: [*(j.name for j in k.jobs), *k.shares] for k in registry.CHECKS}
    first: dict[str, str] = {}
    for identifier, parts in work.items():
        for part in parts:
            first.setdefault(part, identifier)
    timed = registry.timed()
    assert first and {part: i for i, parts in timed.items() for part in parts} == first
    assert sum(map(len, timed.values())) == len(first)


def test_all_work_is_timed_once_also_that_of_a_new_check(monkeypatch: pytest.MonkeyPatch) -> None:
    _all_work_is_timed_once_and_by_the_first_check_that_needs_it()
    monkeypatch.setattr(registry, "CHECKS", (*registry.CHECKS, TOY))
    _all_work_is_timed_once_and_by_the_first_check_that_needs_it()
    assert registry.timed()["V99"] == ("pixels",)
