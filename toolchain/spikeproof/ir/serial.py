"""Turn any node of either dialect into JSON plus named arrays, and back.

Scalars and tuples go into the JSON, arrays into a flat dictionary ``NAME/field``. The mapping
is read off the dataclass fields, so a new node needs no code here. Unknown node types, unknown
fields and missing fields are errors.

The written form is that of the first release and does not move with the classes: content hashes
stay what they are. There a host current stands around the synapse it uses, and a layer has one
synapse and reads the layer before; :class:`_HostCurrent` and :class:`_ChipLayer` are that form, and
:class:`_Population` is that of layers it cannot say.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any, TypeVar, Union

import numpy as np

from spikeproof.errors import BundleError
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    HostCurrent,
    Ints,
    Neuron,
    Shape,
    Synapse,
)
from spikeproof.ir.floats import FLOAT_NODES, Edge, FloatNetwork
from spikeproof.ir.registry import NEURONS, SYNAPSES

Tensors = dict[str, np.ndarray[Any, Any]]
Json = dict[str, Any]
N = TypeVar("N", FloatNetwork, ChipNetwork)
_LIMIT_INT = 1 << 53
"""Larger integers occur in no legal network; checks may compute with smaller ones in 64 bits."""


@dataclasses.dataclass(frozen=True, eq=False)
class _HostCurrent:
    """A host current as it is written: with the weights it uses."""

    synapse: Synapse
    offset: Ints
    shift: int


@dataclasses.dataclass(frozen=True, eq=False)
class _ChipLayer:
    """A link of a chain as it is written: it reads the layer before and nothing else."""

    name: str
    synapse: Synapse | _HostCurrent
    neuron: Neuron
    shape: Shape

    def read(self) -> ChipLayer:
        """Take the host's numbers and the synapse apart again."""
        inputs = (_Connection(self.synapse, None, 0).read(),)
        return ChipLayer(self.name, inputs, self.neuron, self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class _Connection:
    """A connection as it is written."""

    synapse: Synapse | _HostCurrent
    source: str | None
    lag: int

    @classmethod
    def of(cls, one: Connection) -> _Connection:
        """Put the host's numbers around the synapse."""
        host, synapse = one.host, one.synapse
        written = _HostCurrent(synapse, host.offset, host.shift) if host else synapse
        return cls(written, one.source, one.lag)

    def read(self) -> Connection:
        """Take them apart again."""
        held = self.synapse
        if isinstance(held, _HostCurrent):
            host = HostCurrent(held.offset, held.shift)
            return Connection(held.synapse, self.source, self.lag, host)
        return Connection(held, self.source, self.lag)


@dataclasses.dataclass(frozen=True, eq=False)
class _Population:
    """Any other layer as it is written."""

    name: str
    inputs: tuple[_Connection, ...]
    neuron: Neuron
    shape: Shape

    def read(self) -> ChipLayer:
        """Return the layer."""
        inputs = tuple(one.read() for one in self.inputs)
        return ChipLayer(self.name, inputs, self.neuron, self.shape)


def _written(layer: ChipLayer) -> _ChipLayer | _Population:
    """Return the written form of a layer: the first release's wherever that says all."""
    inputs = tuple(_Connection.of(one) for one in layer.inputs)
    if len(inputs) == 1 and inputs[0].source is None and inputs[0].lag == 0:
        return _ChipLayer(layer.name, inputs[0].synapse, layer.neuron, layer.shape)
    return _Population(layer.name, inputs, layer.neuron, layer.shape)


_FIXED: dict[str, type[Any]] = {
    **{t.__name__: t for t in (*FLOAT_NODES, Edge, FloatNetwork, ChipNetwork)},
    "ChipLayer": _ChipLayer,
    "Connection": _Connection,
    "HostCurrent": _HostCurrent,
    "Population": _Population,
}


def network_to_parts(network: FloatNetwork | ChipNetwork) -> tuple[Json, Tensors]:
    """Split a network into a JSON document and the arrays it refers to.

    Raises:
        BundleError: a kind of neuron or synapse is not registered.
    """
    tensors: Tensors = {}
    document = _encode(network, network.name, tensors)
    return typing.cast(Json, document), tensors


def network_from_parts(document: Json, tensors: Tensors, kind: type[N]) -> N:
    """Rebuild a network; every tensor must be used exactly once.

    Raises:
        BundleError: unknown or missing node types, fields or tensors; wrong value types.
    """
    unused = set(tensors)
    try:
        network = _decode(document, tensors, unused, where=kind.__name__)
    except RecursionError as error:
        raise BundleError("its description is nested too deeply", where=kind.__name__) from error
    if not isinstance(network, kind):
        raise BundleError(f"holds a {type(network).__name__}, expected a {kind.__name__}")
    if unused:
        raise BundleError(f"holds tensors nothing refers to: {', '.join(sorted(unused))}")
    shared: N = _shared_again(network)
    return shared


def _shared_again(network: Any) -> Any:
    """Make one synapse of those that are alike: a file holds a shared one for each connection."""
    if isinstance(network, FloatNetwork):
        return network
    synapses = [one.synapse for layer in network.layers for one in layer.inputs]
    looks = Counter(_look(synapse) for synapse in synapses)
    found: dict[tuple[Any, ...], Synapse] = {}
    alike = {
        id(synapse): found.setdefault(_content(synapse), synapse)
        for synapse in synapses
        if looks[_look(synapse)] > 1  # the numbers of others are not gone through
    }
    if len(found) == len(alike):
        return network
    layers = []
    for layer in network.layers:
        pairs = [(one, alike.get(id(one.synapse), one.synapse)) for one in layer.inputs]
        inputs = tuple(one.changed(synapse=synapse) for one, synapse in pairs)
        layers.append(layer.changed(inputs=inputs))
    return network.changed(layers)


def _look(synapse: Synapse) -> tuple[Any, ...]:
    """Return what tells most synapses apart at a glance: the kind, and the first numbers."""
    return (type(synapse), *(_plain(v, lambda a: a.flat[:64]) for v in _values(synapse)))


def _content(synapse: Synapse) -> tuple[Any, ...]:
    """Return what tells a synapse from others: its kind and all of its numbers."""
    return (type(synapse), *(_plain(value, lambda a: a) for value in _values(synapse)))


def _values(synapse: Synapse) -> list[Any]:
    return [getattr(synapse, f.name) for f in dataclasses.fields(synapse)]  # type: ignore[arg-type]


def _plain(value: Any, part: Callable[[Ints], Ints]) -> Any:
    """Return a value, or of an array what stands for it and a part of its numbers."""
    if not isinstance(value, np.ndarray):
        return value
    return (value.dtype.str, value.shape, sha256(part(value).tobytes()).digest())


def _encode(value: Any, path: str, tensors: Tensors) -> Any:
    if isinstance(value, np.ndarray):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, ChipLayer):
        value = _written(value)
    if isinstance(value, Neuron | Synapse):
        _type_of(type(value).__name__, path)  # who writes what nobody can read is told at once
    if dataclasses.is_dataclass(value):
        base = getattr(value, "name", None)
        root = path if base is None or isinstance(value, FloatNetwork | ChipNetwork) else base
        fields = {
            f.name: _encode(getattr(value, f.name), f"{root}/{f.name}", tensors)
            for f in dataclasses.fields(value)
            if not (_came_later(f) and _is_default(f, getattr(value, f.name)))
        }
        return {"type": type(value).__name__.removeprefix("_"), **fields}
    if isinstance(value, tuple):
        return [_encode(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _decode(value: Any, tensors: Tensors, unused: set[str], where: str) -> Any:
    if isinstance(value, list):
        return tuple(_decode(v, tensors, unused, f"{where}[{i}]") for i, v in enumerate(value))
    if not isinstance(value, dict):
        return value
    if set(value) == {"tensor"}:
        return _take_tensor(value["tensor"], tensors, unused, where)
    node_type = _type_of(str(value.get("type")), where)
    built = _build(node_type, value, tensors, unused, str(value.get("name", where)))
    return built.read() if isinstance(built, _ChipLayer | _Population) else built


def _build(
    node_type: type[Any], value: Json, tensors: Tensors, unused: set[str], where: str
) -> Any:
    known, name = typing.get_type_hints(node_type), node_type.__name__.removeprefix("_")
    hints = {f.name: known[f.name] for f in dataclasses.fields(node_type)}
    given = {k: v for k, v in value.items() if k != "type"}
    left_out = {f.name for f in dataclasses.fields(node_type) if _came_later(f)} - set(given)
    if set(given) != set(hints) - left_out:
        odd = sorted(set(given) ^ (set(hints) - left_out))
        raise BundleError(f"{name} has missing or unknown fields: {odd}", where=where)
    decoded = {k: _decode(v, tensors, unused, f"{where}/{k}") for k, v in given.items()}
    for key, hint in hints.items():
        if key in decoded and not _fits(decoded[key], hint):
            raise BundleError(
                f"field {key!r} of {name} holds {_describe(decoded[key])}",
                where=where,
            )
    return node_type(**decoded)


def _came_later(f: dataclasses.Field[Any]) -> bool:
    """Tell whether files of the first release lack a field."""
    return bool(f.metadata.get("later"))


def _is_default(f: dataclasses.Field[Any], value: Any) -> bool:
    return value is f.default or (isinstance(value, float | str | tuple) and value == f.default)


def _type_of(name: str, where: str) -> type[Any]:
    """Return the class that a name in a document stands for; nothing unregistered is imported."""
    if name in _FIXED:
        return _FIXED[name]
    for registry in (SYNAPSES, NEURONS):
        if name in registry:
            return registry.get(name)
    known = sorted({*_FIXED, *SYNAPSES.names(), *NEURONS.names()})
    raise BundleError(
        f"unknown node type {name!r}; known: {', '.join(known)}",
        where=where,
        hint="If it is a neuron or synapse of another package, install that package here.",
    )


def _take_tensor(name: Any, tensors: Tensors, unused: set[str], where: str) -> Any:
    if not isinstance(name, str) or name not in unused:
        raise BundleError(f"tensor {name!r} is missing or used twice", where=where)
    unused.discard(name)
    return tensors[name]


def _fits(value: Any, hint: Any) -> bool:
    """Check a decoded value against a field's type hint (the few forms the dialects use)."""
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, h) for h in typing.get_args(hint))
    if origin is typing.Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if origin is tuple:
        return isinstance(value, tuple) and _tuple_fits(value, typing.get_args(hint))
    if hint is float:
        return isinstance(value, float) or _is_small_int(value)
    if hint is int:
        return _is_small_int(value)
    return isinstance(value, np.ndarray if origin is np.ndarray else hint)


def _is_small_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LIMIT_INT


def _tuple_fits(value: tuple[Any, ...], hints: tuple[Any, ...]) -> bool:
    if len(hints) == 2 and hints[1] is Ellipsis:
        return all(_fits(v, hints[0]) for v in value)
    return len(value) == len(hints) and all(map(_fits, value, hints))


def _describe(value: Any) -> str:
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else repr(value)
