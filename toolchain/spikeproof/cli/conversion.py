"""Say what a conversion starts from, does and has made: what ``convert`` shows, and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spikeproof.bundles import write_bundle
from spikeproof.certify.overflow import count_overflows
from spikeproof.cli.board import show_limits
from spikeproof.cli.console import Console
from spikeproof.cli.workflow import warn
from spikeproof.convert.board import chip_fit_rows
from spikeproof.convert.images import Images, assumed_size
from spikeproof.convert.mappable import preflight
from spikeproof.convert.options import ConvertOptions
from spikeproof.document.values import dump
from spikeproof.engines.floats import run_float
from spikeproof.errors import BundleError
from spikeproof.io.bundle import Bundle, load_bundle
from spikeproof.io.checkpoint import Checkpoint
from spikeproof.io.formats import Frontend, TrainedFrontend
from spikeproof.io.trained import trained_on
from spikeproof.verify.plausible import calibration_warnings, chance_warnings, data_warnings

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


def warnings_of_calibration(
    source: Checkpoint, images: Images, options: ConvertOptions
) -> list[str]:
    """Warn about calibration images that cannot serve; a few labelled ones are classified."""
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


def write_chip(
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
    check_written(target, written)
    show_result(console, target, written, warnings)
    return 0


def warn_of_assumptions(
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


def show_result(
    console: Console, target: Path, written: Bundle, warnings: list[str] | None = None
) -> None:
    """Say where the bundle is, and what the chips' published limits leave open."""
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


def show_plan(
    console: Console,
    path: Path,
    source: Checkpoint,
    images: Images,
    target: Path,
    options: ConvertOptions,
) -> None:
    """Show what would be converted with which options; what cannot be mapped is an error."""
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


def check_written(path: Path, written: Bundle) -> None:
    """Raise BundleError unless a bundle reads back as what was written."""
    if load_bundle(path).content_hash != written.content_hash:
        raise BundleError(
            "what was read back is not what was written",
            where=str(path),
            hint="Check the disk and convert again.",
        )
