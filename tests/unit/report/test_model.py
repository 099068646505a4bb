"""A report file is read strictly, and a bad one is refused with a message one can act on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikeproof.errors import InputError
from spikeproof.report.html import render_html
from spikeproof.verify.checks.accuracy import Accuracy
from spikeproof.verify.document import load_report, parse_report, upgrade

Make = Callable[..., dict[str, Any]]


def test_reads_what_verify_writes(make_report: Make, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(make_report()))
    report = load_report(path)
    assert report.verdict == "pass"
    assert [c.id for c in report.checks][:3] == ["V1", "V2", "V3"]
    assert report.result(Accuracy).rows[0].perturbation == "clean"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or not JSON"),
        (b'{"schema": 1, "verd', "damaged or not JSON"),
        (b"\x89PNG\r\n\x1a\n", "not a text file"),
        (b"[" * 100_000, "damaged or not JSON"),
        (b"[1, 2]", "not a spikeproof report"),
        (b'{"name": "something else"}', "not a spikeproof report"),
        (b'{"schema": 3}', "has report schema 3; this version reads schemas 1 and 2"),
        (b'{"schema": 2}', "verdict: is missing"),
        (b'{"schema": 1}', "verdict: is missing"),
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
    with pytest.raises(InputError, match=r"V1\.data\.layers\.2\.values.*a whole number"):
        parse_report(raw)


def test_a_check_may_not_appear_twice(make_report: Make) -> None:
    raw = make_report()
    raw["checks"].append(raw["checks"][0])
    with pytest.raises(InputError, match="V1 twice"):
        parse_report(raw)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List every key of the checks' data, of the network and of a reason, once per kind of list."""
    if isinstance(value, list):
        return places(value[0], (*path, 0)) if value else []
    if not isinstance(value, dict):
        return []
    return [p for k, v in value.items() for p in [(*path, k), *places(v, (*path, k))]]


FREE = {
    "criteria",
    "attack",
    "estimators",
    "engines",
    "suite",
    "seeds",
    "packages",
    "timing",
    "coding_flip_rates",
    "worst_case_chip",
    "worst_case_float",
}
"""Where keys are names of things."""


@pytest.mark.parametrize("verdict", ["pass", "fail"])
def test_no_key_can_be_renamed_unnoticed(make_report: Make, verdict: str) -> None:
    """A renamed key was a dash on the page; now it is an error that names it."""
    raw = make_report(verdict)
    found = [("checks", i, *p) for i, c in enumerate(raw["checks"]) for p in places(c)]
    found += [("provenance", *p) for p in places(raw["provenance"])]
    found += [("network", *p) for p in places(raw["network"])]
    kept = [
        p for p in found if not FREE & set(p[:-1]) and p[-2:-1] not in (("gaps",), ("criteria",))
    ]
    assert len(kept) > 150
    for path in kept:
        changed = copy.deepcopy(raw)
        node: Any = changed
        for step in path[:-1]:
            node = node[step]
        node["renamed"] = node.pop(path[-1])
        with pytest.raises(InputError, match=r"renamed|found"):
            parse_report(changed)


@pytest.mark.parametrize("gone", ["engine", "compared", "samples"])
def test_a_figure_that_is_renamed_or_missing_is_no_dash(make_report: Make, gone: str) -> None:
    raw = make_report()
    figures = raw["checks"][0]["figures"]
    left = figures.pop(gone)
    with pytest.raises(InputError, match=rf"V1\.figures\.{gone}: is missing"):
        parse_report(raw)
    figures["renamed"] = left
    with pytest.raises(InputError, match=r"V1\.figures\.renamed: is unknown"):
        parse_report(raw)


def test_figures_of_schema_1_may_lack_what_was_not_known(make_report: Make) -> None:
    raw = make_report()
    raw["schema"] = 1
    figures = {c["id"]: c["figures"] for c in raw["checks"]}
    figures["V1"]["older"] = 1
    for check, key in (("V3", "layer"), ("V7", "masking_suspected"), ("V9", "extremal_inputs")):
        del figures[check][key]
    assert "V9" in render_html(raw)
    exact = parse_report(raw).checks[0]
    assert "older" not in exact.listed and exact.listed["engine"] == "fast"


def test_a_check_of_a_later_version_is_named_with_its_figures(make_report: Make) -> None:
    raw = make_report()
    later = {"id": "V42", "title": "New", "kind": "measured", "verdict": "info"}
    raw["checks"].append({**later, "figures": {"things": 3}, "data": {"a": [1]}})
    assert parse_report(raw).check("V42") is not None
    assert "New" in render_html(raw) and "V42.figures.things" in render_html(raw)


def test_a_report_of_schema_1_may_hold_more_and_less(make_report: Make) -> None:
    raw = make_report()
    raw["schema"] = 1
    accuracy = next(c for c in raw["checks"] if c["id"] == "V7")["data"]["rows"]
    for row in accuracy:
        row["unattacked_accuracy"] = row.pop("clean_float_accuracy")
    before = copy.deepcopy(raw)
    report = parse_report(raw)
    assert raw == before, "what was given is left as it was"
    assert report.result(Accuracy).rows[0].clean_float_accuracy is None
    assert upgrade(raw)["schema"] == 2
    assert parse_report(report.json_document()) == report


def test_what_is_written_is_what_is_read(real_reports: dict[str, Any]) -> None:
    for raw in real_reports.values():
        assert parse_report(raw).json_document() == raw


def test_nan_where_a_figure_may_be_missing_is_none_and_elsewhere_an_error(
    make_report: Make,
) -> None:
    raw = make_report()
    row = next(c for c in raw["checks"] if c["id"] == "V7")["data"]["rows"][0]
    row["tost_p"] = float("nan")
    bounds = next(c for c in raw["checks"] if c["id"] == "V9")
    bounds["figures"]["least_headroom_bits"] = float("inf")
    report = parse_report(raw)
    assert report.result(Accuracy).rows[0].tost_p is None
    found = report.check("V9")
    assert found is not None and found.listed["least_headroom_bits"] is None
    row["difference"] = float("nan")
    with pytest.raises(InputError, match=r"V7\.data\.rows\.0\.difference.*expected a number"):
        parse_report(raw)
