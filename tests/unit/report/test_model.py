"""A report file is read strictly, and a bad one is refused with a message one can act on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikeproof.errors import InputError
from spikeproof.report.data import AccuracyData, MatchData
from spikeproof.report.model import load_report, parse_report

Make = Callable[..., dict[str, Any]]


def test_reads_what_verify_writes(make_report: Make, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(make_report()))
    report = load_report(path)
    assert report.verdict == "pass"
    assert [c.id for c in report.checks][:3] == ["V1", "V2", "V3"]
    assert report.data("V7", AccuracyData).rows[0].perturbation == "clean"
    assert report.data("V99", MatchData).attacks == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or not JSON"),
        (b'{"schema": 1, "verd', "damaged or not JSON"),
        (b"\x89PNG\r\n\x1a\n", "not a text file"),
        (b"[" * 100_000, "damaged or not JSON"),
        (b"[1, 2]", "not a spikeproof report"),
        (b'{"name": "something else"}', "not a spikeproof report"),
        (b'{"schema": 2}', "has report schema 2; this version reads schema 1"),
        (b'{"schema": 1}', "verdict: Field required"),
    ],
)
def test_foreign_and_damaged_files_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_report(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_report(tmp_path / "none.json")


def test_all_problems_are_listed_at_once(make_report: Make) -> None:
    raw = make_report()
    raw["verdict"] = "maybe"
    raw["extra"] = 1
    raw["checks"][0]["kind"] = "guessed"
    with pytest.raises(InputError) as caught:
        parse_report(raw)
    for place in ("verdict", "extra", "checks.0.kind"):
        assert place in str(caught.value)


def test_wrong_type_inside_a_check_names_the_place(make_report: Make) -> None:
    raw = make_report()
    raw["checks"][0]["data"]["layers"][2]["values"] = "many"
    with pytest.raises(InputError, match=r"V1\.data\.layers\.2\.values.*expected a number"):
        parse_report(raw)


def test_a_check_may_not_appear_twice(make_report: Make) -> None:
    raw = make_report()
    raw["checks"].append(raw["checks"][0])
    with pytest.raises(InputError, match="V1 twice"):
        parse_report(raw)


def test_unknown_measurements_and_checks_are_tolerated(make_report: Make) -> None:
    raw = make_report()
    raw["checks"][0]["data"]["later"] = {"a": [1]}
    raw["checks"].append({"id": "V42", "title": "New", "kind": "measured", "verdict": "info"})
    assert parse_report(raw).check("V42") is not None


def test_nan_and_infinity_become_missing(make_report: Make) -> None:
    raw = make_report()
    row = raw["checks"][5]["data"]["rows"][0]
    row["difference"], row["ci"] = float("nan"), [float("-inf"), None]
    raw["checks"][0]["figures"]["ratio"] = float("inf")
    report = parse_report(raw)
    parsed = report.data("V7", AccuracyData).rows[0]
    assert parsed.difference is None
    assert parsed.ci == (None, None)
    assert report.checks[0].figures["ratio"] is None
