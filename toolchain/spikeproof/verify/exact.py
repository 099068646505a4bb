"""Run the target, the fast engine and the reference on the same images (V1, part of V3, V13)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import Engine, LayerTrace
from spikeproof.errors import TargetError, UnsupportedError, list_problems
from spikeproof.ir.chip import ChipNetwork, ReadoutNeuron
from spikeproof.ir.dynamics import neuron_step
from spikeproof.verify.bisect import Divergence, View, chip_view, first_divergence, replay_line
from spikeproof.verify.boundary import TieCase, count_ties
from spikeproof.verify.compare import LayerComparison, Traces, compare_traces, judge_comparison

Json = dict[str, Any]


def compare_engines(network: ChipNetwork, x: NDArray[np.uint8], engines: list[Engine]) -> Json:
    """Compare every u, v and s of each engine with the reference.

    Returns {"samples", "engines": [{"name", "layers", "verdict", "divergence"}]}.

    Raises:
        UnsupportedError: an engine cannot run this network.
        TargetError: an engine failed, or returned something that cannot be compared.
    """
    expected = run_traced(ReferenceEngine(), network, x)
    rows = []
    for engine in engines:
        found = run_traced(engine, network, x)
        layers = compare_traces(expected, found)
        first = first_divergence(layer_views(network, expected, found), exact=True)
        rows.append(
            {
                "name": engine.name,
                "layers": [vars(layer) for layer in layers],
                "verdict": str(judge_comparison(layers)),
                "divergence": divergence_json(first, "reference", engine.name),
            }
        )
    return {"samples": len(x), "engines": rows}


def run_traced(engine: Engine, network: ChipNetwork, x: NDArray[np.uint8]) -> Traces:
    """Run an engine with traces."""
    problems = engine.problems(network)
    if problems:
        raise UnsupportedError(list_problems(problems), where=f"engine {engine.name}")
    traces = engine.run(network, x, trace=True).traces
    if traces is None:
        raise TargetError("returned no traces though they were asked for", where=engine.name)
    return traces


def layer_views(
    network: ChipNetwork, first: Traces, second: Traces
) -> list[tuple[str, View, View]]:
    """Pair the layers of two integer runs for :func:`first_divergence`."""
    views = []
    for layer in network.layers:
        left, right = first[layer.name], second[layer.name]
        threshold = None
        if not isinstance(layer.neuron, ReadoutNeuron):
            steps = range(network.timesteps)
            threshold = np.array([neuron_step(layer.neuron, t)[2] for t in steps])
        views.append((layer.name, chip_view(left, threshold), chip_view(right, threshold)))
    return views


def divergence_json(found: Divergence | None, first: str, second: str) -> Json:
    """Write a first divergence as one entry of V3."""
    if found is None:
        return {"from": first, "to": second, "found": False}
    return {
        "from": first,
        "to": second,
        "found": True,
        "layer": found.layer,
        "neuron": list(found.neuron),
        "step": found.step,
        "sample": found.sample,
        "state": found.state,
        "values": {"from": found.values[0], "to": found.values[1]},
        "threshold": found.threshold,
        "margin": found.margin,
        "margin_lsb": found.margin_lsb,
        "replay": replay_line(found, first, second),
    }


def compare_ties(cases: list[TieCase], engines: list[Engine]) -> Json:
    """Run states that sit exactly on the threshold through every engine and the reference.

    Returns {"engines": [NAME], "layers": [{"name", "ties", "expected", "engines": {NAME:
    {"states", "mismatches"}}}]}; a row leaves out an engine that cannot run such a network.
    """
    rows = []
    for case in cases:
        reference = run_traced(ReferenceEngine(), case.network, case.x)
        trace = reference[case.layer]
        found = {}
        for engine in engines:
            if not engine.problems(case.network):
                compared = compare_traces(reference, run_traced(engine, case.network, case.x))
                found[engine.name] = _totals(compared, trace)
        rows.append(
            {
                "name": case.layer,
                "ties": count_ties(case, trace),
                "expected": case.expected,
                "engines": found,
            }
        )
    return {"engines": [engine.name for engine in engines], "layers": rows}


def _totals(compared: list[LayerComparison], trace: LayerTrace) -> Json:
    return {
        "states": int(trace.v.size),
        "mismatches": sum(layer.mismatches for layer in compared),
    }
