"""Run a bundle on images or spikes with one of the engines."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import WORKERS_HELP, Cluster, Command, command
from spikeproof.cli.outputs import Force, Output, check_outputs, run_files
from spikeproof.errors import InputError
from spikeproof.text import accuracy_text, counted

if TYPE_CHECKING:
    from spikeproof.engines.trace import Engine
    from spikeproof.io.bundle import Bundle
    from spikeproof.io.slices import Samples
    from spikeproof.jobs.evaluate import Evaluation, Subject

_LOOKED_AT = 10_000
"""Images up to this number are looked at for blank ones before the run."""
SHOWN = 10
"""Predictions that are printed; all of them are in the JSON document."""


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    bundle: Annotated[Path, typer.Argument(help="A bundle made by convert.")],
    engine: Annotated[
        str, typer.Option(help="fast, reference, numpy, lava, onnx, torch.")
    ] = "fast",
    data: Annotated[
        Path | None,
        typer.Option(
            help="npz with x (N, C, H, W), or spikes (N, T, C, H, W), and perhaps labels y (N,); "
            "or x as npy; or a folder with x.npy, y.npy."
        ),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write u, v and spikes of every layer to this npz.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N samples.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Samples in memory at a time; default: by size.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help=WORKERS_HELP)] = None,
    cluster: Cluster = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="Folder for results as they come: after a stop, go on from there."),
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Check the bundle's own stimulus on the engine.")
    ] = False,
    force: Force = False,
) -> int:
    """Load the bundle and the engine, then run the data or the bundle's own test."""
    from spikeproof.cli.workflow import prepare_fast
    from spikeproof.engines.registry import get_engine, refuse

    others = (data, trace, limit, batch, workers, cluster, journal)
    if self_test and any(option is not None for option in others):
        raise InputError(
            "--self-test takes no option but --engine",
            where="run",
            hint="Leave out the others, or leave out --self-test to run --data.",
        )
    chosen = get_engine(engine)  # a wrong name is found before anything is read
    _check_outputs(bundle, data, trace, journal, force=force)
    loaded = _load(bundle, console)
    if data is None and not self_test:  # after the bundle: data would not help a broken one
        raise InputError(
            "needs images or spikes to run",
            where="run",
            hint="Add --data X.npz, or --self-test for the bundle's own samples.",
        )
    refuse(chosen, loaded.network)
    if data is None:
        if getattr(chosen, "compiles", False):
            prepare_fast(console, loaded.network)
        return _self_test(console, loaded, chosen)
    options = _Options(engine, data, trace, limit, batch, workers, cluster, journal)
    return _run_data(console, loaded, chosen, options)


def _check_outputs(
    bundle: Path, data: Path | None, trace: Path | None, journal: Path | None, *, force: bool
) -> None:
    outputs = []
    if journal is not None:
        outputs += run_files(journal, {"journal.jsonl": "journal"}, "--journal")
    if trace is not None:
        outputs.append(Output(trace, "trace", "--trace"))
    check_outputs(outputs, [bundle, data], force=force)


@dataclass(frozen=True)
class _Options:
    engine: str
    data: Path
    trace: Path | None
    limit: int | None
    batch: int | None
    workers: int | None
    cluster: str | None
    journal: Path | None


def _load(path: Path, console: Console) -> Bundle:
    """Read the bundle; one that does not fit in memory is an error with its size."""
    from spikeproof.cli.workflow import load_bundle_to_run
    from spikeproof.engines.memory import available_bytes, size_text

    try:
        return load_bundle_to_run(path, console)
    except MemoryError as error:
        free = available_bytes()
        raise InputError(
            f"does not fit in memory: its file has {size_text(path.stat().st_size)}"
            + ("" if free is None else f", {size_text(free)} are free"),
            where=str(path),
            hint="Use a machine with more memory.",
        ) from error


def _self_test(console: Console, bundle: Bundle, engine: Engine) -> int:
    from spikeproof.bundles import overflow_warnings
    from spikeproof.engines.self_test import self_test as test

    start = time.monotonic()
    with console.stage(f"Self-test on {engine.name}"):
        result = test(bundle, engine)
    document = {
        "schema": 1,
        "engine": engine.name,
        "self_test": "pass" if result.passed else "fail",
        "samples": len(bundle.stimulus),
        "compared": result.compared,
        "mismatches": sum(result.mismatches.values()),
        "layers": result.mismatches,
        "seconds": round(time.monotonic() - start, 3),
        "warnings": overflow_warnings(bundle),
    }
    console.table(["layer", "mismatches"], list(result.mismatches.items()))
    console.say(
        f"{document['self_test']}: {counted(result.compared, 'stored value')} compared on "
        f"{engine.name}, {document['mismatches']:,} differ"
    )
    console.document(document)
    return 0 if result.passed else 1


