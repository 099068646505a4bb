"""Show the layers, numbers and ranges of a checkpoint, recipe, bundle or lava-dl .net file."""

from __future__ import annotations

from typing import Annotated

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command

_MODEL = "A checkpoint, bundle, recipe or .net file, or the name of a shipped network."


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    model: Annotated[str, typer.Argument(help=_MODEL)],
    input_shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option(help="Of a .net that does not say: its image.", metavar="C H W"),
    ] = None,
) -> int:
    """Show the file."""
    from spikeproof.cli.show import show_file

    return show_file(console, model, input_shape)
