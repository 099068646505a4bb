"""Fold everything that is affine between neuron layers into one map per source of each layer.

Input scaling and batch norm act per channel, pooling averages: each is a depthwise convolution,
so all that lies on a way between two neuron layers composes into one map, exactly over the reals.
A residual stream is a sum: the neurons that read it are fed by one map for each way into it.
Where zero padding meets a shifted input the bias becomes one value per neuron, (O, H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.base import Condition, Pass
from spikeproof.convert.conversion import Relation
from spikeproof.errors import GraphError, UnsupportedError
from spikeproof.ir.check_float import check_float, magnitude_problems
from spikeproof.ir.floats import (
    Add,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Edge,
    Flatten,
    FloatNetwork,
    FloatNode,
    InputScale,
    Lif,
    Linear,
    MaxPool2d,
    Readout,
)
from spikeproof.ir.limits import INPUT
from spikeproof.ir.readouts import FROM_SPIKES
from spikeproof.ir.shapes import Shape, arranged_shapes, network_shapes, output_shape
from spikeproof.numerics.affine import (
    Affine,
    Elementwise,
    Step,
    add_maps,
    as_matrix,
    bias_map,
    compose,
    padding_problem,
)


@singledispatch
def as_affine(node: Any, shape: Shape) -> Step | None:
    """Write a node as one float64 map of an input of ``shape``; None if it changes no number."""
    raise TypeError(f"{type(node).__name__} is not a linear node")


@as_affine.register(Conv2d)
@as_affine.register(Linear)
def _(node: Affine, shape: Shape) -> Affine:
    bias = None if node.bias is None else np.asarray(node.bias, np.float64)
    return replace(node, weight=np.asarray(node.weight, np.float64), bias=bias)


@as_affine.register(Flatten)
@as_affine.register(Add)
def _(node: Flatten | Add, shape: Shape) -> None:
    return None


@as_affine.register
def _(node: InputScale, shape: Shape) -> Step:
    std = np.asarray(node.std, np.float64)
    return _per_channel(node.name, 1 / std, -np.asarray(node.mean, np.float64) / std, shape)


@as_affine.register
def _(node: BatchNorm2d, shape: Shape) -> Step:
    gamma, beta, mean, var = (
        np.asarray(a, np.float64) for a in (node.gamma, node.beta, node.mean, node.var)
    )
    factor = gamma / np.sqrt(var + node.eps)
    return _per_channel(node.name, factor, beta - mean * factor, shape)


@as_affine.register
def _(node: AvgPool2d, shape: Shape) -> Affine:
    kernel = np.full((shape[0], 1, *node.kernel), 1 / (node.kernel[0] * node.kernel[1]))
    return Conv2d(node.name, kernel, None, stride=node.stride, groups=shape[0])


def _per_channel(
    name: str, factor: NDArray[np.float64], shift: NDArray[np.float64] | None, shape: Shape
) -> Step:
    if len(shape) == 1:
        return Elementwise(name, factor, shift)
    return Conv2d(name, factor[:, None, None, None], shift, groups=shape[0])


@dataclass(frozen=True, eq=False)
class Term:
    """One way from a source to a node: everything affine along it, composed.

    source: the position of a neuron, or -1 for the input. map: None where nothing changes a number.
    """

    source: int
    lag: int = 0
    map: Step | None = None
    name: str = ""


Refuse = Callable[[str, str, str], None]
"""Takes an obstacle: the node, what is wrong with it, and a way out."""


class Folding:
    """Walks a network once and composes, along every way from a source to a neuron, the maps.

    Ways of one form from one source are added up. What a node brings as a bias stays with the first
    of its ways. ``arranged``: the shape that neurons get, see :func:`arranged_shapes`.
    """

    def __init__(self, network: FloatNetwork, refuse: Refuse) -> None:
        """Start at the input; ``refuse`` is told of obstacles and may raise."""
        self.network, self.refuse = network, refuse
        self.shapes = network_shapes(network)
        self.arranged = arranged_shapes(network, self.shapes)
        self.values: dict[int, tuple[Term, ...]] = {i: (Term(i),) for i in (-1, *_spiking(network))}
        self._begun: set[int] = set()
        self.ends: list[tuple[int, tuple[Term, ...]]] = []

    def run(self) -> None:
        """Compose what lies before every neuron and readout: ``ends``, in the network's order."""
        for i in (i for part in self.network.order.parts for i in part):
            # What a node reads comes first: chains of any length are composed without recursion.
            if not isinstance(self.network.nodes[i], Lif | MaxPool2d | Readout):
                self._value(i)
        for i, node in enumerate(self.network.nodes):
            if isinstance(node, MaxPool2d):
                self.ends.append((i, self._pooled(i, self._received(i))))
            elif isinstance(node, Readout) and node.rule in FROM_SPIKES:
                self.ends.append((i, self._received(i)))
            elif isinstance(node, Lif | Readout):
                self.ends.append((i, self._gathered(node, i, self._received(i))))

    def _value(self, i: int) -> tuple[Term, ...]:
        """Return the ways that lead through a node; one listed later is worked out at once."""
        if i in self.values:
            return self.values[i]
        node = self.network.nodes[i]
        if i in self._begun:
            text = "lies on a cycle without a neuron"
            self.refuse(node.name, text, "put a neuron on it: only spikes can come back")
            return ()
        self._begun.add(i)
        self.values[i] = self._applied(node, i, self._received(i))
        return self.values[i]

    def _received(self, i: int) -> tuple[Term, ...]:
        """Return the ways that lead to a node, over all of its edges."""
        found: list[Term] = []
        for one in self.network.incoming[i]:
            for term in self._value(one.source):
                if one.lag and _has_bias(term.map):
                    text = "a lag behind a bias is no constant: let the lag be that of the spikes"
                    self.refuse(self.network.nodes[i].name, text, "lag the edge of the neuron")
                scaled = self._scaled(term, one.coefficient)
                found.append(replace(scaled, lag=term.lag + one.lag))
        return self._merged(found)

    def _scaled(self, term: Term, factor: float) -> Term:
        shape = self.arranged.get(term.source)
        if factor == 1 or shape is None:
            return term
        if term.map is None:
            ones = np.full(shape[:1], factor)
            return replace(term, map=_per_channel("scale", ones, None, shape))
        bias = None if term.map.bias is None else factor * term.map.bias
        return replace(term, map=replace(term.map, weight=factor * term.map.weight, bias=bias))

    def _merged(self, terms: list[Term]) -> tuple[Term, ...]:
        """Add up ways from one source with one lag where their sum has their form."""
        found: list[Term] = []
        for term in terms:
            for k, other in enumerate(found):
                if (other.source, other.lag) != (term.source, term.lag):
                    continue
                added = self._added(other, term)
                if added is not None:
                    found[k] = added
                    break
            else:
                found.append(term)
        return tuple(found)

    def _added(self, first: Term, second: Term) -> Term | None:
        shape = self.arranged.get(first.source)
        if shape is None:
            return None
        maps = [one.map or _identity(shape) for one in (first, second)]
        total = add_maps(maps[0], maps[1], shape)
        return None if total is None else replace(first, map=total, name=first.name or second.name)

    def _applied(self, node: FloatNode, i: int, terms: tuple[Term, ...]) -> tuple[Term, ...]:
        """Apply a node to every way that leads to it; its bias goes along the first."""
        incoming = self.network.incoming[i]
        shape = self.shapes.get(incoming[0].source)
        if shape is None or i not in self.shapes:  # check_float says why
            return ()
        affine = as_affine(node, shape)
        found = []
        for k, term in enumerate(terms):
            start = self.arranged.get(term.source)
            if affine is None or start is None:
                found.append(term)
                continue
            whole = affine if k == 0 else replace(affine, bias=None)
            name = node.name if isinstance(node, Conv2d | Linear) or not term.name else term.name
            composed = self._composed(term, whole, start)
            if composed is not None:
                found.append(replace(term, map=composed, name=name))
        return tuple(found)

    def _composed(self, term: Term, new: Step, start: Shape) -> Step | None:
        """Return one more map along a way; None: it cannot be, which is told here or elsewhere."""
        held = term.map
        if held is not None:
            reason = padding_problem(held, new, start)
            if reason is not None:
                text = f"cannot be folded into {new.name}: {reason}"
                self.refuse(held.name, text, FOLD_HINT)
                return None
            if not isinstance(held, Conv2d) and isinstance(new, Conv2d):  # check_float says why
                return None
            new = compose(held, new, start)
        for problem in product_problems(new):
            self.refuse(new.name, problem, "scale the maps")
        return new

    def _gathered(self, end: Lif | Readout, i: int, terms: tuple[Term, ...]) -> tuple[Term, ...]:
        """Return the ways into a neuron, each with a map, all biases with the first of them."""
        if terms and all(term.map is None for term in terms):
            text = "no convolution or linear layer before it"
            self.refuse(end.name, text, _NO_MAP)
            return ()
        fitting = self._merged([t for t in map(self._fitting, terms, repeat(i)) if t is not None])
        found: list[Term] = []
        total: NDArray[np.float64] | None = None
        for term in fitting:
            held = term.map
            if held is not None and held.bias is not None and len(fitting) > 1:
                given = bias_map(held.bias, self.arranged[i])
                total = given if total is None else total + given
                held = replace(held, bias=None)
            found.append(replace(term, map=held))
        # What comes later than the last step never comes.
        found = [term for term in found if term.lag < self.network.timesteps] or found[:1]
        if total is not None and found[0].map is not None:
            flat = _per_channel_or_not(total)
            found[0] = replace(found[0], map=replace(found[0].map, bias=flat))
        return tuple(found)

    def _fitting(self, term: Term, i: int) -> Term | None:
        """Return a way to a neuron as a map to all of it, a matrix where the neurons are flat."""
        source, target = (self.arranged.get(place) for place in (term.source, i))
        if source is None or target is None:
            return None
        held = term.map or _identity(source)
        if len(target) == 1:
            held = as_matrix(held, source)
        return replace(term, map=held) if output_shape(held, source) == target else None

    def _pooled(self, i: int, terms: tuple[Term, ...]) -> tuple[Term, ...]:
        """Return the way into a population that fires when anything in its window does."""
        node = self.network.nodes[i]
        plain = len(terms) == 1 and terms[0].map is None and terms[0].source >= 0
        if not plain:
            text = "takes the maximum of something else than the spikes of one neuron layer"
            self.refuse(node.name, text, "put it right behind a neuron, or pool by averages")
            return ()
        shape = self.shapes.get(terms[0].source)
        if shape is None or not isinstance(node, MaxPool2d):
            return ()
        ones = np.ones((shape[0], 1, *node.kernel))
        held = Conv2d(f"{node.name}.any", ones, None, stride=node.stride, groups=shape[0])
        return (replace(terms[0], map=held, name=held.name),)


