"""Check a float network and report every problem at once."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from functools import singledispatch
from typing import Any, get_args

import numpy as np

from spikeproof.errors import GraphError
from spikeproof.ir import floats
from spikeproof.ir.limits import INPUT, broadcast_problems
from spikeproof.ir.problems import (
    frame_problems,
    is_whole,
    name_problems,
    next_shape,
    raise_problems,
)
from spikeproof.ir.readouts import FROM_SPIKES, ReadoutRule
from spikeproof.ir.shapes import Shape, network_shapes, output_shape
from spikeproof.text import counted

SMALLEST, LARGEST = 1e-30, 1e30
"""Magnitudes a network may use: products of several of them stay far inside float64."""


def check_float(network: floats.FloatNetwork) -> None:
    """Raise GraphError with all problems of a float network: wiring, shapes, NaN, ranges."""
    problems = frame_problems(network.name, network.input_shape, network.timesteps)
    odd = [f"{n.name}: {p}" for n in network.nodes for p in _form_problems(n)]
    raise_problems([*problems, *odd] if odd else [], network.name)
    problems += name_problems([node.name for node in network.nodes])
    wiring = edge_problems(network)
    problems += wiring
    whole = _as_far_as_wired(network) if wiring else network
    # Without one edge that can be told apart nothing is known of what reaches the nodes.
    shapes = {} if whole is None else network_shapes(whole)
    wired = ((),) * len(network.nodes) if whole is None else whole.incoming
    for node, incoming in zip(network.nodes, wired, strict=True):
        given = list(dict.fromkeys(shapes[one.source] for one in incoming if one.source in shapes))
        shape = given[0] if given else None
        found = _node_problems(node, network.timesteps, shape)
        problems += [f"{node.name}: {p}" for p in found]
        next_shape(node, shape, node.name, problems)
        if len(given) > 1:
            told = ", ".join(map(str, given))
            problems.append(f"{node.name}: what reaches it has shapes that differ: {told}")
    if not problems and len(shapes) <= len(network.nodes):
        lost = [node.name for i, node in enumerate(network.nodes) if i not in shapes]
        problems.append(f"nothing of the input ever reaches {', '.join(lost)}")
    if not network.nodes or not isinstance(network.nodes[-1], floats.Readout):
        problems.append("the last node must be a Readout")
    elif not wiring:
        problems += _readout_problems(network)
    if sum(isinstance(n, floats.Readout) for n in network.nodes) > 1:
        problems.append("only one Readout is allowed, at the end")
    raise_problems(problems, network.name)


_PAIRS = ("kernel", "stride", "padding", "dilation")


def _form_problems(node: Any) -> list[str]:
    """Say what is no number, pair or array where one belongs: nothing can be asked of it."""
    if not is_dataclass(node):
        return ["is no node of a network"]
    problems = []
    for key, value in vars(node).items():
        if key in _PAIRS and not _is_pair(value):
            problems.append(f"{key} is {value!r}, expected a pair such as (2, 2)")
        elif hasattr(value, "detach"):
            told = "is a tensor, expected a NumPy array: tensor.detach().numpy()"
            problems.append(f"{key} {told}")
        elif key in _NUMBERS and not _is_number(value, or_none=key in _OPTIONAL):
            problems.append(f"{key} is {value!r}, expected a number or an array of numbers")
    return problems


_OPTIONAL = ("reset", "gain")
_NUMBERS = ("leak", "threshold", "initial", "reset", "gain", "eps")


def _is_number(value: Any, *, or_none: bool) -> bool:
    return (or_none and value is None) or np.asarray(value).dtype.kind in "iuf"


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(is_whole, value))


def _as_far_as_wired(network: floats.FloatNetwork) -> floats.FloatNetwork | None:
    """Return a network with the edges whose ends are there; None: none is, or names are double."""
    names = [node.name for node in network.nodes]
    targets = set(names)
    known = {INPUT} | targets
    edges = tuple(e for e in network.edges if e.source in known and e.target in targets)
    return replace(network, edges=edges) if edges and len(targets) == len(names) else None


def _readout_problems(network: floats.FloatNetwork) -> list[str]:
    """Say that a readout of spikes does not read a neuron, or reads more than that."""
    last: Any = network.nodes[-1]
    fed = network.incoming[-1]
    one = fed[0]
    plain = len(fed) == 1 and one.source >= 0 and (one.lag, one.coefficient) == (0, 1.0)
    if last.rule in FROM_SPIKES and not (
        plain and isinstance(network.nodes[one.source], floats.Lif)
    ):
        return [f"{last.name}: readout {last.rule!r} reads spikes: put it right behind a Lif"]
    return []


def edge_problems(network: floats.FloatNetwork) -> list[str]:
    """List edges that lead nowhere, come twice, or close a cycle, and nodes that have none."""
    position = {INPUT: -1} | {node.name: i for i, node in enumerate(network.nodes)}
    problems, met = [], set[tuple[str, str, int]]()
    for edge in network.edges:
        label, key = f"edge {edge.source} -> {edge.target}", (edge.source, edge.target, edge.lag)
        unknown = [name for name in (edge.source, edge.target) if name not in position]
        if edge.source not in position:
            problems.append(f"{label}: there is no node {edge.source} to come from")
        if edge.target not in position or edge.target == INPUT:
            problems.append(f"{label}: there is no node {edge.target} to lead to")
        if unknown or edge.target == INPUT:
            continue
        if not (is_whole(edge.lag) and _is_number(edge.coefficient, or_none=False)):
            problems.append(
                f"{label}: lag {edge.lag!r} and coefficient {edge.coefficient!r} must be a whole "
                "number of steps and a number"
            )
            continue
        before = None if edge.source == INPUT else network.nodes[position[edge.source]]
        if isinstance(before, floats.Readout):
            problems.append(f"{label}: comes from a readout, which sends nothing")
        if key in met:
            problems.append(f"{label}: is there twice; give one edge the sum of both coefficients")
        met.add(key)
        if not 0 <= edge.lag <= network.timesteps:
            problems.append(f"{label}: lag {edge.lag} is outside 0..{network.timesteps}")
        if not SMALLEST <= abs(edge.coefficient) <= LARGEST:
            problems.append(f"{label}: coefficient {edge.coefficient:g} is none")
        if edge.lag == 0 and position[edge.source] >= position[edge.target]:
            problems.append(f"{label}: leads back without a lag; list nodes in the order they run")
    if network.edges:
        sources, targets = {e.source for e in network.edges}, {e.target for e in network.edges}
        for node in network.nodes:
            if node.name not in targets:
                problems.append(f"{node.name}: nothing feeds it")
            if node.name not in sources and not isinstance(node, floats.Readout):
                problems.append(f"{node.name}: feeds nothing: leave it out")
    return problems


def _node_problems(node: Any, timesteps: int, shape: Shape | None) -> list[str]:
    arrays = {k: v for k, v in vars(node).items() if isinstance(v, np.ndarray)}
    problems = []
    for key, array in arrays.items():
        if array.dtype not in (np.float32, np.float64):
            problems.append(f"{key} has type {array.dtype}, expected float32 or float64")
        elif not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            problems.append(
                f"{key} holds {counted(bad, 'value')} that {'is' if bad == 1 else 'are'} "
                "NaN or infinite"
            )
        else:
            problems += magnitude_problems(key, array)
    return problems or _own_problems(node, timesteps, shape)


def magnitude_problems(key: str, array: floats.FloatArray) -> list[str]:
    """List what is out of proportion: a number above LARGEST, or weights all below SMALLEST."""
    largest = float(np.abs(array).max(initial=0.0))
    if largest > LARGEST:
        return [f"{key} reaches {largest:.3g}, at most {LARGEST:g} is taken"]
    if key == "weight" and 0 < largest < SMALLEST:
        return [f"{key} reaches only {largest:.3g}, expected at least {SMALLEST:g} (or all zero)"]
    return []


@singledispatch
def _own_problems(node: object, timesteps: int, shape: Shape | None) -> list[str]:
    return []


@_own_problems.register
def _(node: floats.Conv2d, timesteps: int, shape: Shape | None) -> list[str]:
    if node.bias is None or node.weight.ndim != 4:
        return []
    full = _try_shape(node, shape)
    if node.bias.shape in {(node.weight.shape[0],), full}:
        return []
    if shape is None and node.bias.ndim == 3 and len(node.bias) == len(node.weight):
        return []
    return [
        f"bias has shape {node.bias.shape}, expected {counted(node.weight.shape[0], 'channel')}"
    ]


@_own_problems.register
def _(node: floats.Linear, timesteps: int, shape: Shape | None) -> list[str]:
    if node.bias is None or node.weight.ndim != 2 or node.bias.shape == node.weight.shape[:1]:
        return []
    return [f"bias has shape {node.bias.shape}, expected {node.weight.shape[:1]}"]


@_own_problems.register
def _(node: floats.BatchNorm2d, timesteps: int, shape: Shape | None) -> list[str]:
    problems = []
    for key in ("gamma", "beta", "mean", "var"):
        found = getattr(node, key).shape
        if shape is not None and found != shape[:1]:
            problems.append(f"{key} has shape {found}, expected {shape[:1]}")
    if not 0 <= node.eps <= LARGEST or (node.var + node.eps < SMALLEST).any():
        problems.append(f"eps must be in 0..{LARGEST:g}, and var + eps at least {SMALLEST:g}")
    return problems


@_own_problems.register
def _(node: floats.InputScale, timesteps: int, shape: Shape | None) -> list[str]:
    channels = shape[:1] if shape is not None else node.mean.shape
    if node.mean.shape != channels or node.std.shape != channels:
        return [f"mean {node.mean.shape} and std {node.std.shape} must both be {channels}"]
    return [] if (node.std >= SMALLEST).all() else [f"std must be at least {SMALLEST:g}"]


@_own_problems.register
def _(node: floats.Readout, timesteps: int, shape: Shape | None) -> list[str]:
    known = get_args(ReadoutRule)
    return [] if node.rule in known else [f"readout {node.rule!r} is none of {', '.join(known)}"]


@_own_problems.register
def _(node: floats.Lif, timesteps: int, shape: Shape | None) -> list[str]:
    problems = _bounds("leak", node.leak, 0, 1) + _bounds(
        "threshold", node.threshold, SMALLEST, LARGEST
    )
    problems += _bounds("initial", node.initial, -LARGEST, LARGEST)
    problems += [] if node.reset is None else _bounds("reset", node.reset, 0, LARGEST)
    rows = () if node.gain is None else node.gain.shape[1:]
    if node.gain is not None and node.gain.shape[:1] != (timesteps,):
        problems.append(f"gain has shape {node.gain.shape}, expected one per step ({timesteps},)")
    numbers = ("leak", "threshold", "initial", "reset")
    given = {key: np.asarray(getattr(node, key)).shape for key in numbers}
    for key, found in {**given, "a row of gain": rows}.items():
        problems += [] if shape is None else broadcast_problems(key, found, shape)
    if node.gain is not None and ((node.gain > 0) & (node.gain < SMALLEST)).any():
        problems.append(f"gain has a value below {SMALLEST:g}")
    return problems


def _bounds(key: str, value: float | floats.FloatArray, low: float, high: float) -> list[str]:
    """Say that numbers leave a range; NaN is in none."""
    found = np.asarray(value)
    if ((found >= low) & (found <= high)).all():
        return []
    worst = found[~((found >= low) & (found <= high))].flat[0]
    return [f"{key} is {worst:.6g}, must be in {low:g}..{high:g}"]


def _try_shape(node: Any, shape: Shape | None) -> Shape | None:
    try:
        return output_shape(node, shape) if shape is not None else None
    except GraphError:
        return None
