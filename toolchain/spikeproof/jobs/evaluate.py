"""Run a network on a data set of any size: batches are items, memory is that of a batch."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.base import BaseEngine
from spikeproof.engines.memory import check_memory, size_text, trace_bytes
from spikeproof.engines.registry import get_engine
from spikeproof.engines.trace import Engine, LayerTrace, Progress
from spikeproof.errors import InputError, TargetError
from spikeproof.io.files import sha256, temporary_beside
from spikeproof.io.npz_writer import NpzWriter
from spikeproof.io.slices import Samples
from spikeproof.ir.chip import ChipNetwork
from spikeproof.jobs.items import Arrays, Item, Json
from spikeproof.jobs.journal import Journal
from spikeproof.jobs.origin import code_identity
from spikeproof.jobs.pool import Pool
from spikeproof.jobs.runner import Runner
from spikeproof.text import counted

_INPUT_BYTES, _TRACE_BYTES = 8 << 20, 64 << 20
WAITING = ".spikeproof-trace"
"""Where a trace grows beside the journal: a name that no folder of a user has."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What every batch needs: the network, how to get an engine, whether to trace."""

    network: ChipNetwork
    engine: str
    threads: int | None
    trace: bool

    @property
    def made(self) -> Engine:
        """Return the engine, made once in each process."""
        if self not in _engines:
            _engines[self] = get_engine(self.engine, self.threads)
        return _engines[self]

    @property
    def threaded(self) -> bool:
        """Tell whether the engine has threads of its own, so that one process is enough."""
        return getattr(self.made, "threaded", BaseEngine.threaded)


_engines: WeakKeyDictionary[Subject, Engine] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions (N,), how many batches there were, and how many an earlier attempt had done."""

    predictions: NDArray[np.int64]
    batches: int
    earlier: int


def evaluate(
    subject: Subject,
    samples: Samples,
    pool: Pool,
    *,
    batch: int | None = None,
    journal: Journal | None = None,
    trace: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Run all samples, batch by batch.

    Args:
        subject: network and engine.
        samples: the data set, opened.
        pool: where batches are run.
        batch: samples of a batch, at most; by default chosen from the sizes alone, so that it is
            the same wherever the run goes on.
        journal: makes the run resumable; its base is :func:`journal_base`.
        trace: npz for u, v and s of every layer; written piece by piece.
        progress: called with (samples done, samples in all).

    Raises:
        InputError: not enough memory for a batch, unusable values, a full disk.
        TargetError: an engine or worker fails, or a sample is missing at the end.
    """
    size = batch_size(subject, samples, batch)
    check_memory(subject.network, min(size, len(samples)), trace=subject.trace)
    items = [
        _item(samples, start, min(start + size, len(samples)))
        for start in range(0, len(samples), size)
    ]
    runner = Runner(pool, journal, len(samples), progress)
    if trace is None:
        results = runner.do(items, subject)
    else:
        results = _with_traces(runner, items, subject, samples, trace, journal)
    predictions = np.array([p for r in results for p in r["predictions"]], np.int64)
    if len(predictions) != len(samples):
        raise TargetError(
            f"{len(predictions):,} of {counted(len(samples), 'sample')} were evaluated",
            where=subject.engine,
        )
    return Evaluation(predictions, len(items), runner.taken)


def batch_size(subject: Subject, samples: Samples, wanted: int | None = None) -> int:
    """Return the samples of a batch; it depends on the network, the engine and nothing else."""
    if wanted is not None:
        if wanted < 1:
            raise InputError(f"found {wanted}, expected 1 or more", where="--batch")
        return wanted
    found = _INPUT_BYTES // max(1, prod(samples.input_shape))
    if subject.trace:
        found = min(found, _TRACE_BYTES // max(1, trace_bytes(subject.network)))
    return max(1, min(found, getattr(subject.made, "most_samples", BaseEngine.most_samples)))


def journal_base(subject: Subject, samples: Samples, bundle_hash: str, batch: int | None) -> Json:
    """Return what the results of a run depend on; reads all samples once for their hash."""
    return {
        "bundle": bundle_hash,
        "data": samples.content_hash(),
        "samples": len(samples),
        "engine": subject.engine,
        "batch": batch_size(subject, samples, batch),
        "trace": subject.trace,
        "code": code_identity(),
    }


def trace_arrays(traces: dict[str, LayerTrace]) -> Arrays:
    """Name the arrays of a trace file: NAME/s, NAME/u, NAME/v; of a readout NAME/v only."""
    arrays: Arrays = {}
    for name, layer in traces.items():
        arrays[f"{name}/v"] = layer.v
        if layer.s is not None:
            arrays[f"{name}/s"], arrays[f"{name}/u"] = layer.s, layer.u
    return arrays


def trace_members(network: ChipNetwork, samples: int) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Return type and shape of every array of a trace file."""
    members: dict[str, tuple[Any, tuple[int, ...]]] = {}
    for layer in network.layers:
        shape = (samples, network.timesteps, *layer.shape)
        members[f"{layer.name}/v"] = (np.int32, shape)
        if layer.neuron.spiking:
            members[f"{layer.name}/u"] = (np.int32, shape)
            members[f"{layer.name}/s"] = (np.uint8, shape)
    return members


def _item(samples: Samples, start: int, stop: int) -> Item:
    return Item(
        f"samples {start} to {stop}",
        _run_batch,
        payload=lambda: (samples.read(start, stop),),
        cost=stop - start,
    )


def _run_batch(subject: Subject, x: NDArray[np.uint8]) -> tuple[Json, Arrays]:
    """Run one batch; with a trace, the result holds the hash of every array."""
    try:
        result = subject.made.run(subject.network, x, trace=subject.trace)
    except MemoryError as error:
        raise InputError(
            f"not enough memory for a batch of {counted(len(x), 'sample')} "
            f"({size_text(x.nbytes)} of input): {error}",
            where=subject.network.name,
            hint="Try a smaller --batch.",
        ) from error
    if result.predictions.shape != (len(x),):
        raise TargetError(
            f"{subject.engine} gave {counted(len(result.predictions), 'prediction')} for "
            f"{counted(len(x), 'sample')}"
        )
    arrays = trace_arrays(result.traces or {}) if subject.trace else {}
    return {"predictions": result.predictions.tolist(), "trace": _hashes(arrays)}, arrays


def _hashes(arrays: Arrays) -> dict[str, str]:
    return {name: sha256(np.ascontiguousarray(a).tobytes()) for name, a in sorted(arrays.items())}


def _with_traces(
    runner: Runner,
    items: list[Item],
    subject: Subject,
    samples: Samples,
    trace: Path,
    journal: Journal | None,
) -> list[Json]:
    """Run with traces that go to disk as they come: beside the journal, or beside the target."""
    with contextlib.ExitStack() as stack:
        if journal:
            folder = journal.path.with_name(WAITING)
        else:  # a folder of its own: another run may write to the same target
            trace.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(temporary_beside(trace))
        writer = NpzWriter(folder, trace_members(subject.network, len(samples)), trace)
        starts, start = {}, 0
        for item in items:
            starts[item.name] = start
            start += item.cost

        def store(item: Item, _: Json, arrays: Arrays) -> None:
            writer.write(starts[item.name], arrays)

        def whole(item: Item, result: Json) -> bool:
            first = starts[item.name]
            return _hashes(writer.read(first, first + item.cost)) == dict(result["trace"])

        results = runner.do(items, subject, store, whole)
        writer.assemble()
    return results
