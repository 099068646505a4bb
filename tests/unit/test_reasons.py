"""A reason says criterion, place, value, limit, images and what to try, in plain words."""

from __future__ import annotations

import pytest

from spikeproof.reasons import Reason, worst_first


def test_a_failure_in_one_sentence() -> None:
    reason = Reason(
        verdict="fail",
        criterion="99th percentile of the relative difference",
        value=49.03,
        limit=10.0,
        unit="%",
        layer="l2",
        perturbation="gaussian 4/255",
        images=400,
    )
    assert reason.sentence == (
        "l2, gaussian 4/255: 99th percentile of the relative difference 49 % "
        "(limit: at most 10 %; 400 images used)"
    )


def test_an_open_question_says_what_is_shown_and_what_is_needed() -> None:
    reason = Reason(
        verdict="inconclusive",
        criterion="rank correlation over the images",
        value=0.961,
        relation="at least",
        limit=0.95,
        interval=(0.943, 0.972),
        layer="l1",
        images=320,
        images_needed=1250,
        would="pass",
    )
    assert reason.sentence == (
        "l1: rank correlation over the images 0.961 (limit: at least 0.95; shown so far: 0.943 "
        "to 0.972; 320 images used, about 1,250 needed to show a pass if the rest are like them)"
    )


@pytest.mark.parametrize(
    ("value", "limit", "told"),
    [(0.94996, 0.95, "0.94996"), (10.0004, 10.0, "10.0004"), (49.03, 10.0, "49"), (0, 1, "0")],
)
def test_a_value_never_reads_like_the_limit_it_violates(
    value: float, limit: float, told: str
) -> None:
    assert Reason(verdict="fail", criterion="c", value=value, limit=limit).measured == told


@pytest.mark.parametrize(
    ("interval", "told"),
    [
        ((None, 14.0), "at most 14 %"),
        ((0.5, None), "at least 0.5 %"),
        ((-1.0, 2.5), "−1 to 2.5 %"),
        ((None, None), ""),
    ],
)
def test_bounds_of_one_and_of_two_sides(
    interval: tuple[float | None, float | None], told: str
) -> None:
    assert Reason(verdict="fail", criterion="c", unit="%", interval=interval).shown == told


def test_numbers_that_are_none_and_hostile_text_do_no_harm() -> None:
    reason = Reason(
        verdict="fail",
        criterion="a\x1b[31mb",
        value=float("nan"),
        limit=1.0,
        layer="\u202el",
    )
    assert reason.value is None
    assert "\x1b" not in reason.sentence and "\u202e" not in reason.sentence


def test_failures_come_first_and_the_largest_violation_leads() -> None:
    def reason(verdict: str, value: float, relation: str = "at most") -> Reason:
        return Reason.model_validate(
            {
                "verdict": verdict,
                "criterion": "c",
                "value": value,
                "limit": 10,
                "relation": relation,
            }
        )

    small, large = reason("fail", 11), reason("fail", 49)
    low = reason("fail", 2, "at least")
    unclear = reason("inconclusive", 90)
    assert worst_first([unclear, small, low, large]) == [large, low, small, unclear]


def test_the_json_says_try_and_reads_back() -> None:
    reason = Reason(verdict="fail", criterion="c", limit=(0.95, 1.05), relation="within", try_="x")
    stored = reason.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert stored["try"] == "x" and "try_" not in stored
    assert Reason.model_validate(stored) == reason
    assert reason.allowed == "between 0.95 and 1.05"


def test_a_headline_never_shows_a_value_that_meets_its_limit_as_the_reason() -> None:
    median = Reason(
        verdict="inconclusive",
        criterion="median of the relative difference",
        value=1.91,
        limit=2,
        unit="%",
        interval=(None, 2.12),
        layer="l3",
        images=400,
        images_needed=1791,
        would="pass",
    )
    assert median.brief == (
        "l3: median of the relative difference (shown so far: at most 2.12 %; limit: at most 2 %; "
        "400 images used, about 1,791 needed to show a pass if the rest are like them)"
    )
    ranks = Reason(
        verdict="inconclusive",
        criterion="rank correlation over the images",
        value=0.999,
        relation="at least",
        limit=0.95,
        images=60,
        images_needed=100,
    )
    assert ranks.brief == (
        "rank correlation over the images (limit: at least 0.95; 60 images used, about 100 needed)"
    )
    silent = Reason(
        verdict="inconclusive", criterion="energy", value=-1, relation="at least", limit=0
    )
    assert silent.brief == "energy −1 (limit: at least 0)"


def test_a_limit_is_rounded_too_but_never_onto_the_value() -> None:
    def allowed(value: float) -> str:
        return Reason(verdict="fail", criterion="c", value=value, limit=100 * 7 / 60).allowed

    assert allowed(9.0) == "at most 11.67"
    assert allowed(11.67) == "at most 11.667"


def test_what_is_hardest_to_decide_leads_the_undecided() -> None:
    def open_(needed: int | None, would: str | None = "pass") -> Reason:
        return Reason.model_validate(
            {
                "verdict": "inconclusive",
                "criterion": "c",
                "value": 1,
                "limit": 2,
                "images_needed": needed,
                "would": would,
            }
        )

    few, many, failing, never = open_(299), open_(1791), open_(55_603, "fail"), open_(None, None)
    ordered = worst_first([few, failing, many, never])
    assert ordered[2:] == [many, few] and {r.would for r in ordered[:2]} == {"fail", None}
