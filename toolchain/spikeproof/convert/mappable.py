"""Look for everything that keeps a network off the chip, before any work is done."""

from __future__ import annotations

import numpy as np

from spikeproof.convert.fold import as_affine, product_problems
from spikeproof.convert.gain import gain_problems
from spikeproof.errors import GraphError, UnsupportedError, list_problems
from spikeproof.ir.check_float import check_float
from spikeproof.ir.floats import FloatNetwork, Lif, Linear, Readout
from spikeproof.ir.shapes import Shape, output_shape
from spikeproof.numerics.affine import Affine, compose, padding_problem

FOLD_HINT = "set that convolution's padding to 0, or pool with kernel = stride on an even size"


def preflight(network: FloatNetwork) -> None:
    """Raise with every obstacle at once: the layer, the reason, and a way out.

    Raises:
        GraphError: the network itself is inconsistent (shapes, NaN, leak outside 0..1).
        UnsupportedError: it is consistent but cannot be mapped; inconsistencies are listed too.
    """
    graph: GraphError | None = None
    try:
        check_float(network)
    except GraphError as error:
        graph = error
    obstacles = mapping_problems(network)
    if obstacles:
        also = [] if graph is None else [graph.what]
        raise UnsupportedError(
            list_problems(obstacles + also),
            where=network.name,
            hint="nothing was converted; each line names a layer and a way out",
        )
    if graph is not None:
        raise graph


def mapping_problems(network: FloatNetwork) -> list[str]:
    """List each layer that cannot be mapped, with the reason and a way out."""
    problems: list[str] = []
    shape: Shape | None = tuple(network.input_shape)
    segment: list[Affine] = []
    starts = shape
    for node in network.nodes:
        if isinstance(node, Lif | Readout):
            problems += _end_problems(node, bool(segment))
            segment, starts = [], shape
            continue
        if shape is None or starts is None:
            continue
        try:
            found, segment = _extend(segment, as_affine(node, shape), node.name, starts)
            problems += found
            shape = output_shape(node, shape)
        except (GraphError, ValueError, IndexError):  # check_float names it
            shape = None
    return problems


def _extend(
    segment: list[Affine], new: Affine | None, name: str, starts: Shape
) -> tuple[list[str], list[Affine]]:
    """Merge one more map into the segment, or say why it cannot be merged."""
    if new is None or not segment:
        return [], [new] if new is not None else segment
    reason = padding_problem(segment[0], new, starts)
    if reason is not None:
        return [f"{segment[0].name}: cannot be folded into {name}: {reason}: {FOLD_HINT}"], [new]
    if isinstance(new, Linear):
        return [], [new]
    merged = compose(segment[0], new, starts)
    return [f"{name}: {p}: scale the maps" for p in product_problems(merged)], [merged]


def _end_problems(node: Lif | Readout, has_map: bool) -> list[str]:
    problems = []
    if not has_map:
        problems.append(
            f"{node.name}: no convolution or linear layer before it; a chip layer is one "
            "synapse and one neuron population: add a layer, or remove this one"
        )
    if isinstance(node, Lif):
        leak = float(np.max(node.leak))
        if np.isfinite(leak) and leak > 1:
            problems.append(
                f"{node.name}: leak {leak:g} is above 1; the chip's decay can only shrink "
                "the state: clamp the leak to 0..1 and train again"
            )
        if node.gain is None or np.isfinite(node.gain).all():
            problems += gain_problems(node)
    return problems
