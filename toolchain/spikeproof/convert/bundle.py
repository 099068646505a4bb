"""From a checkpoint to a bundle: the conversion, and the record of what it came from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from spikeproof import __version__
from spikeproof.convert.board import check_board_chip
from spikeproof.convert.conversion import Conversion
from spikeproof.convert.cost import profile_cost
from spikeproof.convert.images import Images
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.convert.search import Tell
from spikeproof.document.values import dump
from spikeproof.engines.self_test import make_bundle
from spikeproof.engines.trace import Progress
from spikeproof.io.bundle import STIMULUS_SAMPLES, Bundle
from spikeproof.io.checkpoint import Checkpoint, checkpoint_hash
from spikeproof.io.known import images_hash
from spikeproof.io.record import ProfileCost


def convert_to_bundle(
    checkpoint: Checkpoint,
    data: Images,
    options: ConvertOptions,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> tuple[Conversion, Bundle]:
    """Convert a checkpoint and build the bundle (not yet written) with its record.

    ``data``: the calibration images. ``tell`` is told what is being done. A profile is
    converted next to the default, and the record says what it costs.

    Raises:
        UnsupportedError: a profile's own checks refuse the result (and see convert_network).
    """
    board = options.profile == "loihi"
    counted = _of_two(progress) if board and progress else progress
    conversion = convert_network(checkpoint.network, data.x, options, counted, tell)
    record = conversion_record(conversion, checkpoint_hash(checkpoint), data, options)
    if checkpoint.training.source:  # what a file of another kind left open, for verify
        record["checkpoint"]["source"] = dump(checkpoint.training.source)
    if board:
        check_board_chip(conversion.chip)
        cost = compare_with_default(conversion, data, options, counted)
        record["profile_cost"] = cost.model_dump(mode="json")
    return conversion, make_bundle(conversion.chip, record, data.x[:STIMULUS_SAMPLES])


def _of_two(progress: Progress) -> Progress:
    """Count the layers of two conversions in a row as one piece of work."""
    done = [0]

    def count(_: int, layers: int) -> None:
        done[0] += 1
        progress(done[0], 2 * layers)

    return count


def conversion_record(
    conversion: Conversion, checkpoint_hash: str, calibration: Images, options: ConvertOptions
) -> dict[str, Any]:
    """Return what a bundle says about its origin; plain JSON that depends on nothing else.

    The name of the images' file is left out: equal images give equal bytes.
    """
    used = calibration.x[: options.calibration_samples]
    data = calibration.record.used(len(used)).model_copy(update={"file": None})
    return {
        "checkpoint": {"name": conversion.source.name, "hash": checkpoint_hash},
        "calibration": {
            "hash": images_hash(used.shape, [used]),
            "samples": len(used),
            "data": data.model_dump(mode="json"),
        },
        "options": options.model_dump(mode="json"),
        "units": conversion.units,
        "relations": {name: asdict(r) for name, r in conversion.relations.items()},
        "table": [dump(row) for row in conversion.table],
        "spikeproof": __version__,
    }


def compare_with_default(
    conversion: Conversion, data: Images, options: ConvertOptions, progress: Progress | None
) -> ProfileCost:
    """Convert the same network without the profile and say what the profile costs."""
    plain = options.model_copy(update={"profile": "default", "input_coding": "auto"})
    default = convert_network(conversion.source, data.x, plain, progress)
    used = data.first(options.calibration_samples)
    return profile_cost(
        options.profile, conversion.folded, default.chip, conversion.chip, used.x, used.y
    )
