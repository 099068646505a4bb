"""Write a failure of an engine so that anyone can see it again: network, input, words, command.

A reproduction is a folder with ``network.spk`` (a bundle: network, stimulus, the reference's
answers) and ``README.txt``. It needs nothing of the campaign it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikeproof import __version__
from spikeproof.certify.ranges import check_ranges
from spikeproof.engines.self_test import make_bundle, self_test
from spikeproof.engines.trace import BatchEngine, Engine
from spikeproof.errors import RangeError
from spikeproof.fuzz.case import (
    Mismatch,
    Outcome,
    Task,
    check_engine,
    run_reference,
)
from spikeproof.fuzz.draw.networks import Case
from spikeproof.fuzz.shrink.search import Shrunk, shrink, size_of
from spikeproof.fuzz.text import describe_task
from spikeproof.io.bundle import load_bundle, save_bundle
from spikeproof.io.files import make_folder, write_atomic

Json = dict[str, Any]
_TOGETHER = 20


@dataclass(frozen=True, eq=False)
class Failure:
    """A network of a campaign on which an engine differs from the reference."""

    seed: int
    case: Case
    engine: Engine
    mismatch: Mismatch


def write_reproduction(output: Path, failure: Failure, seconds: float) -> Iterator[Json]:
    """Write the failure as found, then again shrunk; yield {"folder", "size", ...} after each.

    Raises:
        InputError: the folder cannot be made or written.
    """
    name = f"seed{failure.seed}-net{failure.case.index}-{failure.engine.name}"
    folder = output / name
    make_folder(folder)
    task = (failure.case.network, failure.case.x)
    yield _write(folder, failure, Shrunk(task, 0, complete=False), failure.mismatch)
    shrunk = shrink_failure(failure, seconds)
    outcome = replay_task(shrunk.task, failure.engine)
    if outcome.mismatch is not None:  # an engine that errs at random may not err again
        yield _write(folder, failure, shrunk, outcome.mismatch)


def shrink_failure(failure: Failure, seconds: float) -> Shrunk:
    """Shrink a failure for as long as the engine still fails in the same manner."""

    def fails(tasks: Sequence[Task]) -> list[bool]:
        expected = [run_reference(task) for task in tasks]
        found = check_engine(failure.engine, tasks, expected)
        return [failure.mismatch.is_like(outcome.mismatch) for outcome in found]

    together = _TOGETHER if isinstance(failure.engine, BatchEngine) else 1
    task = (failure.case.network, failure.case.x)
    return shrink(task, fails, together=together, seconds=seconds)


def replay(path: Path, engine: Engine) -> Outcome:
    """Run a reproduction (or any bundle) on an engine and compare every u, v, s and logit.

    Unlike ``run --self-test`` this takes networks that leave the chip's ranges.

    Raises:
        BundleError, InputError: the file cannot be read or was altered.
    """
    bundle = load_bundle(path)
    return replay_task((bundle.network, bundle.stimulus), engine)


def replay_task(task: Task, engine: Engine) -> Outcome:
    """Compare an engine with the reference on one network."""
    return check_engine(engine, [task], [run_reference(task)])[0]


def _write(folder: Path, failure: Failure, shrunk: Shrunk, mismatch: Mismatch) -> Json:
    """Write both files; the network's own record says where it came from."""
    size = size_of(shrunk.task)
    record = {
        "fuzz": {"seed": failure.seed, "network": failure.case.index, "nasty": failure.case.kind},
        "engine": failure.engine.name,
        "mismatch": mismatch.text,
        "spikeproof": __version__,
    }
    path = folder / "network.spk"
    save_bundle(path, make_bundle(shrunk.task[0], record, shrunk.task[1]))
    text = _text(failure, shrunk, mismatch, size, shows_in_self_test(path, failure.engine))
    write_atomic(folder / "README.txt", text)
    return {
        "folder": str(folder),
        "size": size,
        "shrunk": shrunk.complete,
        "kind": mismatch.kind,
        "text": mismatch.text,
        "divergence": mismatch.divergence,
    }


def shows_in_self_test(path: Path, engine: Engine) -> bool:
    """Tell whether ``run --self-test`` shows the failure: it sees spikes and the readout's v."""
    bundle = load_bundle(path)
    try:
        check_ranges(bundle.network)
    except RangeError:
        return False
    try:
        return not self_test(bundle, engine).passed
    except Exception:  # an engine that fails outright, in whatever manner
        return True


def _text(
    failure: Failure, shrunk: Shrunk, mismatch: Mismatch, size: Json, self_test_fails: bool
) -> str:
    engine, case = failure.engine.name, failure.case
    lines = [
        f"Engine {engine!r} differs from the reference (spikeproof {__version__}).",
        f"Found as network {case.index} of seed {failure.seed}"
        + (f", nasty: {case.kind}" if case.kind else "")
        + f"; {'shrunk as far as it goes' if shrunk.complete else 'not shrunk to the end'}.",
        f"Size: {', '.join(f'{value} {name}' for name, value in size.items())}.",
        "",
        *_difference(mismatch),
        "",
        "See it again, in this folder (exit code 1 while the engine differs):",
        f"  spikeproof fuzz --replay network.spk --engine {engine}",
        *(
            [f"  spikeproof run network.spk --self-test --engine {engine}"]
            if self_test_fails
            else [
                "(spikeproof run --self-test does not show it: the network may leave the chip's "
                "ranges,",
                "or the spikes and the readout are right.)",
            ]
        ),
        "The network as it was drawn:",
        f"  spikeproof fuzz --nets 1 --first {case.index} --seed {failure.seed} --engine {engine}",
        "",
        *describe_task(shrunk.task),
    ]
    return "\n".join(lines) + "\n"


def _difference(mismatch: Mismatch) -> list[str]:
    lines = [f"Difference ({mismatch.kind}): {mismatch.text}"]
    found = mismatch.divergence
    if found is not None and found.values is not None:
        lines += [
            f"First at layer {found.layer}, step {found.step}, sample {found.sample}, "
            f"neuron {tuple(found.neuron or ())}: {found.state}",
            f"  reference: {found.values.first:.0f}",
            f"  {found.target}: {found.values.second:.0f}",
        ]
        if found.threshold is not None:
            lines.append(f"  threshold: {found.threshold:.0f} (in units of v)")
    return lines
