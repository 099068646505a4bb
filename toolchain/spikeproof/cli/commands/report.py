"""Make the HTML page and the text card of a run from its report.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command
from spikeproof.cli.outputs import Force, Output, check_outputs

REPORT_NAME = "report.json"


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    run: Annotated[Path, typer.Argument(help="A run's folder, or its report.json.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page; default beside the JSON.")
    ] = None,
    card: Annotated[Path | None, typer.Option(help="Also write a Markdown card here.")] = None,
    force: Force = False,
) -> int:
    """Read the JSON, check it, and write its views."""
    from spikeproof.io.files import write_atomic
    from spikeproof.report.card import render_card
    from spikeproof.report.html import write_html
    from spikeproof.verify.document import load_report

    path = run / REPORT_NAME if run.is_dir() else run
    page = output or path.with_suffix(".html")
    outputs = [Output(page, "report page")]
    if card is not None:
        outputs.append(Output(card, "card", "--card"))
    check_outputs(outputs, [path], force=force)
    report = load_report(path)
    write_html(report, page)
    document = {"schema": 1, "verdict": report.verdict, "report": str(page)}
    if card is not None:
        write_atomic(card, render_card(report))
        console.say(f"card: {card}")
        document["card"] = str(card)
    console.say(f"report: {page}")
    console.document(document)
    return 0
