"""Look for everything that keeps a network off the chip, before any work is done."""

from __future__ import annotations

import numpy as np

from spikeproof.convert.fold import Folding
from spikeproof.convert.gain import gain_problems
from spikeproof.errors import GraphError, UnsupportedError, list_problems
from spikeproof.ir.check_float import check_float, edge_problems
from spikeproof.ir.floats import FloatNetwork, Lif
from spikeproof.ir.graph import delay_problems


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
    if edge_problems(network):
        return []  # check_float names them
    problems: list[str] = []
    folding = Folding(network, lambda name, text, hint: problems.append(f"{name}: {text}: {hint}"))
    folding.run()
    problems = problems or _delay_problems(network, folding)
    for node in network.nodes:
        if isinstance(node, Lif):
            problems += _neuron_problems(node)
    return problems


def _delay_problems(network: FloatNetwork, folding: Folding) -> list[str]:
    """List lags that no synaptic delay of the chip can realise."""
    ends = [i for i, terms in folding.ends if all(term.map is not None for term in terms)]
    place = {-1: -1} | {i: k for k, i in enumerate(ends)}
    wired = [
        [(place[term.source], term.lag) for term in terms] for i, terms in folding.ends if i in ends
    ]
    return delay_problems([network.nodes[i].name for i in ends], wired)


def _neuron_problems(node: Lif) -> list[str]:
    problems = []
    leak = float(np.max(node.leak))
    if np.isfinite(leak) and leak > 1:
        problems.append(
            f"{node.name}: leak {leak:g} is above 1; the chip's decay can only shrink "
            "the state: clamp the leak to 0..1 and train again"
        )
    if node.gain is None or np.isfinite(node.gain).all():
        problems += gain_problems(node)
    return problems
