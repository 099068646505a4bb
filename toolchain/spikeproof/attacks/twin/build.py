"""Make the twin of a trained network or of a chip network."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.attacks.twin.maps import Map, conv_map, dense_map, spread
from spikeproof.attacks.twin.network import Twin
from spikeproof.attacks.twin.population import Feed, Population
from spikeproof.errors import UnsupportedError
from spikeproof.ir import chip, floats
from spikeproof.ir.readouts import FROM_SPIKES, ReadoutRule, settled
from spikeproof.ir.shapes import network_shapes
from spikeproof.numerics.affine import dense_kernel

_OTHER_WAY = (
    "FGSM and PGD attack trained networks of this kind (spikeproof.attacks.perturb_images)."
)
_NEVER = 1e30
"""A threshold that no v reaches."""
_EXACT = 1 << 24
"""Whole numbers below it are exact in float32, in whatever order they are added."""


def float_twin(network: floats.FloatNetwork, kind: Any = np.float32) -> Twin:
    """Return the twin of a trained network whose linear maps are folded.

    Args:
        network: what ``spikeproof.convert.fold.fold`` returns: one convolution or linear map on
            every way into a neuron layer.
        kind: type of states and gradients, float32 or float64. In float32 a v within rounding of
            the threshold may spike otherwise than in float64.

    Raises:
        UnsupportedError: spikes come back to where they came from; the answer is the time of the
            first spike; a node is no linear map, neuron or readout.
    """
    ends = [i for i, n in enumerate(network.nodes) if isinstance(n, floats.Lif | floats.Readout)]
    position = {i: k for k, i in enumerate(ends)} | {-1: -1}
    shapes = network_shapes(network)
    last = network.nodes[-1]
    rule = last.rule if isinstance(last, floats.Readout) else "count"
    _check_rule(network.name, rule)
    if rule in FROM_SPIKES and isinstance(last, floats.Readout):
        ends.pop()  # the answer is that of the neurons before
        if [one.source for one in network.incoming[-1]] != ends[-1:]:
            raise _misplaced(last.name)
    populations = []
    for i in ends:
        node = network.nodes[i]
        feeds, bias = _float_feeds(network, i, shapes, position, kind)
        populations.append(_float_population(network, node, shapes[i], feeds, bias, kind))
    order = _order(network.name, network.order.parts, network.incoming, position, len(ends))
    return Twin(
        network.name,
        tuple(network.input_shape),
        network.timesteps,
        tuple(populations),
        order,
        rule,
        1 / 255,
        kind,
    )


def chip_twin(network: chip.ChipNetwork, kind: Any = np.float32) -> Twin:
    """Return the twin of a chip network, equal to the engines in every spike.

    Gradients go straight through rounding, wrapping and saturation.

    Args:
        network: the integers, with pixels as input.
        kind: type of gradients, float32 or float64; spikes and v are exact in both.

    Raises:
        UnsupportedError: spikes come back to where they came from; the answer is the time of the
            first spike; the input is spikes.
    """
    if network.coding != "pixels":
        raise UnsupportedError(
            "its input is spikes, and these attacks change pixels", where=network.name
        )
    rule = settled(network.readout, network.layers[-1].neuron.spiking)
    _check_rule(network.name, rule)
    populations = [_chip_population(network, i, kind) for i in range(len(network.layers))]
    edges = [[_Way(s) for s in sources] for sources in network.sources]
    position = {i: i for i in range(-1, len(network.layers))}
    order = _order(network.name, network.order.parts, edges, position, len(network.layers))
    return Twin(
        network.name,
        tuple(network.input_shape),
        network.timesteps,
        tuple(populations),
        order,
        rule,
        1.0,
        kind,
    )


class _Way:
    def __init__(self, source: int) -> None:
        self.source = source


def _check_rule(name: str, rule: ReadoutRule) -> None:
    if rule == "first":
        raise UnsupportedError(
            "its answer is the time of the first spike, which has no gradient here",
            where=name,
            hint=_OTHER_WAY,
        )


def _order(
    name: str,
    parts: Sequence[tuple[int, ...]],
    incoming: Sequence[Sequence[Any]],
    position: dict[int, int],
    count: int,
) -> tuple[int, ...]:
    """Return in which order populations run."""
    for part in parts:
        if len(part) > 1 or part[0] in [one.source for one in incoming[part[0]]]:
            raise UnsupportedError(
                "spikes come back to the layer that sent them, so its steps cannot run at once",
                where=name,
                hint=_OTHER_WAY,
            )
    found = [position[part[0]] for part in parts if part[0] in position]
    return tuple(k for k in found if k < count)


def _float_feeds(
    network: floats.FloatNetwork,
    i: int,
    shapes: dict[int, tuple[int, ...]],
    position: dict[int, int],
    kind: Any,
) -> tuple[tuple[Feed, ...], NDArray[Any]]:
    """Return what feeds a neuron or readout, and the bias of all maps together."""
    shape = shapes[i]
    bias = np.zeros(prod(shape))
    feeds = []
    for end in network.incoming[i]:
        node = network.nodes[end.source] if end.source >= 0 else None
        if not isinstance(node, floats.Conv2d | floats.Linear):
            raise _misplaced(network.nodes[i].name)
        (way,) = network.incoming[end.source]
        if way.source not in position or end.coefficient != 1 or way.coefficient != 1 or end.lag:
            raise _misplaced(node.name)
        source = shapes[way.source]
        if node.bias is not None:
            wide = node.bias[:, None, None] if node.bias.ndim < len(shape) else node.bias
            bias = bias + spread(wide, shape)
        held: Map
        if isinstance(node, floats.Conv2d):
            form = (node.stride, node.padding, node.dilation)
            held = conv_map(dense_kernel(node), source, shape, form, kind, kind)
        else:
            held = dense_map(node.weight, source, shape, kind, kind)
        feeds.append(Feed(position[way.source], way.lag, held))
    return tuple(feeds), bias


def _misplaced(name: str) -> UnsupportedError:
    return UnsupportedError(
        "is not a network of folded maps and neurons alone",
        where=name,
        hint="Fold it first: spikeproof.convert.fold.fold(network).",
    )


def _float_population(
    network: floats.FloatNetwork,
    node: Any,
    shape: tuple[int, ...],
    feeds: tuple[Feed, ...],
    bias: NDArray[Any],
    kind: Any,
) -> Population:
    steps, size = network.timesteps, prod(shape)
    if isinstance(node, floats.Readout):  # a membrane that neither leaks nor fires
        node = floats.Lif(node.name, 1.0, _NEVER)
        spiking = False
    else:
        spiking = True
    ones = np.ones((steps, size))
    gain = ones if node.gain is None else np.stack([spread(row, shape) for row in node.gain])
    threshold = ones * spread(node.threshold, shape)
    return Population(
        node.name,
        shape,
        feeds,
        leak=(ones * spread(node.leak, shape)).astype(kind),
        gain=gain.astype(kind),
        threshold=threshold.astype(kind),
        unit=_units(threshold).astype(kind),
        keep=np.zeros(size, kind),
        taken=spread(0.0 if node.reset is None else node.reset, shape).astype(kind),
        initial=spread(node.initial, shape).astype(kind),
        bias=bias.astype(kind),
        drive=kind,
        hard=node.reset is None,
        strict=node.strict,
        chip=False,
        spiking=spiking,
    )


def _chip_population(network: chip.ChipNetwork, i: int, kind: Any) -> Population:
    layer, steps = network.layers[i], network.timesteps
    neuron, shape = layer.neuron, layer.shape
    ways = list(zip(layer.inputs, network.sources[i], strict=True))
    peak = sum(
        max(one.synapse.largest_sum(network.payload_of(s)), 1) * 2.0 ** max(0, one.synapse.exponent)
        for one, s in ways
    )
    drive = np.float32 if peak < _EXACT else np.float64
    rows = [(neuron.leak_at(t), neuron.threshold_at(t)) for t in range(steps)]
    leak = np.stack([spread(row[0], shape) for row in rows]) / fx.DECAY_ONE
    threshold = np.stack([spread(row[1], shape) for row in rows]).astype(np.float64)
    size = prod(shape)
    return Population(
        layer.name,
        shape,
        tuple(_chip_feed(network, one, source, shape, (drive, kind)) for one, source in ways),
        leak=leak,
        gain=np.full((steps, size), float(fx.CURRENT_UNIT)),
        threshold=threshold,
        unit=_units(threshold),
        keep=spread(neuron.u_keep, shape) / fx.DECAY_ONE,
        taken=spread(0 if neuron.reset is None else neuron.reset, shape).astype(np.float64),
        initial=spread(neuron.initial, shape).astype(np.float64),
        bias=spread(neuron.bias, shape).astype(np.float64),
        drive=drive,
        hard=neuron.reset is None,
        strict=True,
        chip=True,
        spiking=neuron.spiking,
        bias_factor=float(1 << neuron.bias_exponent),
    )


def _chip_feed(
    network: chip.ChipNetwork,
    one: chip.Connection,
    source: int,
    shape: tuple[int, ...],
    kinds: tuple[Any, Any],
) -> Feed:
    synapse, source_shape = one.synapse, network.shape_of(source)
    held: Map
    if isinstance(synapse, chip.ConvSynapse):
        form = (synapse.stride, synapse.padding, synapse.dilation)
        held = conv_map(_ungrouped(synapse), source_shape, shape, form, *kinds)
    else:
        matrix = synapse.matrix()
        matrix = matrix.toarray() if hasattr(matrix, "toarray") else matrix
        held = dense_map(matrix, source_shape, shape, *kinds)
    if one.host is None:
        return Feed(source, one.lag, held, 2.0**synapse.exponent)
    offset = spread(one.host.offset, shape).astype(np.float64)
    return Feed(source, one.lag, held, 1.0, (offset, float(1 << one.host.shift)))


def _ungrouped(synapse: chip.ConvSynapse) -> NDArray[Any]:
    node = floats.Conv2d("synapse", synapse.weight.astype(np.float64), None, groups=synapse.groups)
    return dense_kernel(node)


def _units(threshold: NDArray[Any]) -> NDArray[Any]:
    """Return what widths of slopes are measured in: the threshold, where it says a size."""
    size = np.abs(threshold)
    return np.where((size > 0) & (size < _NEVER), size, 1.0)