_NO_MAP = "a chip layer is one synapse and one neuron population: add a layer, or remove this one"
FOLD_HINT = "set that convolution's padding to 0, or pool with kernel = stride on an even size"


def fold(network: FloatNetwork) -> FloatNetwork:
    """Return the same function with only Conv2d / Linear, Lif and Readout nodes, in float64.

    Each neuron layer is fed by one map per source and form; a network that is a chain stays one.

    Raises:
        UnsupportedError: two maps are not one because of padding, or their product is out of
            proportion (see :mod:`mappable`).
    """

    def refuse(name: str, text: str, way_out: str) -> None:
        raise UnsupportedError(text, where=name, hint=way_out)

    folding = Folding(network, refuse)
    folding.run()
    nodes: list[FloatNode] = []
    edges: list[Edge] = []
    names = _Names(network)
    chained = True
    for i, terms in folding.ends:
        end = network.nodes[i]
        if isinstance(end, MaxPool2d):
            end = end.neuron
        elif isinstance(end, Lif):
            end = end.arranged(folding.shapes[i], folding.arranged[i])
        for term in terms:
            source = network.nodes[term.source].name if term.source >= 0 else INPUT
            if term.map is None:
                edges.append(Edge(source, end.name))
                chained = chained and bool(nodes) and nodes[-1].name == source
                continue
            assert not isinstance(term.map, Elementwise)  # _fitting made a matrix of it
            wanted = term.name or f"{end.name}.{source.strip('@')}"
            name = names.free(wanted, end.name)
            before = nodes[-1].name if nodes else INPUT
            chained = chained and source == before and not term.lag and len(terms) == 1
            nodes.append(replace(term.map, name=name))
            edges += [Edge(source, name, term.lag), Edge(name, end.name)]
        nodes.append(end)
    return replace(network, nodes=tuple(nodes), edges=() if chained else tuple(edges))


