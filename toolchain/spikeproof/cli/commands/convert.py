"""Turn a checkpoint, or a file of another program, into a bundle of chip integers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command, settings_of_frontends
from spikeproof.cli.outputs import Force, Output, check_outputs
from spikeproof.convert.options import ConvertOptions
from spikeproof.errors import InputError
from spikeproof.io.zoo import resolve_model, zoo_calibration

_SHARED = frozenset({"timesteps", "input_shape"})
"""What files of several kinds leave open: one option for all of them."""


def build() -> Command:
    """Return the command with its options: ConvertOptions', and what frontends ask for."""
    return command(run, ConvertOptions, settings_of_frontends(), skip=_SHARED)


def run(
    console: Console,
    given: dict[str, Any],
    settings: dict[str, Any],
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A checkpoint, a shipped network, a lava-dl .net file, or what --from names."
        ),
    ],
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME",
            help="What kind of file it is, where its content does not tell: stable-snn is a state "
            'dict (.pth) of the reference code of "Robust Stable SNNs".',
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The bundle; default NAME.spk here.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="npz with images x; default: shipped ones, if it was trained on their set."
        ),
    ] = None,
    timesteps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps per sample, of a .net or --from stable-snn; some say it."),
    ] = None,
    pixel_range: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Of a .net: the values that pixels 0 and 255 stand for.", metavar="X X"),
    ] = None,
    skip_input: Annotated[
        bool, typer.Option("--skip-input", help="Of a .net: feed spikes past its input neurons.")
    ] = False,
    input_shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            help="The image, of a .net or --from stable-snn that does not say.", metavar="C H W"
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with these options.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    force: Force = False,
) -> int:
    """Read everything, convert, check the bundle by reading it back, and say what was made."""
    from spikeproof.bundles import write_bundle
    from spikeproof.certify.overflow import count_overflows
    from spikeproof.cli import conversion as told
    from spikeproof.cli.board import show_cost
    from spikeproof.cli.workflow import show_data, show_source, warn
    from spikeproof.convert.bundle import convert_to_bundle
    from spikeproof.convert.images import load_images
    from spikeproof.io.formats import ChipFrontend, find_frontend, load_trained
    from spikeproof.io.options import merged_options

    path = resolve_model(checkpoint)
    target = output or Path(f"{path.stem}.spk")
    frontend = find_frontend(path, from_)
    if frontend is None:
        _refuse_other(path)  # before its outputs: what it is matters more than where it would go
    shipped = None if calibration or isinstance(frontend, ChipFrontend) else zoo_calibration()
    check_outputs([Output(target, "bundle")], [path, calibration, config, shipped], force=force)
    foreign = {
        "timesteps": timesteps,
        "pixel_range": pixel_range,
        "skip_input": skip_input,
        "input_shape": input_shape,
    }
    left_open = {name: value for name, value in foreign.items() if value} | settings
    if isinstance(frontend, ChipFrontend):
        _refuse_options(list(settings), f"a {frontend.title}")
        _refuse_options([*given, *(["config"] if config else [])], "a .net file: it is not trained")
        with console.stage(f"Reading {path.name}"):
            loaded = frontend.load(path, calibration, **left_open)
        return told.write_chip(console, path, target, loaded, frontend.columns, dry_run=dry_run)
    if frontend is None or frontend.settings is None:
        _refuse_options(list(left_open), "a checkpoint, only to a file that leaves it open")
    options = merged_options(ConvertOptions, config, given)
    source = load_trained(path, from_, left_open)
    show_source(console, source.training.source)
    told.warn_of_assumptions(console, frontend, source, left_open)
    images = load_images(calibration, "calibration", source, "--calibration")
    show_data(console, images.record.used(options.calibration_samples), "calibration")
    warnings = warn(console, told.warnings_of_calibration(source, images, options))
    if dry_run:
        told.show_plan(console, path, source, images, target, options)
        return 0
    with console.stage(f"Converting {source.network.name}", "layers") as progress:
        _, bundle = convert_to_bundle(source, images, options, progress, progress.say)
        written = write_bundle(target, bundle)
    told.check_written(target, written)
    told.show_table(console, bundle.record.document["table"])
    if bundle.record.profile_cost is not None:
        show_cost(console, bundle.record.profile_cost)
    if options.lower_rail != "never":
        overflows = count_overflows(written.network, written.stimulus)
        warnings += warn(console, [overflow.sentence for overflow in overflows])
    told.show_result(console, target, written, warnings)
    return 0


def _refuse_other(path: Path) -> None:
    """Raise the error for a file that nothing reads; a bundle needs no conversion."""
    from spikeproof.io.formats import load_trained
    from spikeproof.io.kinds import is_kind

    if is_kind(path, "bundle") and path.stat().st_size:
        raise InputError(
            "is a bundle (already converted); convert takes a checkpoint",
            where=str(path),
            hint=f"`spikeproof inspect {shlex.quote(str(path))}` shows it, "
            f"`spikeproof run {shlex.quote(str(path))} --self-test` runs it.",
        )
    load_trained(path)


def _refuse_options(names: list[str], what: str) -> None:
    if names:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise InputError(
            f"{flags} does not apply to {what}", where="convert", hint=f"Leave out {flags}."
        )
