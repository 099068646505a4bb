"""Run a bundle on images with one of the engines: reference, fast or lava."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command
from spikeproof.errors import InputError

if TYPE_CHECKING:
    from spikeproof.io.bundle import Bundle
    from spikeproof.simulate.trace import Engine, LayerTrace


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    bundle: Annotated[Path, typer.Argument(help="A bundle made by convert.")],
    engine: Annotated[str, typer.Option(help="reference, fast, lava or another target.")] = "fast",
    data: Annotated[
        Path | None, typer.Option(help="npz with x (N, C, H, W) and, if known, labels y (N,).")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Write u, v and spikes of every layer to this npz.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N samples.")] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Check the bundle's own stimulus on the engine.")
    ] = False,
) -> int:
    """Load the bundle and the engine, then run the data or the bundle's own test."""
    from spikeproof.cli.workflow import load_safe_bundle
    from spikeproof.simulate.engines import get_engine

    if data is None and not self_test:
        raise InputError("needs --data X.npz or --self-test", where="run")
    if self_test and (data, trace, limit) != (None, None, None):
        raise InputError("--self-test takes no --data, --trace or --limit", where="run")
    loaded = load_safe_bundle(bundle)
    chosen = get_engine(engine)
    refuse(chosen, loaded)
    if data is None:
        return _self_test(console, loaded, chosen)
    return _run_data(console, loaded, chosen, data, trace, limit)


def refuse(engine: Engine, bundle: Bundle) -> None:
    """Raise UnsupportedError with every reason why the engine cannot run the bundle."""
    from spikeproof.errors import UnsupportedError, list_problems

    problems = engine.problems(bundle.network)
    if problems:
        raise UnsupportedError(list_problems(problems), where=f"engine {engine.name}")


def _self_test(console: Console, bundle: Bundle, engine: Engine) -> int:
    from spikeproof.simulate.self_test import self_test as test

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
    }
    console.table(["layer", "mismatches"], list(result.mismatches.items()))
    console.say(
        f"{document['self_test']}: {result.compared:,} stored values compared on {engine.name}, "
        f"{document['mismatches']:,} differ"
    )
    console.document(document)
    return 0 if result.passed else 1


def _run_data(
    console: Console,
    bundle: Bundle,
    engine: Engine,
    data: Path,
    trace: Path | None,
    limit: int | None,
) -> int:
    from spikeproof.cli.workflow import check_labels, check_writable
    from spikeproof.io.data import load_data, save_arrays

    network = bundle.network
    steps = None if network.coding == "pixels" else network.timesteps
    x, y = load_data(data, network.input_shape, steps=steps)
    check_labels(y, network, data)
    x, y = x[:limit], None if y is None else y[:limit]
    if trace is not None:
        check_writable(trace)  # now, not after the run
    start = time.monotonic()
    with console.stage(f"Running {len(x):,} samples on {engine.name}") as progress:
        result = engine.run(network, x, trace=trace is not None, progress=progress)
    seconds = time.monotonic() - start
    accuracy = None if y is None else float((result.predictions == y).mean())
    document: dict[str, Any] = {
        "schema": 1,
        "engine": engine.name,
        "samples": len(x),
        "predictions": result.predictions.tolist(),
        "accuracy": accuracy,
        "seconds": round(seconds, 3),
    }
    if trace is not None:
        save_arrays(trace, trace_arrays(result.traces or {}))
        document["trace"] = str(trace)
    correct = "" if accuracy is None else f", accuracy {accuracy:.2%}"
    console.say(f"{len(x):,} samples on {engine.name} in {seconds:.1f} s{correct}")
    if trace is not None:
        console.say(f"trace: {trace}")
    console.document(document)
    return 0


def trace_arrays(traces: dict[str, LayerTrace]) -> dict[str, Any]:
    """Name the arrays of a trace file: NAME/s, NAME/u, NAME/v; of a readout NAME/v only."""
    arrays: dict[str, Any] = {}
    for name, layer in traces.items():
        arrays[f"{name}/v"] = layer.v
        if layer.s is not None:
            arrays[f"{name}/s"], arrays[f"{name}/u"] = layer.s, layer.u
    return arrays
