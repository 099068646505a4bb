"""Turn a checkpoint, or a file of another program, into a bundle of chip integers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from spikeproof.bundles import write_bundle
from spikeproof.certify.overflow import count_overflows
from spikeproof.cli.board import show_cost, show_limits
from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command, settings_of_frontends
from spikeproof.cli.outputs import Force, Output, check_outputs
from spikeproof.cli.workflow import show_data, show_source, warn
from spikeproof.convert.board import chip_fit_rows
from spikeproof.convert.bundle import convert_to_bundle
from spikeproof.convert.images import Images, assumed_size, load_images
from spikeproof.convert.pipeline import ConvertOptions
from spikeproof.document.values import dump
from spikeproof.errors import BundleError, InputError
from spikeproof.io.bundle import Bundle, load_bundle
from spikeproof.io.checkpoint import Checkpoint
from spikeproof.io.formats import (
    ChipFrontend,
    Frontend,
    TrainedFrontend,
    find_frontend,
    load_trained,
)
from spikeproof.io.kinds import is_kind
from spikeproof.io.options import merged_options
from spikeproof.io.trained import trained_on
from spikeproof.io.zoo import resolve_model, zoo_calibration

_CLASSIFIED = 128
"""Calibration images the trained network classifies, to see whether it knows them at all."""
COLUMNS = (
    "layer",
    "kind",
    "neuron",
    "neurons",
    "synapses",
    "weight_bits",
    "scale",
    "clipped_share",
    "flip_rate_calibration",
    "headroom_bits",
)
_UNITS = {"clipped_share": ("clipped %", 100.0), "flip_rate_calibration": ("flips %", 100.0)}
"""Head and factor of the columns that are shown in per cent, as the report does."""


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
        return _write_chip(console, path, target, loaded, frontend.columns, dry_run=dry_run)
    if frontend is None or frontend.settings is None:
        _refuse_options(list(left_open), "a checkpoint, only to a file that leaves it open")
    options = merged_options(ConvertOptions, config, given)
    source = load_trained(path, from_, left_open)
    show_source(console, source.training.source)
    _warn_of_assumptions(console, frontend, source, left_open)
    images = load_images(calibration, "calibration", source, "--calibration")
    show_data(console, images.record.used(options.calibration_samples), "calibration")
    warnings = warn(console, _calibration_warnings(source, images, options))
    if dry_run:
        _show_plan(console, path, source, images, target, options)
        return 0
    with console.stage(f"Converting {source.network.name}", "layers") as progress:
        _, bundle = convert_to_bundle(source, images, options, progress, progress.say)
        written = write_bundle(target, bundle)
    _check_written(target, written)
    show_table(console, bundle.record.document["table"])
    if bundle.record.profile_cost is not None:
        show_cost(console, bundle.record.profile_cost)
    if options.lower_rail != "never":
        overflows = count_overflows(written.network, written.stimulus)
        warnings += warn(console, [overflow.sentence for overflow in overflows])
    _show_result(console, target, written, warnings)
    return 0


def _calibration_warnings(source: Checkpoint, images: Images, options: ConvertOptions) -> list[str]:
    """Warn about calibration images that cannot serve; a few labelled ones are classified."""
    from spikeproof.engines.floats import run_float
    from spikeproof.verify.plausible import calibration_warnings, chance_warnings, data_warnings

    used = images.first(options.calibration_samples)
    found = calibration_warnings(used.x, used.y, images.y)
    found += data_warnings(used.record, trained_on(source), calibration=True)
    if used.y is None or images.y is None:
        return found
    if len(np.unique(used.y)) == 1 < len(np.unique(images.y)):
        return found  # guessing cannot be told from knowing, and the cause has been named
    # Spread over those used: the first of a sorted file are of one class.
    count = min(_CLASSIFIED, len(used.y))
    some = np.arange(count) * len(used.y) // count
    result = run_float(source.network, used.x[some])
    classes = result.logits.shape[1]
    what = " of the trained network"
    return found + chance_warnings(result.predictions, used.y[some], classes, what)


def _write_chip(
    console: Console,
    path: Path,
    target: Path,
    bundle: Bundle,
    columns: tuple[str, ...],
    *,
    dry_run: bool,
) -> int:
    """Write chip integers as they are: nothing is chosen, so nothing is converted but the form."""
    overflows = count_overflows(bundle.network, bundle.stimulus)
    show_table(console, bundle.record.document["table"], columns)
    warnings = warn(console, [overflow.sentence for overflow in overflows])
    if dry_run:
        console.say("plan only: every layer can be mapped; nothing was written")
        plan = {"netx": str(path), "bundle": str(target), **bundle.record.options}
        console.document({"schema": 1, "plan": plan, "warnings": warnings})
        return 0
    written = write_bundle(target, bundle)
    _check_written(target, written)
    _show_result(console, target, written, warnings)
    return 0


def _warn_of_assumptions(
    console: Console, frontend: Frontend | None, source: Checkpoint, given: dict[str, Any]
) -> None:
    """Say what a foreign file leaves open and nobody gave: it was taken as its kind usually is."""
    record = source.training.source
    taken = {} if record is None else {k: v for k, v in record.settings.items() if k not in given}
    if size := assumed_size(source):
        taken["input_shape"] = " ".join(map(str, size))
    if taken and isinstance(frontend, TrainedFrontend):
        told = ", ".join(f"{key} {value or 'none'}" for key, value in taken.items())
        warn(console, [f"neither the file nor the command says it, so this is taken: {told}"])
        console.detail(frontend.advice or "")


def _refuse_other(path: Path) -> None:
    """Raise the error for a file that nothing reads; a bundle needs no conversion."""
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


def _show_result(
    console: Console, target: Path, written: Bundle, warnings: list[str] | None = None
) -> None:
    limits, record = chip_fit_rows(written.network), written.record.document
    show_limits(console, limits)
    console.say(f"bundle: {target}")
    console.document(
        {
            "schema": 1,
            "bundle": str(target),
            "content_hash": written.content_hash,
            "layers": record["table"],
            "profile_cost": record.get("profile_cost"),
            "chip_fit": limits,
            "options": record["options"],
            "warnings": warnings or [],
            "calibration": record.get("calibration", {}).get("data"),
        }
    )


def show_table(
    console: Console, rows: list[dict[str, Any]], columns: tuple[str, ...] = COLUMNS
) -> None:
    """Print the conversion table."""
    names = [_UNITS.get(name, (name.replace("_", " "), 1.0))[0] for name in columns]
    console.table(names, [[_in_unit(name, row[name]) for name in columns] for row in rows])


def _in_unit(column: str, value: Any) -> Any:
    return value * _UNITS[column][1] if column in _UNITS and isinstance(value, float) else value


def _show_plan(
    console: Console,
    path: Path,
    source: Checkpoint,
    images: Images,
    target: Path,
    options: ConvertOptions,
) -> None:
    from spikeproof.convert.mappable import preflight

    preflight(source.network)
    plan = {
        "checkpoint": str(path),
        **({"source": dump(source.training.source)} if source.training.source else {}),
        "calibration": str(images.path),
        "calibration_data": images.record.used(options.calibration_samples).text(),
        "bundle": str(target),
        **options.model_dump(mode="json"),
    }
    console.table(["setting", "value"], [(k, str(v)) for k, v in plan.items()])
    console.say("plan only: every layer can be mapped; nothing was written")
    console.document({"schema": 1, "plan": plan})


def _check_written(path: Path, written: Bundle) -> None:
    if load_bundle(path).content_hash != written.content_hash:
        raise BundleError(
            "what was read back is not what was written",
            where=str(path),
            hint="Check the disk and convert again.",
        )
