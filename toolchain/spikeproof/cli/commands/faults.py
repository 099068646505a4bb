"""Break weights, neurons and spikes of a bundle and its checkpoint alike; compare what is left.

Every seed strikes both networks at the same places, before and after conversion.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Cluster, Command, Workers, command
from spikeproof.cli.outputs import Force, Output, check_outputs, run_files
from spikeproof.errors import InputError
from spikeproof.faults.registry import FAULTS
from spikeproof.text import accuracy_text, counted

if TYPE_CHECKING:
    from spikeproof.convert.images import Images
    from spikeproof.faults.base import Fault, Pair
    from spikeproof.verify.faulted import FaultsDocument, Struck


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    bundle: Annotated[Path, typer.Argument(help="A bundle made by convert.")],
    against: Annotated[
        str, typer.Option(help="The checkpoint it came from: a file or a shipped network.")
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,KIND,...",
            help=f"Faults to try: {', '.join(FAULTS.names())}; default: all.",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="X,X,...",
            help="How much of it: a share, per cent of drift, or a number of worst bits; default: "
            "three rates for each kind.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of every fault.")] = 5,
    data: Annotated[
        Path | None,
        typer.Option(
            help="npz with x and y, or a folder with x.npy and y.npy; default: shipped ones, if "
            "it was trained on their set."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N images.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the results to this JSON file.")
    ] = None,
    workers: Workers = 1,
    cluster: Cluster = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="Folder for results as they come: after a stop, go on from there."),
    ] = None,
    force: Force = False,
) -> int:
    """Check what was asked, read both networks and the images, strike, and compare."""
    from spikeproof.io.zoo import resolve_model
    from spikeproof.verify.faulted import faults_of

    faults = faults_of(_kinds(kind), [] if rate is None else _numbers(rate))
    checkpoint = resolve_model(against)
    outputs = [] if output is None else [Output(output, "fault results")]
    if journal is not None:
        outputs += run_files(journal, {"journal.jsonl": "journal"}, "--journal")
    check_outputs(outputs, [bundle, checkpoint, data], force=force)
    subject = _read(console, bundle, checkpoint, data, limit)
    faults = _possible(console, subject.pair, faults, asked=kind is not None)
    return _strike(console, subject, faults, _How(seeds, output, workers, cluster, journal))


@dataclass(frozen=True, eq=False)
class _Subject:
    pair: Pair
    hashes: dict[str, str]
    images: Images
    warnings: list[str]


@dataclass(frozen=True)
class _How:
    seeds: int
    output: Path | None
    workers: int
    cluster: str | None
    journal: Path | None


def _kinds(text: str | None) -> list[str]:
    if text is None:
        return FAULTS.names()
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[float]:
    """Return the numbers of a list with commas."""
    found = []
    for word in text.split(","):
        try:
            found.append(float(word))
        except ValueError:
            raise InputError(
                f"found {word.strip()!r}, expected a number",
                where="--rate",
                hint="For example 0.01,0.05: of stored bits, neurons or spikes, 1 and 5 %.",
            ) from None
    return found


def _read(
    console: Console, path: Path, checkpoint: Path, data: Path | None, limit: int | None
) -> _Subject:
    """Read a bundle, the checkpoint it was made from, and labelled images for them."""
    from spikeproof.cli.workflow import load_bundle_to_run, show_data, show_source
    from spikeproof.convert.images import load_images
    from spikeproof.faults.base import Pair
    from spikeproof.io.formats import load_source
    from spikeproof.io.trained import trained_on
    from spikeproof.verify.given import check_data, check_identity, distinct, repeat_warnings
    from spikeproof.verify.plausible import data_warnings
    from spikeproof.verify.stages import rebuild_stages

    bundle = load_bundle_to_run(path, console)
    source = load_source(checkpoint, bundle)
    show_source(console, source.training.source)
    hashes = check_identity(bundle, source.content_hash)
    images = load_images(data, "test", source, "--data").first(limit)
    show_data(console, images.record)
    given, answers = check_data(source.network, images.x, images.y, str(images.path))
    x, y = distinct(given, answers)
    warnings = data_warnings(images.record, trained_on(source))
    warnings += repeat_warnings(len(given), len(x))
    stages = rebuild_stages(bundle.network, source.network, bundle.record)
    pair = Pair(stages.folded, stages.chip, stages.units)
    return _Subject(pair, hashes, replace(images, x=x, y=y), warnings)


def _possible(console: Console, pair: Pair, faults: Sequence[Fault], *, asked: bool) -> list[Fault]:
    """Return the faults that can be tried here; of those the user named, all must be."""
    found, told = [], set[str]()
    for fault in faults:
        if fault.kind in told:
            continue
        obstacle = fault.obstacle(pair)
        if obstacle is None:
            found.append(fault)
        elif asked:
            raise obstacle
        else:
            told.add(fault.kind)
            console.note(f"{fault.kind} is left out: {obstacle}")
    return found


def _strike(console: Console, subject: _Subject, faults: Sequence[Fault], how: _How) -> int:
    from spikeproof.cli.workflow import prepare_fast, warn, warn_of_cluster
    from spikeproof.jobs.journal import Journal
    from spikeproof.jobs.pool import Pool
    from spikeproof.verify.faulted import (
        FaultsDocument,
        faults_base,
        strike_networks,
        write_faults,
    )

    x, y, pair = subject.images.x, subject.images.y, subject.pair
    assert y is not None
    warnings = warn(console, subject.warnings)
    warn_of_cluster(console, how.cluster)
    prepare_fast(console, pair.chip)
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        journal = None
        if how.journal is not None:
            base = faults_base(subject.hashes, x, y)
            journal = stack.enter_context(Journal(how.journal, base))
            for line in journal.notes:
                console.note(line)
        pool = stack.enter_context(Pool(how.workers, how.cluster))
        title = f"Striking {pair.chip.name}, {counted(len(x), 'image')}, {how.seeds} seeds"
        progress = stack.enter_context(console.stage(title, "runs"))
        clean, found = strike_networks(
            pair, faults, how.seeds, x, y, pool=pool, journal=journal, progress=progress
        )
    document = FaultsDocument(
        network=pair.chip.name,
        bundle=subject.hashes["bundle_hash"],
        checkpoint=subject.hashes["checkpoint_hash"],
        samples=len(x),
        seeds=how.seeds,
        clean=clean,
        faults=found,
    )
    if how.output is not None:
        write_faults(how.output, document)
    _show(console, subject, document, time.monotonic() - start, warnings, how.output)
    return 0


def _show(
    console: Console,
    subject: _Subject,
    document: FaultsDocument,
    seconds: float,
    warnings: Sequence[str],
    output: Path | None,
) -> None:
    from spikeproof.document.numbers import points
    from spikeproof.document.values import dump

    rows = [_row(one) for one in (document.clean, *document.faults)]
    heads = ["fault", "rate", "trained", "chip", "difference", "95 % interval"]
    console.table(heads, rows)
    for one in document.faults:
        for reason in one.refused:
            console.warn(
                f"{one.kind} at {one.rate:g}: {document.seeds - one.draws} of "
                f"{counted(document.seeds, 'seed')} left out: {reason}"
            )
    known = [one for one in document.faults if one.difference is not None]
    if known:
        most = max(known, key=lambda one: abs(one.difference or 0))
        console.sentence(
            f"{document.network}: trained and chip network differ most under {most.kind} "
            f"({most.shown}), by {points(most.difference)} points; without a fault by "
            f"{points(document.clean.difference)} "
            f"({counted(document.samples, 'image')}, {counted(document.seeds, 'seed')})"
        )
    if output is not None:
        console.say(f"results: {output}")
    console.document(
        {
            "schema": document.schema_version,
            **dump(document),
            "data": subject.images.record.model_dump(mode="json"),
            "warnings": list(warnings),
            "results": None if output is None else str(output),
            "seconds": round(seconds, 3),
        }
    )


def _row(one: Struck) -> tuple[object, ...]:
    from spikeproof.document.numbers import points

    if one.trained is None or one.chip is None or one.interval is None:
        return (one.kind, one.shown, "", "", "", "no legal network")
    low, high = one.interval
    return (
        one.kind,
        one.shown,
        accuracy_text(one.trained),
        accuracy_text(one.chip),
        points(one.difference),
        f"{points(low)} to {points(high)}",
    )
