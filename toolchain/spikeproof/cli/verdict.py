"""Show a verification's result, and turn its verdict into an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spikeproof.cli.console import Console
from spikeproof.document import numbers as n

if TYPE_CHECKING:
    from spikeproof.verify.checks.accuracy import Accuracy
    from spikeproof.verify.document import Report

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}
_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}


def show_verdict(console: Console, report: Report) -> int:
    """Print a line per check, why some did not pass, verdict, path; return the exit code."""
    from spikeproof.verify.checks.accuracy import Accuracy
    from spikeproof.verify.document import REPORT_JSON

    rows = [(c.id, str(c.verdict), c.kind, c.title) for c in report.checks]
    console.table(["check", "verdict", "kind", "what"], rows)
    for check in report.checks:
        console.paragraph(f"{check.id}: {check.summary}")
    accuracy = report.result(Accuracy)
    _show_accuracy(console, accuracy)
    _show_reasons(console, report)
    if accuracy.plausibility is not None and accuracy.plausibility.warning:
        console.say(f"warning: {accuracy.plausibility.warning}", _STYLES["inconclusive"])
    console.sentence(f"{report.verdict.upper()}: {report.sentence}", _STYLES[report.verdict])
    console.say(f"report: {report.report}")
    if report.report is not None:
        console.say(f"figures: {Path(report.report).with_name(REPORT_JSON)}")
    console.document(report.json_document())
    return EXIT_CODES[report.verdict]


def _show_reasons(console: Console, report: Report) -> None:
    """Print of every check that did not pass where, by how much, and what to try."""
    from spikeproof.report.why import HELP, explain

    explained = explain(report.checks)
    for entry in explained:
        check = entry.check
        console.sentence(f"{check.id} {check.title}: {check.verdict}", _STYLES[check.verdict])
        for line in [r.sentence for r in entry.reasons] + [entry.rest] * bool(entry.rest):
            console.sentence(f"  {line}")
        for advice in entry.advice:
            console.sentence(f"  Try: {advice}")
    if explained:
        console.sentence(HELP)


def _show_accuracy(console: Console, accuracy: Accuracy) -> None:
    """Print accuracy before and after, if it was measured."""
    from spikeproof.verify.accuracy_rows import row_name

    if not accuracy.rows:
        return
    bounds = list(dict.fromkeys(row.bound for row in accuracy.rows if row.bound))
    marks = {bound: "*" * (1 + i) for i, bound in enumerate(bounds)}
    console.table(
        ["perturbation", "images", "clean %", "trained %", "chip %", "points", "verdict"],
        [
            (
                f"{row_name(row)}{marks.get(row.bound, '')}",
                row.samples,
                n.accuracy(row.clean_float_accuracy),
                n.accuracy(row.float_accuracy),
                n.accuracy(row.chip_accuracy),
                n.points(row.difference),
                str(row.tost),
            )
            for row in accuracy.rows
        ],
    )
    for bound, mark in marks.items():
        console.paragraph(f"{mark} {bound}; points: chip minus trained")
