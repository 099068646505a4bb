"""Run engines on drawn networks and compare each with the reference: every u, v, s and logit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.document.values import Json, dump
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import BatchEngine, Engine, RunResult
from spikeproof.errors import MissingExtraError, SpikeproofError
from spikeproof.ir.chip import ChipNetwork
from spikeproof.verify.compare import compare_traces
from spikeproof.verify.first_difference import FirstDifference, first_unequal_state

Images = NDArray[np.uint8]
Task = tuple[ChipNetwork, Images]


@dataclass(frozen=True)
class Mismatch:
    """How an engine differs from the reference.

    kind: "state" (a u, v or spike), "logits", "untraced" (logits of a run without traces), or
    "error": the engine failed or returned something that cannot be compared.
    divergence: where the states first part, if they do.
    """

    kind: str
    text: str
    divergence: FirstDifference | None = None

    @property
    def json(self) -> Json:
        """Return it as the report of a campaign holds it."""
        where = None if self.divergence is None else dump(self.divergence)
        return {"kind": self.kind, "text": self.text, "divergence": where}

    def is_like(self, other: Mismatch | None) -> bool:
        """Tell whether another mismatch may have the same cause: both errors, or both values."""
        return other is not None and (self.kind == "error") == (other.kind == "error")


@dataclass(frozen=True)
class Outcome:
    """What came of one network on one engine; ``skipped``: why it was not run there."""

    values: int = 0
    mismatch: Mismatch | None = None
    skipped: str | None = None


def run_reference(task: Task) -> RunResult:
    """Return what every engine must answer."""
    return ReferenceEngine().run(*task, trace=True)


def check_engine(
    engine: Engine, tasks: Sequence[Task], expected: Sequence[RunResult]
) -> list[Outcome]:
    """Compare an engine with the expected results, one outcome per task."""
    refused = [engine.problems(network) for network, _ in tasks]
    open_tasks = [i for i, problems in enumerate(refused) if not problems]
    outcomes = [Outcome(skipped="; ".join(problems)) for problems in refused]
    pairs = [(tasks[i], expected[i]) for i in open_tasks]
    found = (
        _check_many(engine, pairs)
        if isinstance(engine, BatchEngine)
        else [_check_one(engine, task, result) for task, result in pairs]
    )
    for i, outcome in zip(open_tasks, found, strict=True):
        outcomes[i] = outcome
    return outcomes


def _check_one(engine: Engine, task: Task, expected: RunResult) -> Outcome:
    """Run with traces and without: engines may compute less when nobody looks."""
    try:
        found = engine.run(*task, trace=True)
        outcome = _compare(task[0], expected, found, engine.name)
        if outcome.mismatch is not None:
            return outcome
        plain = engine.run(*task)
    except Exception as error:
        return _failed(error)
    difference = _logits_differ(expected, plain)
    if difference:
        return Outcome(
            outcome.values, Mismatch("untraced", f"{difference} in a run without traces")
        )
    return Outcome(outcome.values + plain.logits.size)


def _check_many(engine: Any, pairs: list[tuple[Task, RunResult]]) -> list[Outcome]:
    """Run a batch in one start; a batch that fails is halved until the culprit is alone."""
    if not pairs:
        return []
    try:
        results = engine.run_many([task for task, _ in pairs])
    except MissingExtraError as error:
        return [_failed(error)] * len(pairs)
    except Exception as error:
        if len(pairs) == 1:
            return [_failed(error)]
        half = len(pairs) // 2
        return _check_many(engine, pairs[:half]) + _check_many(engine, pairs[half:])
    return [
        _compare(task[0], expected, found, engine.name)
        for (task, expected), found in zip(pairs, results, strict=True)
    ]


def _failed(error: Exception) -> Outcome:
    """Make an outcome of an exception; a missing library is a reason to skip, not a failure."""
    if isinstance(error, MissingExtraError):
        return Outcome(skipped=str(error))
    text = str(error) if isinstance(error, SpikeproofError) else f"{type(error).__name__}: {error}"
    return Outcome(mismatch=Mismatch("error", text))


def _compare(network: ChipNetwork, expected: RunResult, found: RunResult, name: str) -> Outcome:
    left, right = expected.traces or {}, found.traces or {}
    try:
        layers = compare_traces(left, right)
    except SpikeproofError as error:
        return _failed(error)
    values = sum(layer.values for layer in layers) + expected.logits.size
    wrong = sum(layer.mismatches for layer in layers)
    if wrong:
        first = first_unequal_state(network, left, right, ReferenceEngine.name, name)
        text = f"{wrong} of {values} values differ"
        mismatch = Mismatch("state", text, first)
        return Outcome(values, mismatch)
    difference = _logits_differ(expected, found)
    return Outcome(values, Mismatch("logits", difference) if difference else None)


def _logits_differ(expected: RunResult, found: RunResult) -> str:
    """Say how logits or predictions differ, or nothing."""
    for name in ("logits", "predictions"):
        left, right = getattr(expected, name), getattr(found, name)
        if left.shape != right.shape:
            return f"{name} have shape {right.shape}, expected {left.shape}"
        if not np.array_equal(left, right):
            place = tuple(int(i) for i in np.argwhere(left != right)[0])
            return f"{name} at {place} are {right[place]}, expected {left[place]}"
    return ""