class _Names:
    """Names that no node has: a map that leads to several neurons is there several times."""

    def __init__(self, network: FloatNetwork) -> None:
        """Begin with the names of a network."""
        self.emitted: set[str] = set()
        self.taken = {node.name for node in network.nodes}
        ends = (Lif, Readout, MaxPool2d)
        self.maps = {node.name for node in network.nodes if not isinstance(node, ends)}

    def free(self, wanted: str, end: str) -> str:
        """Return the name wanted, or one like it; ``end``: what the map leads to."""
        name = wanted
        if name in self.emitted or (name not in self.maps and name in self.taken):
            tries = (
                f"{name}-{end}"[-60:].lstrip("-._"),
                *(f"{name[:55]}.{k}" for k in range(2, len(self.taken) + 3)),
            )
            name = next(one for one in tries if one not in self.taken)
        self.emitted.add(name)
        self.taken.add(name)
        return name


def _spiking(network: FloatNetwork) -> list[int]:
    return [i for i, node in enumerate(network.nodes) if isinstance(node, Lif | MaxPool2d)]


def _has_bias(held: Step | None) -> bool:
    """Tell whether a map adds anything; a normalisation of mean 0 does not."""
    return held is not None and held.bias is not None and bool(np.any(held.bias))


def _identity(shape: Shape) -> Step:
    return _per_channel("same", np.ones(shape[:1]), None, shape)


