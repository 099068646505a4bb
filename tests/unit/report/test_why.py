"""What did not pass is told worst first, briefly, and with each piece of advice once."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from spikeproof.reasons import ALTERNATIVE, Reason, Request, request_text
from spikeproof.report.card import render_card
from spikeproof.report.html import render_html
from spikeproof.report.summary import key_figures
from spikeproof.report.why import HELP, explain
from spikeproof.verify.checks.base import Check
from spikeproof.verify.document import parse_report

Make = Callable[..., dict[str, Any]]


def _reason(
    value: float, verdict: str = "fail", needed: int | None = None, try_: str = ""
) -> Reason:
    return Reason.model_validate(
        {
            "verdict": verdict,
            "criterion": "c",
            "value": value,
            "limit": 10.0,
            "unit": "%",
            "images_needed": needed,
            "try": try_ or "Convert anew.",
        }
    )


def _check(identifier: str, verdict: str, reasons: list[Reason]) -> Check:
    return Check.model_validate(
        {"id": identifier, "title": "t", "kind": "tested", "verdict": verdict, "reasons": reasons}
    )


def test_failed_checks_come_first_and_what_passed_is_not_mentioned() -> None:
    checks = [
        _check("V1", "pass", []),
        _check("V3", "info", []),
        _check("V5", "inconclusive", [_reason(8, "inconclusive")]),
        _check("V7", "fail", [_reason(12)]),
    ]
    assert [e.check.id for e in explain(checks)] == ["V7", "V5"]


def test_many_reasons_are_counted_and_their_advice_is_said_once() -> None:
    (told,) = explain([_check("V5", "fail", [_reason(v) for v in (11, 49, 20, 12, 13)])])
    assert [r.value for r in told.reasons] == [49, 20, 13]
    assert told.rest == "and 2 more like these"
    assert told.advice == ("Convert anew.",)


def test_the_advice_names_the_images_that_decide_all_of_them() -> None:
    """The largest number counts, also where the reason that needs it is not among those shown."""
    reasons = [_reason(9, "inconclusive", n, f"--images {n}") for n in (299, 1200, 400, 320)]
    (told,) = explain([_check("V5", "inconclusive", reasons)], most=1)
    assert told.advice == ("--images 1200",)


def test_a_check_of_an_old_report_is_named_even_without_reasons() -> None:
    (told,) = explain([_check("V5", "fail", [])])
    assert told.reasons == () and told.rest == ""


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_page_and_card_show_value_limit_images_and_advice(make_report: Make, verdict: str) -> None:
    raw = make_report(verdict)
    reason = next(c for c in raw["checks"] if c["id"] == "V5")["reasons"][0]
    page, card = render_html(raw), render_card(raw)
    shown = unescape(re.sub(r"<[^>]+>", " ", page))
    plain = card.replace("\\", "")
    told = Reason.model_validate(reason)
    for text in (" ".join(shown.split()), " ".join(plain.split())):
        assert told.where in text and told.criterion in text
        assert told.measured in text and told.allowed in text
        assert without_marks(told.try_) in without_marks(text)  # commands are shown as code
        assert ("about 299 needed" in text) == (verdict == "inconclusive")
        assert HELP in text
    banner = page.index('class="banner')
    assert banner < page.index(reason["criterion"]) < page.index("<nav")


def without_marks(text: str) -> str:
    """Leave out the marks of code, and spaces, which tags stand in for."""
    return re.sub(r"[`\s]", "", text)


@pytest.mark.parametrize("section", ["membrane", "accuracy"])
def test_the_section_of_a_failed_check_says_why(make_report: Make, section: str) -> None:
    page = render_html(make_report("fail"))
    start = page.index(f'<section id="{section}"')
    part = page[start : page.index("</section>", start)]
    assert 'class="why v-fail"' in part and "Try:" in part


def test_the_key_figure_of_a_failed_match_is_what_failed(make_report: Make) -> None:
    """Not the good median."""
    figures = key_figures(parse_report(make_report("fail")))
    told = [f for f in figures if f.source.startswith("V5")]
    assert [(f.value, f.unit, f.source) for f in told] == [("50", "%", "V5.reasons.0.value")]
    assert "limit at most 20 %" in told[0].label
    good = key_figures(parse_report(make_report("pass")))
    assert any("median" in f.label for f in good)


def test_a_report_without_reasons_still_renders(make_report: Make) -> None:
    raw = {**make_report("fail"), "schema": 1}
    for check in raw["checks"]:
        del check["reasons"]
    assert 'class="why v-fail"' in render_html(raw)
    assert "**Membranes react to perturbations as strongly as before** (V5): fail" in render_card(
        raw
    )


def test_every_kind_of_perturbation_gets_its_number_and_only_the_largest() -> None:
    def open_(kind: str, needed: int, would: str = "pass") -> Reason:
        return Reason.model_validate(
            {
                **_reason(9, "inconclusive", needed, f"--set samples.{kind}={needed}").model_dump(
                    by_alias=True
                ),
                "perturbation": f"{kind} 8/255",
                "would": would,
            }
        )

    reasons = [open_("gaussian", n) for n in (299, 1791, 1700, 1600)] + [open_("pgd", 445)]
    (told,) = explain([_check("V5", "inconclusive", reasons)])
    assert told.advice == ("--set samples.gaussian=1791", "--set samples.pgd=445")
    shown = {r.images_needed for r in told.reasons}
    assert {1791, 445} <= shown, "what is advised stands in the rows"


def test_the_key_figure_of_what_is_undecided_is_what_is_shown(make_report: Make) -> None:
    raw = make_report("inconclusive")
    reason = next(c for c in raw["checks"] if c["id"] == "V5")["reasons"][0]
    reason |= {"value": 1.91, "limit": 2.0, "interval": [None, 2.12]}
    (told,) = [f for f in key_figures(parse_report(raw)) if f.source.startswith("V5")]
    assert (told.value, told.unit, told.source) == ("2.12", "%", "V5.reasons.0.interval.1")
    assert told.label.startswith("shown so far, at most: ")


def test_all_images_a_check_asks_for_are_asked_for_once() -> None:
    """Also those of reasons that are not listed, and what else helps stays a line of its own."""

    def asks(part: str, needed: int, rest: str = "") -> Reason:
        request = Request(part=part, needed=needed, given=100, held=100, asked=1000)
        told = _reason(9, "inconclusive", needed, request_text([request]) + rest)
        return told.model_copy(
            update={"perturbation": f"{part} 8/255", "would": "pass", "request": request}
        )

    reasons = [
        asks("clean", 150, f"{ALTERNATIVE}Give others."),
        asks("fgsm", 400),
        asks("pgd", 700),
    ]
    (told,) = explain([_check("V7", "inconclusive", reasons)])
    asked = "Give at least 700 images (verify --data; there were 100)."
    assert told.advice == (asked, "Give others.")
    (brief,) = explain([_check("V7", "inconclusive", reasons)], most=1)
    assert brief.advice == (asked,)


@pytest.mark.parametrize("lost", [("fail", None), ("inconclusive", "fail")])
def test_no_images_are_asked_for_where_none_would_help(lost: tuple[str, str | None]) -> None:
    """A layer that has failed, or is going to, is not mended by more images."""
    request = Request(part="gaussian", needed=1926, given=1000, held=1000, asked=400)
    asks = _reason(8, "inconclusive", 1926, request_text([request]))
    asks = asks.model_copy(update={"would": "pass", "request": request})
    verdict, would = lost
    bad = _reason(49, verdict, 900).model_copy(update={"would": would})
    assert explain([_check("V5", "inconclusive", [asks])])[0].advice == (asks.try_,)
    (told,) = explain([_check("V5", verdict, [asks, bad])])
    assert told.advice == ("Convert anew.",)


@pytest.mark.parametrize(("needed", "first"), [(9_000, "images"), (175_999, "Other data")])
def test_images_out_of_reach_are_asked_for_last(needed: int, first: str) -> None:
    """Noise as data: 175,999 images of it would decide, but other data would do."""
    request = Request(part="accuracy", needed=needed, given=1000, held=1000, asked=1000)
    told = f"{request_text([request])}{ALTERNATIVE}Other data."
    asks = _reason(8, "inconclusive", needed, told).model_copy(
        update={"would": "pass", "request": request}
    )
    (explained,) = explain([_check("V7", "inconclusive", [asks])])
    assert len(explained.advice) == 2 and first in explained.advice[0]


def _asks(part: str, needed: int) -> Reason:
    request = Request(part=part, needed=needed, given=300, held=300, asked=200)
    told = _reason(8, "inconclusive", needed, request_text([request]))
    return told.model_copy(update={"would": "pass", "request": request})


def test_two_checks_advise_one_value_for_one_setting() -> None:
    """Of one setting both name the largest, and one number of images meets both."""
    checks = [
        _check("V5", "inconclusive", [_asks("gaussian", 2520)]),
        _check("V7", "inconclusive", [_asks("gaussian", 512), _asks("pgd", 700)]),
    ]
    told = [one.advice[0] for one in explain(checks)]
    for advice in told:
        assert "samples.gaussian=2520" in advice and "samples.pgd=700" in advice, advice
        assert "at least 2,520 images" in advice and "512" not in advice, advice


def test_images_out_of_reach_of_one_check_are_not_asked_for_by_another() -> None:
    checks = [
        _check("V5", "inconclusive", [_asks("gaussian", 400)]),
        _check("V7", "inconclusive", [_asks("pgd", 90_000)]),
    ]
    near, far = (one.advice[0] for one in explain(checks))
    assert "at least 400 images" in near and "pgd" not in near
    assert "at least 90,000 images" in far and "samples.gaussian=400" in far


def test_a_check_that_failed_asks_for_nothing_of_the_others() -> None:
    lost = _check("V5", "fail", [_reason(49, "fail", 900), _asks("gaussian", 2520)])
    failed, told = explain([lost, _check("V7", "inconclusive", [_asks("gaussian", 512)])])
    assert failed.advice == ("Convert anew.",)
    assert "samples.gaussian=512" in told.advice[0]
