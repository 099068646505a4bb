"""Compare the traces of two engines value by value (check V1): tolerance zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.document.values import Record, Text
from spikeproof.engines.registry import refuse
from spikeproof.engines.trace import BatchEngine, Engine, LayerTrace
from spikeproof.errors import TargetError, list_problems
from spikeproof.ir.chip import ChipNetwork
from spikeproof.verify.verdict import Verdict

Traces = dict[str, LayerTrace]
STATES = ("u", "v", "s")


class LayerComparison(Record):
    """How many values of a layer were compared, and how many differ."""

    name: Text
    values: int
    mismatches: int


def run_traced(engine: Engine, network: ChipNetwork, x: NDArray[np.uint8]) -> Traces:
    """Run an engine with traces.

    Raises:
        UnsupportedError: it cannot run this network.
        TargetError: it failed, or gave no traces.
    """
    return run_all_traced(engine, [(network, x)])[0]


def run_all_traced(
    engine: Engine, tasks: Sequence[tuple[ChipNetwork, NDArray[np.uint8]]]
) -> list[Traces]:
    """Run an engine with traces on several networks, in one start if it knows how.

    Raises:
        As :func:`run_traced`.
    """
    for network, _ in tasks:
        refuse(engine, network)
    if isinstance(engine, BatchEngine) and len(tasks) > 1:
        results = engine.run_many(tasks)
    else:
        results = [engine.run(network, x, trace=True) for network, x in tasks]
    traces = [result.traces for result in results if result.traces is not None]
    if len(traces) < len(tasks):
        raise TargetError("returned no traces though they were asked for", where=engine.name)
    return traces


def compare_traces(expected: Traces, found: Traces) -> list[LayerComparison]:
    """Count differing values of every u, v and s of every layer.

    Raises:
        TargetError: a layer or a state is missing or extra, or has another shape or type.
    """
    problems = trace_problems(expected, found)
    if problems:
        raise TargetError(
            list_problems(problems),
            where="comparison of traces",
            hint="The engine must return u, v and s of every layer as (N, T, *neurons).",
        )
    return [_compare_layer(name, expected[name], found[name]) for name in expected]


def trace_problems(expected: Traces, found: Traces) -> list[str]:
    """List what makes two sets of traces incomparable (empty: comparable)."""
    problems = [f"{name}: layer is missing" for name in expected if name not in found]
    problems += [f"{name}: layer is not expected" for name in found if name not in expected]
    for name in expected:
        if name in found:
            for key in STATES:
                left, right = getattr(expected[name], key), getattr(found[name], key)
                problems += _state_problems(f"{name}/{key}", left, right)
    return problems


def _state_problems(label: str, expected: Any, found: Any) -> list[str]:
    if (expected is None) != (found is None):
        return [f"{label}: {'missing' if found is None else 'not expected'}"]
    if expected is None:
        return []
    if expected.shape != found.shape:
        return [f"{label}: has shape {found.shape}, expected {expected.shape}"]
    if not np.issubdtype(found.dtype, np.integer):
        return [f"{label}: has type {found.dtype}, expected integers"]
    return []


def _compare_layer(name: str, expected: LayerTrace, found: LayerTrace) -> LayerComparison:
    values = mismatches = 0
    for key in STATES:
        left: NDArray[Any] | None = getattr(expected, key)
        if left is not None:
            values += left.size
            mismatches += int(np.count_nonzero(left != getattr(found, key)))
    return LayerComparison(name=name, values=values, mismatches=mismatches)


def judge_comparison(layers: list[LayerComparison]) -> Verdict:
    """Pass only if every layer was compared and nothing differs; nothing compared is a fail."""
    if not layers or any(layer.values == 0 for layer in layers):
        return Verdict.FAIL
    return Verdict.FAIL if any(layer.mismatches for layer in layers) else Verdict.PASS