def _per_channel_or_not(bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one bias per channel where all places of each have the same."""
    if bias.ndim == 3 and (bias == bias[:, :1, :1]).all():
        return np.ascontiguousarray(bias[:, 0, 0])
    return np.ascontiguousarray(bias)


def product_problems(held: Step) -> list[str]:
    """List why the numbers of composed maps are out of proportion (empty: they are not)."""
    found = magnitude_problems("weight", held.weight)
    if held.bias is not None:
        found += magnitude_problems("bias", held.bias)
    return [f"folded with its neighbours, {p}" for p in found]


def _graph_problems(network: FloatNetwork) -> list[str]:
    try:
        check_float(network)
    except GraphError as error:
        return [error.what]
    return []


def _pattern_problems(network: FloatNetwork) -> list[str]:
    problems = []
    for node, incoming in zip(network.nodes, network.incoming, strict=True):
        sources = [network.nodes[one.source] for one in incoming if one.source >= 0]
        if isinstance(node, Conv2d | Linear):
            fits = len(incoming) == 1 and all(isinstance(source, Lif) for source in sources)
            if node.weight.dtype != np.float64:
                problems.append(f"{node.name}: weights are {node.weight.dtype}")
        else:
            wanted = (
                Lif if isinstance(node, Readout) and node.rule in FROM_SPIKES else Conv2d | Linear
            )
            fits = isinstance(node, Lif | Readout) and bool(sources)
            fits = fits and all(isinstance(source, wanted) for source in sources)
        if not fits or any(one.coefficient != 1 for one in incoming):
            problems.append(f"{node.name}: {type(node).__name__} is out of place")
    return problems


CONSISTENT = Condition("a consistent network", _graph_problems)
ALTERNATING = Condition("float64 linear maps alone before each neuron layer", _pattern_problems)

FOLD: Pass[FloatNetwork, FloatNetwork] = Pass(
    "fold", Relation("exact"), fold, requires=(CONSISTENT,), ensures=(CONSISTENT, ALTERNATING)
)
