"""The steps that several commands share: a checkpoint becomes a bundle, with its record."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import __version__
from spikeproof.engines.trace import Engine, SlowEngine
from spikeproof.errors import InputError
from spikeproof.io import container
from spikeproof.io.bundle import Bundle, load_bundle, save_bundle
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint
from spikeproof.io.files import read_bytes
from spikeproof.io.known import images_hash

if TYPE_CHECKING:
    from spikeproof.cli.ahead import Ahead
    from spikeproof.cli.console import Console
    from spikeproof.cli.images import Images
    from spikeproof.convert.conversion import Conversion
    from spikeproof.convert.pipeline import ConvertOptions, Progress
    from spikeproof.ir.chip import ChipNetwork

STIMULUS_SAMPLES = 4
LONG_SECONDS = 60.0
"""A run that takes longer is announced."""


@dataclass(frozen=True, eq=False)
class Source:
    """A checkpoint with the identity of its content."""

    path: Path
    checkpoint: Checkpoint
    content_hash: str


def load_source(path: Path) -> Source:
    """Read a checkpoint and its content hash (see load_checkpoint for what is raised)."""
    checkpoint = load_checkpoint(path)
    return Source(path, checkpoint, container.content_hash(read_bytes(path)))


def check_labels(y: NDArray[np.int64] | None, network: ChipNetwork, path: Path) -> None:
    """Check that every label is a class of the network; labels may be absent.

    Raises:
        InputError: some are not; how many, and the largest, are named.
    """
    classes = int(np.prod(network.layers[-1].shape))
    outside = 0 if y is None else int((y >= classes).sum())
    if y is not None and outside:
        raise InputError(
            f"{outside} of {len(y)} labels are no class of this network (largest {y.max()}, "
            f"classes 0..{classes - 1})",
            where=f"{path}: y",
            hint="Give the labels of the data this network was trained for.",
        )


def convert_to_bundle(
    source: Source, data: Images, options: ConvertOptions, progress: Progress | None = None
) -> tuple[Conversion, Bundle]:
    """Convert a checkpoint and build the bundle (not yet written) with its record.

    ``data``: the calibration images. A profile is converted next to the default, and the record
    says what it costs.

    Raises:
        UnsupportedError: a profile's own checks refuse the result (and see convert_network).
    """
    from spikeproof.convert.pipeline import convert_network
    from spikeproof.engines.self_test import make_bundle

    network, board = source.checkpoint.network, options.profile == "loihi"
    counted = _of_two(progress) if board and progress else progress
    conversion = convert_network(network, data.x, options, counted)
    record = conversion_record(conversion, source, data, options)
    if board:
        from spikeproof.cli.board import check_board_bundle, compare_with_default

        check_board_bundle(conversion.chip)
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
    conversion: Conversion, source: Source, calibration: Images, options: ConvertOptions
) -> dict[str, Any]:
    """Return what a bundle says about its origin; plain JSON that depends on nothing else.

    The name of the images' file is left out: equal images give equal bytes.
    """
    used = calibration.x[: options.calibration_samples]
    data = calibration.record.used(len(used)).model_copy(update={"file": None})
    return {
        "checkpoint": {"name": conversion.source.name, "hash": source.content_hash},
        "calibration": {
            "hash": images_hash(used.shape, [used]),
            "samples": len(used),
            "data": data.model_dump(mode="json"),
        },
        "options": options.model_dump(mode="json"),
        "units": conversion.units,
        "relations": {name: asdict(r) for name, r in conversion.relations.items()},
        "table": conversion.table,
        "spikeproof": __version__,
    }


def load_safe_bundle(path: Path, console: Console) -> Bundle:
    """Read a bundle to run it (see load_bundle), and prove that no input can make it overflow.

    One that says it was read from a ``.net`` file may overflow, as its integers say, and anyone can
    write that into a bundle: where it can is printed as a warning.

    Raises:
        RangeError: some input could make a sum, u, v or host current leave the chip's ranges.
    """
    from spikeproof.io.zoo import zoo_networks

    if not path.exists() and str(path) in zoo_networks():
        raise InputError(
            "is a trained network, not a bundle",
            where=str(path),
            hint=f"First: spikeproof convert {path} -o {path}.spk",
        )
    bundle = load_bundle(path)
    _check_bundle_ranges(bundle)
    for line in overflow_warnings(bundle):
        console.warn(line)
    return bundle


def overflow_warnings(bundle: Bundle) -> list[str]:
    """Say where a bundle that was not converted by us leaves the chip's ranges for some input.

    For a converted one that is excluded by proof (see :func:`load_safe_bundle`).
    """
    if bundle.record.get("netx") is None:
        return []
    from spikeproof.certify.overflow import possible_overflows

    return [overflow.sentence for overflow in possible_overflows(bundle.network)]


def write_bundle(path: Path, bundle: Bundle) -> Bundle:
    """Make the folder if it is missing and write the bundle in one step.

    Raises:
        RangeError: the network could overflow for some input; nothing is written.
    """
    _check_bundle_ranges(bundle)
    make_folder(path.parent)
    return save_bundle(path, bundle)


def _check_bundle_ranges(bundle: Bundle) -> None:
    """Certify ranges; a network read from elsewhere may wrap u and saturate v, as written."""
    if bundle.record.get("netx") is not None:
        from spikeproof.cli.netx import check_foreign_ranges

        check_foreign_ranges(bundle.network)
    else:
        from spikeproof.certify.ranges import check_ranges

        check_ranges(bundle.network)


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        InputError: it cannot be made, or the path is a file.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot be made: {error.strerror or error}",
            where=str(path),
            hint="Choose another place.",
        ) from error


def warn_of_cluster(console: Console, address: str | None) -> None:
    """Say that a scheduler on another machine is trusted with this process, if TLS is off."""
    from spikeproof.jobs.cluster import is_exposed

    if address is not None and is_exposed(address):
        console.warn(
            f"--cluster {address}: who controls or reaches this scheduler can execute code here "
            "and on its workers; use tls:// between machines"
        )


def prepare_fast(console: Console, network: ChipNetwork, ahead: Ahead | None = None) -> None:
    """Load the fast engine's kernels; whoever waits because they are compiled is told so.

    ``ahead``: a process that is compiling them already, see :mod:`spikeproof.cli.ahead`.
    """
    from spikeproof.engines.fast import FastEngine, compiled

    if not compiled():
        return
    from spikeproof.engines.compiled import cache

    shown: list[Progress] = []
    with contextlib.ExitStack() as stack:

        def compiling() -> None:
            if not shown:
                once = " (once on a machine)" if cache.folder else ""
                stage = console.stage(f"Compiling the fast engine's kernels{once}")
                shown.append(stack.enter_context(stage))

        if ahead is not None and ahead.poll() is None:
            compiling()
            ahead.wait()

        def progress(done: int, total: int) -> None:
            for show in shown:
                show(done, total)

        with cache.listening(compiling):
            FastEngine(1).prepare(network, progress)
    if shown and cache.folder is None:
        places = ", ".join(map(str, cache.cache_places()))
        console.note(
            f"compiled kernels cannot be kept: none of {places} can be written to; "
            "NUMBA_CACHE_DIR may name another folder"
        )


def announce_time(console: Console, engine: Engine, network: ChipNetwork, samples: int) -> None:
    """Say how long a slow engine will take, if that is long, before it starts."""
    if not isinstance(engine, SlowEngine):
        return
    seconds = engine.expected_seconds(network, samples)
    if seconds >= LONG_SECONDS:
        one = engine.expected_seconds(network, 1)
        console.note(
            f"{samples:,} samples on {engine.name} take about {seconds / 60:,.0f} minutes or more "
            f"(estimated; one sample {one:,.0f} s); --limit takes fewer, --engine fast gives the "
            "same integers sooner"
        )
