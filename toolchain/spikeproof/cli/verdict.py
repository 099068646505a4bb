"""Show a verification's result, and turn its verdict into an exit code."""

from __future__ import annotations

from typing import Any

from spikeproof.cli.console import Console
from spikeproof.report import numbers as n

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}
_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}


def show_verdict(console: Console, report: dict[str, Any]) -> int:
    """Print a line per check, why some did not pass, verdict, path; return the exit code."""
    rows = [(c["id"], c["verdict"], c["kind"], c["title"]) for c in report["checks"]]
    console.table(["check", "verdict", "kind", "what"], rows)
    for check in report["checks"]:
        console.paragraph(f"{check['id']}: {check['summary']}")
    _show_accuracy(console, report)
    _show_reasons(console, report)
    for warning in _result_warnings(report):
        console.say(f"warning: {warning}", _STYLES["inconclusive"])
    verdict = report["verdict"]
    console.say(f"{verdict.upper()}: {report['sentence']}", _STYLES[verdict])
    console.say(f"report: {report['report']}")
    console.document(report)
    return EXIT_CODES[verdict]


def _show_reasons(console: Console, report: dict[str, Any]) -> None:
    """Print of every check that did not pass where, by how much, and what to try."""
    from spikeproof.report.model import Check
    from spikeproof.report.why import HELP, explain

    explained = explain([Check.model_validate(c) for c in report["checks"]])
    for entry in explained:
        check = entry.check
        console.say(f"{check.id} {check.title}: {check.verdict}", _STYLES[check.verdict])
        for line in [r.sentence for r in entry.reasons] + [entry.rest] * bool(entry.rest):
            console.say(f"  {line}")
        for advice in entry.advice:
            console.say(f"  Try: {advice}")
    if explained:
        console.say(HELP)


def _result_warnings(report: dict[str, Any]) -> list[str]:
    """Return what the results say against the data; what was odd before is on the screen."""
    found = [c["data"].get("plausibility", {}) for c in report["checks"] if c["id"] == "V7"]
    return [f["warning"] for f in found if f.get("warning")]


def _show_accuracy(console: Console, report: dict[str, Any]) -> None:
    """Print accuracy before and after, if it was measured."""
    checks = [c for c in report["checks"] if c["id"] == "V7"]
    rows = checks[0]["data"].get("rows", []) if checks else []
    if not rows:
        return
    console.table(
        ["images", "perturbation", "clean", "trained", "chip", "difference", "verdict"],
        [
            (
                row["samples"],
                _perturbation(row),
                _with_unit(n.accuracy(row["clean_float_accuracy"]), "%"),
                _with_unit(n.accuracy(row["float_accuracy"]), "%"),
                _with_unit(n.accuracy(row["chip_accuracy"]), "%"),
                _with_unit(n.points(row["difference"]), "points"),
                row["tost"],
            )
            for row in rows
        ],
    )


def _perturbation(row: dict[str, Any]) -> str:
    strength = row.get("strength")
    name = f"{row['perturbation']} {strength:g}/255" if strength else str(row["perturbation"])
    return f"{name} ({row['bound']})" if row["bound"] else name


def _with_unit(figure: str, unit: str) -> str:
    return figure if figure == n.MISSING else f"{figure} {unit}"
