"""Compare all engines with the reference on random networks; shrink and write what differs.

The seed decides which networks are drawn, whatever the engines, the workers or the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command
from spikeproof.cli.outputs import check_folder
from spikeproof.cli.verdict import EXIT_CODES
from spikeproof.errors import InputError, MissingExtraError
from spikeproof.text import counted

if TYPE_CHECKING:
    from spikeproof.engines.trace import Engine
    from spikeproof.fuzz.document import FailureRow, FuzzReport

_REASONS = 3
_INTERRUPTED = 2
_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold yellow"}


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    nets: Annotated[int, typer.Option(min=1, help="How many networks to draw.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Which networks to draw.")] = 0,
    engine: Annotated[
        list[str] | None,
        typer.Option("--engine", help="An engine to compare; repeat it. Default: all installed."),
    ] = None,
    first: Annotated[
        int, typer.Option(min=0, help="Start at this network of the campaign, to see one again.")
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes to use.")] = 1,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for reproductions of failures.")
    ] = Path("fuzz"),
    replay: Annotated[
        Path | None, typer.Option(help="Compare the engines on this bundle instead.")
    ] = None,
) -> int:
    """Draw, compare, shrink, and end with the verdict."""
    if replay is None:
        check_folder(output)
    engines, absent = find_engines(engine)
    if replay is not None:
        return _replay(console, replay, engines)
    from spikeproof.fuzz.campaign import Writer, fuzz

    def show_failure(entry: FailureRow) -> None:
        place = f"; see {entry.folder}" if entry.folder else ""
        console.say(f"{entry.engine}: network {entry.network}: {entry.text}{place}")

    title = f"Comparing {counted(len(engines), 'engine')} on {counted(nets, 'network')}"
    with console.stage(title, "networks") as progress:
        report = fuzz(
            nets,
            seed,
            engines,
            first=first,
            workers=workers,
            writer=Writer(output),
            progress=progress,
            found=show_failure,
        )
    for row in report.engines:
        if engine and not row.compared and row.reasons and not report.interrupted:
            raise MissingExtraError(next(iter(row.reasons)), where=f"--engine {row.name}")
    return _show(console, report.model_copy(update={"absent": absent}))


def find_engines(names: Sequence[str] | None) -> tuple[list[Engine], dict[str, str]]:
    """Return the engines to compare and, where none were named, why others are left out.

    Raises:
        InputError: a name is unknown, given twice, or the reference's own.
        MissingExtraError: a named engine is not installed.
    """
    from spikeproof.engines.reference import ReferenceEngine
    from spikeproof.engines.registry import ENGINES

    found: list[Engine] = []
    absent = {}
    for name in names or [n for n in ENGINES.names() if n != ReferenceEngine.name]:
        if name == ReferenceEngine.name or name in [e.name for e in found]:
            others = ", ".join(n for n in ENGINES.names() if n != ReferenceEngine.name)
            raise InputError(
                f"{name!r} cannot be compared with itself",
                where="--engine",
                hint=f"Name each of these once, or none for all: {others}.",
            )
        try:
            found.append(load_engine(name))
        except (MissingExtraError, ImportError) as error:
            if names:
                raise
            absent[name] = str(error).splitlines()[0]
    return found, absent


def load_engine(name: str) -> Engine:
    """Return an engine that is ready to run.

    Raises:
        InputError: no such engine. MissingExtraError: it is not installed.
    """
    from spikeproof.engines.base import BaseEngine
    from spikeproof.engines.registry import get_engine

    engine = get_engine(name)
    if isinstance(engine, BaseEngine):
        engine.check_installed()
    return engine


def _show(console: Console, report: FuzzReport) -> int:
    rows = [
        (r.name, r.compared, r.nasty, r.values, r.mismatches, r.skipped) for r in report.engines
    ]
    columns = ["engine", "networks", "of them nasty", "values", "networks that differ", "skipped"]
    console.table(columns, rows, title="Compared with the reference")
    kinds = [(k, c.networks, c.events) for k, c in report.kinds.items() if c.networks]
    console.table(["nasty on purpose", "networks", "times it happened"], kinds)
    for row in report.engines:
        common = sorted(row.reasons.items(), key=lambda reason: -reason[1])
        for reason, count in common[:_REASONS]:
            skipped = f"skipped {counted(count, 'network')}"
            console.note(f"{row.name}: {skipped}: {' '.join(reason.split())}")
        if rest := sum(count for _, count in common[_REASONS:]):
            console.note(f"{row.name}: skipped {rest} more, for reasons like these (--json)")
    for name, reason in report.absent.items():
        console.note(f"{name}: not compared: {reason}")
    console.document(report.json_document)
    verdict = report.verdict
    console.say(f"{verdict.upper()}: {_sentence(report)}", _STYLES[verdict])
    if report.interrupted and verdict != "fail":
        return _INTERRUPTED
    return EXIT_CODES[verdict]


def _sentence(report: FuzzReport) -> str:
    done, asked, seed = report.done, report.asked, report.seed
    which = f"{done:,} of {counted(asked, 'network')} of seed {seed}"
    if report.interrupted:
        which = f"interrupted after {which}"
    names = ", ".join(row.name for row in report.engines if row.compared)
    differ = counted(len(report.failures), "difference")
    return f"{which} ({report.nasty:,} nasty), {differ}; compared: {names or '-'}"


def _replay(console: Console, path: Path, engines: list[Engine]) -> int:
    """Compare the engines on one bundle, every u, v, s and logit."""
    from spikeproof.fuzz.reproduce import replay

    rows = []
    for engine in engines:
        outcome = replay(path, engine)
        found = outcome.mismatch
        rows.append(
            {
                "name": engine.name,
                "values": outcome.values,
                "skipped": outcome.skipped,
                "mismatch": None if found is None else found.json,
            }
        )
        equal = f"{counted(outcome.values, 'value')}, all equal"
        text = found.text if found else outcome.skipped or equal
        console.say_lines(f"{engine.name}: {text}")
        if found is not None and found.divergence:
            console.note(str(found.divergence.replay))
    failed = any(row["mismatch"] for row in rows)
    compared = any(row["skipped"] is None for row in rows)
    verdict = "fail" if failed else "pass" if compared else "inconclusive"
    console.document({"schema": 1, "verdict": verdict, "replay": str(path), "engines": rows})
    return EXIT_CODES[verdict]
