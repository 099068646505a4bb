"""The shape a node of either dialect makes of its input."""

from __future__ import annotations

from functools import singledispatch
from heapq import heappop, heappush
from math import prod

from spikeproof.errors import GraphError
from spikeproof.ir import floats
from spikeproof.ir.synapses import Synapse
from spikeproof.ir.windows import Shape, conv_output, dense_output, windowed

__all__ = ["Shape", "arranged_neurons", "arranged_shapes", "network_shapes", "output_shape"]


def network_shapes(network: floats.FloatNetwork) -> dict[int, Shape]:
    """Return the shape each node gives, by position, as far as they can be told; -1: the input."""
    readers: dict[int, list[int]] = {}
    for i, incoming in enumerate(network.incoming):
        for one in incoming:
            readers.setdefault(one.source, []).append(i)
    found: dict[int, Shape] = {-1: tuple(network.input_shape)}
    pending = list(readers.get(-1, ()))
    while pending:  # in the order of the nodes, and again what a cycle comes back to
        i = heappop(pending)
        if i in found:
            continue
        before = next(found[one.source] for one in network.incoming[i] if one.source in found)
        try:
            found[i] = output_shape(network.nodes[i], before)
        except (GraphError, ValueError, IndexError):
            continue
        for reader in readers.get(i, ()):
            heappush(pending, reader)
    return found


_ARRANGED_AS_FED = (floats.Flatten, floats.Add, floats.Lif, floats.Readout)


def arranged_shapes(network: floats.FloatNetwork, shapes: dict[int, Shape]) -> dict[int, Shape]:
    """Return how what each node gives is arranged on the chip, by position; -1: the input.

    On the chip neurons have the shape of what their synapses give. Where all that reaches flat
    neurons are images of one shape that were flattened on the way, it is that shape; everywhere
    else it is their own. The order of the numbers is the same.

    Args:
        network: nothing needs to be right about it.
        shapes: those of the nodes, :func:`network_shapes`.
    """
    found = {-1: shapes[-1]}
    for part in network.order.parts:
        changed = True
        while changed:  # on a cycle what comes back may be flat after all
            changed = False
            for i in (i for i in part if i in shapes):
                own, arranged = shapes[i], shapes[i]
                if len(own) == 1 and isinstance(network.nodes[i], _ARRANGED_AS_FED):
                    given = {found[s.source] for s in network.incoming[i] if s.source in found}
                    if not given:
                        continue
                    arranged = given.pop() if len(given) == 1 else own
                changed = changed or found.get(i) != arranged
                found[i] = arranged
    return found


def arranged_neurons(network: floats.FloatNetwork) -> dict[str, floats.Lif]:
    """Return what spikes, by name, in the order of the nodes; an OR pool is a neuron, too.

    Their arrays fit neurons arranged as in traces (:func:`arranged_shapes`).
    """
    shapes = network_shapes(network)
    arranged, found = arranged_shapes(network, shapes), dict[str, floats.Lif]()
    for i, node in enumerate(network.nodes):
        if isinstance(node, floats.MaxPool2d):
            found[node.name] = node.neuron
        elif isinstance(node, floats.Lif):
            found[node.name] = node.arranged(shapes[i], arranged[i])
    return found


@singledispatch
def output_shape(node: object, shape: Shape) -> Shape:
    """Return the shape a node produces from an input of ``shape``.

    Raises:
        GraphError: the input does not fit the node, with both shapes.
    """
    return shape


@output_shape.register
def _(node: Synapse, shape: Shape) -> Shape:
    return node.output_shape(shape)


@output_shape.register
def _(node: floats.Flatten, shape: Shape) -> Shape:
    return (prod(shape),)


@output_shape.register
def _(node: floats.Linear, shape: Shape) -> Shape:
    return dense_output(node.weight.shape, shape)


@output_shape.register
def _(node: floats.Conv2d, shape: Shape) -> Shape:
    return conv_output(node, shape)


@output_shape.register(floats.AvgPool2d)
@output_shape.register(floats.MaxPool2d)
def _(node: floats.AvgPool2d | floats.MaxPool2d, shape: Shape) -> Shape:
    if len(shape) != 3 or min(*node.kernel, *node.stride) < 1:
        raise GraphError(f"pooling {node.kernel} needs an image (C, H, W), gets {shape}")
    return windowed(shape[0], shape, node.kernel, node.stride, (0, 0), (1, 1))
