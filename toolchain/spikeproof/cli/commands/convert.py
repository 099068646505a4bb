"""Turn a checkpoint into a bundle of chip integers; every choice has a safe default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spikeproof.cli.config import merged_options
from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command
from spikeproof.cli.workflow import (
    Source,
    convert_to_bundle,
    load_images,
    load_source,
    write_bundle,
)
from spikeproof.errors import BundleError
from spikeproof.io.bundle import Bundle, load_bundle
from spikeproof.io.zoo import resolve_model, zoo_calibration
from spikeproof.passes.convert import ConvertOptions

COLUMNS = ("layer", "kind", "neuron", "neurons", "synapses", "weight_bits", "scale",
           "clipped_share", "flip_rate_calibration", "headroom_bits")  # fmt: skip


def build() -> Command:
    """Return the command with its options; the conversion's own come from ConvertOptions."""
    return command(run, ConvertOptions)


def run(
    console: Console,
    given: dict[str, Any],
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint file or a shipped network.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The bundle; default NAME.spk here.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="npz with images x; default: shipped training images.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with these options.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
) -> int:
    """Read everything, convert, check the bundle by reading it back, and say what was made."""
    path = resolve_model(checkpoint)
    options = merged_options(ConvertOptions, config, given)
    source = load_source(path)
    network = source.checkpoint.network
    images, _, images_path = load_images(
        calibration, zoo_calibration, network.input_shape, "convert --calibration"
    )
    target = output or Path(f"{path.stem}.spk")
    if dry_run:
        _show_plan(console, source, images_path, target, options)
        return 0
    with console.stage(f"Converting {network.name}") as progress:
        _, bundle = convert_to_bundle(source, images, options, progress)
        written = write_bundle(target, bundle)
    _check_written(target, written)
    show_table(console, bundle.record["table"])
    console.say(f"bundle: {target}")
    console.document(
        {
            "schema": 1,
            "bundle": str(target),
            "content_hash": written.content_hash,
            "layers": bundle.record["table"],
            "options": bundle.record["options"],
        }
    )
    return 0


def show_table(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print the conversion table."""
    names = [name.replace("_", " ") for name in COLUMNS]
    console.table(names, [[row.get(name) for name in COLUMNS] for row in rows])


def _show_plan(
    console: Console, source: Source, images: Path, target: Path, options: ConvertOptions
) -> None:
    from spikeproof.passes.mappable import preflight

    preflight(source.checkpoint.network)
    plan = {
        "checkpoint": str(source.path),
        "calibration": str(images),
        "bundle": str(target),
        **options.model_dump(mode="json"),
    }
    console.table(["setting", "value"], [(k, str(v)) for k, v in plan.items()])
    console.say("plan only: every layer can be mapped; nothing was written")
    console.document({"schema": 1, "plan": plan})


def _check_written(path: Path, written: Bundle) -> None:
    if load_bundle(path).content_hash != written.content_hash:
        raise BundleError(
            "what was read back is not what was written", where=str(path),
            hint="Check the disk and convert again.",
        )  # fmt: skip