def _run_data(console: Console, bundle: Bundle, engine: Engine, options: _Options) -> int:
    from spikeproof.bundles import overflow_warnings
    from spikeproof.cli.workflow import announce_time, prepare_fast, show_data, warn
    from spikeproof.jobs.evaluate import Subject
    from spikeproof.verify.plausible import (
        chance_warnings,
        data_warnings,
        pixel_warnings,
        recorded_calibration_warnings,
    )

    whole = _samples(bundle, options)
    data = whole.describe().used(options.limit)
    show_data(console, data)
    warnings = [
        *recorded_calibration_warnings(bundle.record),
        *data_warnings(data),
    ]
    samples = whole.first(options.limit)
    if not samples.spikes and len(samples) <= _LOOKED_AT:
        warnings += pixel_warnings(samples.read(0, len(samples)))
    announce_time(console, engine, bundle.network, len(samples))
    if getattr(engine, "compiles", False) and options.cluster is None:
        prepare_fast(console, bundle.network)
    # A cluster's workers have one core each.
    threads = options.workers if options.cluster is None else 1
    subject = Subject(bundle.network, options.engine, threads, options.trace is not None)
    start = time.monotonic()
    found = _evaluate(console, bundle, subject, samples, options)
    seconds = time.monotonic() - start
    labels = samples.labels
    accuracy = None if labels is None else float((found.predictions == labels).mean())
    classes = prod(bundle.network.layers[-1].shape)
    warnings += chance_warnings(found.predictions, labels, classes)
    document: dict[str, Any] = {
        "schema": 1,
        "engine": options.engine,
        "samples": len(found.predictions),
        "warnings": [*overflow_warnings(bundle), *warn(console, warnings)],
        "data": data.model_dump(mode="json"),
        "predictions": found.predictions.tolist(),
        "labels": None if labels is None else labels.tolist(),
        "classes": list(data.classes),
        "accuracy": accuracy,
        "seconds": round(seconds, 3),
    }
    if not console.json:  # else the document has all of them
        show_predictions(console, document)
    correct = "" if accuracy is None else f", accuracy {accuracy_text(accuracy)}"
    ran = counted(len(samples), "sample")
    console.say(f"{ran} on {options.engine} in {seconds:.1f} s{correct}")
    if found.earlier:
        console.say(
            f"{found.earlier:,} of {counted(found.batches, 'batch', 'batches')} "
            f"{'was' if found.earlier == 1 else 'were'} taken from {options.journal}"
        )
    if options.trace is not None:
        document["trace"] = str(options.trace)
        console.say(f"trace: {options.trace}")
    console.document(document)
    return 0


def show_predictions(console: Console, document: dict[str, Any]) -> None:
    """Print the first predictions, with labels and names of classes where they are known."""
    predictions, labels = document["predictions"], document["labels"]
    names = dict(enumerate(document["classes"]))
    columns = ["sample", "prediction"] + (["label", "right"] if labels else [])
    rows: list[list[object]] = []
    for i, predicted in enumerate(predictions[:SHOWN]):
        row: list[object] = [i, _class(predicted, names)]
        rows.append(row + ([_class(labels[i], names), predicted == labels[i]] if labels else []))
    console.table(columns, rows)
    if len(predictions) > SHOWN:
        console.note(f"the first {SHOWN} of {len(predictions):,}; --json prints all of them")


def _class(index: int, names: dict[int, str]) -> str:
    return f"{index} {names[index]}" if index in names else str(index)


def _samples(bundle: Bundle, options: _Options) -> Samples:
    """Open the data set and check what can be checked before the run."""
    from spikeproof.io.slices import check_labels, open_samples

    network = bundle.network
    steps = None if network.coding == "pixels" else network.timesteps
    samples = open_samples(options.data, network.input_shape, steps=steps)
    check_labels(samples.labels, prod(network.layers[-1].shape), options.data)
    return samples


def _evaluate(
    console: Console, bundle: Bundle, subject: Subject, samples: Samples, options: _Options
) -> Evaluation:
    from spikeproof.cli.workflow import warn_of_cluster
    from spikeproof.jobs.evaluate import evaluate, journal_base
    from spikeproof.jobs.journal import Journal
    from spikeproof.jobs.pool import Pool

    # An engine with threads of its own shares the network between them; others get processes.
    processes = 1 if subject.threaded or options.cluster else options.workers or 1
    if options.cluster is not None and options.workers is not None:
        raise InputError(
            "takes no --workers: the cluster has its own",
            where="--cluster",
            hint="Leave out --workers, or leave out --cluster to work on this machine.",
        )
    warn_of_cluster(console, options.cluster)
    with contextlib.ExitStack() as stack:
        journal = None
        if options.journal is not None:
            base = journal_base(subject, samples, bundle.content_hash, options.batch)
            journal = stack.enter_context(Journal(options.journal, base))
            for line in journal.notes:
                console.note(line)
        pool = stack.enter_context(Pool(processes, options.cluster))
        title = f"Running {counted(len(samples), 'sample')} on {subject.engine}"
        progress = stack.enter_context(console.stage(title, "samples"))
        return evaluate(
            subject,
            samples,
            pool,
            batch=options.batch,
            journal=journal,
            trace=options.trace,
            progress=progress,
        )
