"""Write a bundle in another format: an ONNX model, or the .net file that Lava's netx reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command
from spikeproof.cli.outputs import Force, Output, check_outputs
from spikeproof.errors import InputError
from spikeproof.extras import install_command, is_installed
from spikeproof.io.kinds import Kind

if TYPE_CHECKING:
    from spikeproof.io.bundle import Bundle

_FORMAT_HELP = (
    "onnx: standard operators, runs anywhere; net: Lava's netx. Default: what the name after -o "
    "ends in, else onnx."
)
Name = Literal["onnx", "net"]
Format = Annotated[Name | None, typer.Option("--format", help=_FORMAT_HELP)]
_SUFFIXES: dict[str, Name] = {".onnx": "onnx", ".net": "net"}


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
    from spikeproof.cli.workflow import load_safe_bundle, overflow_warnings

    form = _form(wanted, output)
    if traces and form != "onnx":
        raise InputError("--traces is for --format onnx", where="export")
    path = output or Path(f"{bundle.stem}.{form}")
    kind: Kind = ".net file" if form == "net" else "ONNX model"
    check_outputs([Output(path, kind)], [bundle], force=force)
    loaded = load_safe_bundle(bundle, console)
    compared = None
    if form == "net":
        _net(console, loaded, path)
    else:
        compared = _onnx(console, loaded, path, traces)
    console.say(f"{form}: {path} ({path.stat().st_size:,} bytes)")
    document: dict[str, Any] = {
        "schema": 1,
        "format": form,
        "output": str(path),
        "bytes": path.stat().st_size,
        "content_hash": loaded.content_hash,
        "compared": compared,
        "warnings": overflow_warnings(loaded),
        "mismatches": None if compared is None else 0,  # a mismatch is an error, and no file
    }
    console.document(document)
    return 0


def _form(given: Name | None, output: Path | None) -> Name:
    """Return the format, which the suffix of the output names where no option does.

    Raises:
        InputError: the two contradict each other.
    """
    named = _SUFFIXES.get(output.suffix.lower()) if output else None
    if output and given and named and given != named:
        raise InputError(
            f"--format {given} contradicts the name {output}",
            where="export",
            hint=f"Leave --format out, or call the file {output.with_suffix('.' + given)}.",
        )
    return given or named or "onnx"


def _onnx(console: Console, bundle: Bundle, path: Path, traces: bool) -> int | None:
    """Write the model and replay the bundle's stimulus; return how many values were compared."""
    from spikeproof.formats.onnx.check import check_model, replay
    from spikeproof.formats.onnx.graph import build_model, model_bytes
    from spikeproof.io.files import temporary_beside, write_atomic

    metadata = {"spikeproof.bundle": bundle.content_hash}
    with console.stage("Writing ONNX"):
        data = model_bytes(build_model(bundle.network, traces=traces, metadata=metadata))
    # Only a file that has been read back and proved takes the place of what is there.
    compared = None
    with temporary_beside(path) as unproved:
        write_atomic(unproved, data)
        check_model(unproved)
        if is_installed("onnxruntime"):
            with console.stage("Replaying the bundle's stimulus on ONNX Runtime"):
                compared = replay(unproved, bundle.network, bundle.stimulus)
        unproved.replace(path)
    if compared is None:
        console.say(f"not replayed: onnxruntime is not installed ({install_command('onnx')})")
    else:
        console.say(f"replayed on ONNX Runtime: {compared:,} values compared, 0 differ")
    return compared


def _net(console: Console, bundle: Bundle, path: Path) -> None:
    """Write the network as .net; what does not fit is refused with every reason.

    A network that was read with a pixel range is written for the same range.
    """
    from spikeproof.formats.netx.pixels import RAW_PIXELS
    from spikeproof.formats.netx.write import save_netx
    from spikeproof.io.record import BundleRecord, check_record

    given = check_record(BundleRecord, bundle.record, path.name).pixel_range
    low, high = given or RAW_PIXELS
    matters = save_netx(bundle.network, path, pixel_range=(low, high))
    if given and matters:
        console.say(f"read it back with --pixel-range {low:g} {high:g}: a .net does not hold that")
