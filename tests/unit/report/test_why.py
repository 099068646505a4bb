"""What did not pass is told worst first, briefly, and with each piece of advice once."""

from __future__ import annotations

from spikeproof.reasons import Reason
from spikeproof.report.model import Check
from spikeproof.report.why import explain


def _reason(
    value: float, verdict: str = "fail", needed: int | None = None, try_: str = ""
) -> Reason:
    return Reason.model_validate({
        "verdict": verdict, "criterion": "c", "value": value, "limit": 10.0, "unit": "%",
        "images_needed": needed, "try": try_ or "Convert anew.",
    })  # fmt: skip


def _check(identifier: str, verdict: str, reasons: list[Reason]) -> Check:
    return Check.model_validate(
        {"id": identifier, "title": "t", "kind": "tested", "verdict": verdict, "reasons": reasons}
    )


def test_failed_checks_come_first_and_what_passed_is_not_mentioned() -> None:
    checks = [
        _check("V1", "pass", []), _check("V3", "info", []),
        _check("V5", "inconclusive", [_reason(8, "inconclusive")]),
        _check("V7", "fail", [_reason(12)]),
    ]  # fmt: skip
    assert [e.check.id for e in explain(checks)] == ["V7", "V5"]


def test_many_reasons_are_counted_and_their_advice_is_said_once() -> None:
    (told,) = explain([_check("V5", "fail", [_reason(v) for v in (11, 49, 20, 12, 13)])])
    assert [r.value for r in told.reasons] == [49, 20, 13]
    assert told.rest == "and 2 more like these"
    assert told.advice == ("Convert anew.",)


def test_the_advice_names_the_images_that_decide_all_of_them() -> None:
    """The largest number counts, also where the reason that needs it is not among those shown."""
    reasons = [
        _reason(9, "inconclusive", n, f"--images {n}") for n in (299, 1200, 400, 320)
    ]  # fmt: skip
    (told,) = explain([_check("V5", "inconclusive", reasons)], most=1)
    assert told.advice == ("--images 1200",)


def test_a_check_of_an_old_report_is_named_even_without_reasons() -> None:
    (told,) = explain([_check("V5", "fail", [])])
    assert told.reasons == () and told.rest == ""
