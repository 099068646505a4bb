"""Write a bundle in another format: an ONNX model, or the .net file that Lava's netx reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command
from spikeproof.cli.outputs import Force, Output, check_outputs
from spikeproof.errors import InputError
from spikeproof.io.formats import EXPORTERS, exporter_name

_SHIPPED = {"onnx": "standard operators, runs anywhere", "net": "Lava's netx"}


def format_help() -> str:
    """Say of every registered format what it is; of another package's, its kind of file."""
    told = [f"{n}: {_SHIPPED.get(n) or EXPORTERS.get(n).kind}" for n in EXPORTERS.names()]
    default = "Default: what the name after -o ends in, else onnx."
    return f"{'; '.join(told)}. {default}"


if TYPE_CHECKING:
    Name = str
else:  # the parser offers what is installed
    Name = Literal[tuple(EXPORTERS.names())]
Format = Annotated[Name | None, typer.Option("--format", help=format_help())]


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    bundle: Annotated[Path, typer.Argument(help="A bundle made by convert.")],
    wanted: Format = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file; default NAME.onnx or NAME.net here."),
    ] = None,
    traces: Annotated[
        bool, typer.Option("--traces", help="ONNX: also give u, v and spikes of every layer.")
    ] = False,
    force: Force = False,
) -> int:
    """Load the bundle, write the file beside its place, prove it, and put it there."""
    from spikeproof.bundles import overflow_warnings
    from spikeproof.cli.workflow import load_bundle_to_run

    form = exporter_name(wanted, output)
    exporter = EXPORTERS.get(form)
    if traces and not exporter.traces:
        able = " or ".join(name for name, e in EXPORTERS.all().items() if e.traces)
        raise InputError(
            f"--traces is for --format {able}",
            where="export",
            hint=f"Leave it out, or add --format {able}.",
        )
    path = output or Path(f"{bundle.stem}{exporter.suffix}")
    check_outputs([Output(path, exporter.kind)], [bundle], force=force)
    loaded = load_bundle_to_run(bundle, console)
    done = exporter.write(loaded, path, traces, console.stage)
    for line in done.notes:
        console.say(line)
    console.say(f"{form}: {path} ({path.stat().st_size:,} bytes)")
    document: dict[str, Any] = {
        "schema": 1,
        "format": form,
        "output": str(path),
        "bytes": path.stat().st_size,
        "content_hash": loaded.content_hash,
        "compared": done.compared,
        "warnings": overflow_warnings(loaded),
        "mismatches": None if done.compared is None else 0,  # a mismatch is an error, and no file
    }
    console.document(document)
    return 0
