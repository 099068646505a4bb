"""Draw a case of each nasty kind, and draw again until what it is for really happens.

Chains come from a stream of their own: the graph is made of the chain that is drawn first, so that
chains of a campaign can be had as they were before there were graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import GraphError
from spikeproof.fuzz.draw import events as events
from spikeproof.fuzz.draw import wirings
from spikeproof.fuzz.draw.edges import edge_of_wrap, in_two, largest_sums
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import Case, random_network, with_input
from spikeproof.fuzz.draw.neurons import draw_general
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.limits import LEAK_MAX
from spikeproof.ir.neurons import NO_FILTER
from spikeproof.ir.synapses import shifted_magnitude

Rng = np.random.Generator
Drawn = tuple[chip.ChipNetwork, NDArray[np.uint8]]
Draw = Callable[[Rng, float], Drawn]
"""Draws a network and an input; the number is the share of graphs among the networks."""
Kinds = dict[str, tuple[Draw, events.Count]]
_TRIES = 100
_NASTY_EVERY = 3
_GRAPH_SHARE, _NASTY_GRAPH_SHARE, _TWO_SHARE = 0.45, 0.25, 0.5


def draw_case(seed: int, index: int) -> Case:
    """Draw case ``index`` of the campaign ``seed``: the same one wherever and whenever asked for.

    Every third case is nasty, and the kinds take turns. Of the others nearly half are graphs. Both
    numbers are >= 0.
    """
    rng = np.random.default_rng([seed, index])
    if index % _NASTY_EVERY:
        return Case(index, None, *_ordinary(rng, _GRAPH_SHARE))
    return _nasty(rng, seed, index, KINDS, _NASTY_GRAPH_SHARE)


def draw_chain(seed: int, index: int) -> Case:
    """Draw a case as campaigns did while networks were chains; recorded answers know these."""
    rng = np.random.default_rng([seed, index])
    if index % _NASTY_EVERY:
        return Case(index, None, *_ordinary(rng, 0))
    return _nasty(rng, seed, index, CHAIN_KINDS, 0)


def _nasty(rng: Rng, seed: int, index: int, kinds: Kinds, share: float) -> Case:
    kind = list(kinds)[index // _NASTY_EVERY % len(kinds)]
    draw, count = kinds[kind]
    for _ in range(_TRIES):
        network, x = draw(rng, share)
        if count(network, x, reference_traces(network, x)):
            return Case(index, kind, network, x)
    raise GraphError(f"{_TRIES} draws gave no case of kind {kind!r}", where=f"{seed}/{index}")


def count_events(case: Case, traces: events.Traces) -> int:
    """Count how often the thing happened that a nasty case was drawn for (0 for an ordinary)."""
    return 0 if case.kind is None else KINDS[case.kind][1](case.network, case.x, traces)


def reference_traces(network: chip.ChipNetwork, x: NDArray[np.uint8]) -> events.Traces:
    """Run the reference with traces."""
    return ReferenceEngine().run(network, x, trace=True).traces or {}


def _ordinary(rng: Rng, share: float, **wanted: Any) -> Drawn:
    """Draw a chain and an input; make a graph of a share of the chains."""
    network, x = with_input(rng, random_network(rng, **wanted))
    return (random_graph(rng, network), x) if share and rng.random() < share else (network, x)


def _changed(network: chip.ChipNetwork, index: int, **fields: Any) -> chip.ChipNetwork:
    """Replace fields of one layer and check the whole again."""
    layers = list(network.layers)
    layers[index] = layers[index].changed(**fields)
    changed = replace(network, layers=tuple(layers))
    check_chip(changed)
    return changed


def _pick(rng: Rng, network: chip.ChipNetwork, *, chip_synapse: bool = False) -> int | None:
    """Pick a spiking layer, if wanted one whose sums the chip makes."""
    fitting = [
        i
        for i, layer in enumerate(network.layers)
        if layer.neuron.spiking and (_on_chip(layer) or not chip_synapse)
    ]
    return int(rng.choice(fitting)) if fitting else None


def _on_chip(layer: chip.ChipLayer) -> list[int]:
    """Return the positions of the connections whose sums the chip makes."""
    return [i for i, one in enumerate(layer.inputs) if one.host is None]


def _one_of(rng: Rng, places: Sequence[int]) -> int:
    return places[0] if len(places) == 1 else int(rng.choice(places))


def _with_synapse(
    network: chip.ChipNetwork, index: int, place: int, **fields: Any
) -> chip.ChipNetwork:
    """Change fields of the synapse of one connection of a layer."""
    inputs = list(network.layers[index].inputs)
    inputs[place] = inputs[place].changed(synapse=inputs[place].synapse.changed(**fields))
    return _changed(network, index, inputs=tuple(inputs))


def _tie(rng: Rng, share: float) -> Drawn:
    """Put the threshold of one layer exactly on a membrane that no earlier spike can have changed.

    With the threshold out of reach, a membrane that is the highest so far of its neuron is one
    that the neuron still reaches, unreset, with the threshold put there.
    """
    network, x = _ordinary(rng, share)
    index = _pick(rng, network)
    if index is None:
        return network, x
    layer = network.layers[index]
    quiet = _changed(network, index, neuron=_with_threshold(layer.neuron, fx.STATE_MAX))
    v = reference_traces(quiet, x)[layer.name].v.astype(np.int64)
    record = (v == np.maximum.accumulate(v, axis=1)) & (v >= 0) & (v < fx.STATE_MAX)
    if isinstance(layer.neuron, chip.LifNeuron):
        record &= v % fx.CURRENT_UNIT == 0
    places = np.flatnonzero(record)
    if not len(places):
        return network, x
    chosen = int(v.flat[int(rng.choice(places))])
    return _changed(network, index, neuron=_with_threshold(layer.neuron, chosen)), x


def _with_threshold(neuron: Any, raw: int) -> Any:
    """Set a threshold in v-units; of a plain LIF the largest mantissa not above it."""
    if not isinstance(neuron, chip.LifNeuron):
        return replace(neuron, threshold=np.full_like(neuron.threshold, raw))
    return replace(neuron, threshold=min(raw // fx.CURRENT_UNIT, fx.THRESHOLD_MAX))


def _saturation(rng: Rng, share: float) -> Drawn:
    """Let large sums add up, with no leak (or a growing one) and the threshold out of reach."""
    network, x = _wrap(rng, share)
    index = _pick(rng, network)
    if index is None:
        return network, x
    neuron = _with_threshold(network.layers[index].neuron, fx.STATE_MAX)
    if not isinstance(neuron, chip.LifNeuron):
        leak = rng.choice([4096, 8192, LEAK_MAX], neuron.leak.shape).astype(np.int32)
        return _changed(network, index, neuron=replace(neuron, leak=leak)), x
    return _changed(network, index, neuron=replace(neuron, dv=0)), x


def _wrap(rng: Rng, share: float) -> Drawn:
    """Raise an exponent to the largest legal one, so that u leaves 24 bits."""
    network, x = _ordinary(rng, share, nasty=True)
    index = _pick(rng, network, chip_synapse=True)
    if index is None:
        return network, x
    layer, sources = network.layers[index], network.sources[index]
    chosen = _one_of(rng, _on_chip(layer))

    def worst(place: int, exponent: int) -> int:
        most = layer.inputs[place].synapse.largest_sum(network.payload_of(sources[place]))
        return shifted_magnitude(most, exponent)

    rest = [i for i in _on_chip(layer) if i != chosen]
    room = layer.neuron.sum_limit - sum(worst(i, layer.inputs[i].synapse.exponent) for i in rest)
    fits = [e for e in range(-8, 8) if worst(chosen, e) <= room]
    return _with_synapse(network, index, chosen, exponent=max(fits)), x


def _general(rng: Rng, share: float) -> Drawn:
    """Make the neurons of one layer general ones."""
    network, x = _ordinary(rng, share)
    index = _pick(rng, network)
    if index is None:
        return network, x
    shape = network.layers[index].shape
    neuron = draw_general(rng, shape, network.timesteps, int(rng.integers(1, 500)), nasty=False)
    if network.layers[index].host:
        neuron = replace(neuron, bias=np.zeros_like(neuron.bias))
    if neuron.filters and not network.layers[index].neuron.filters:  # whose sums may be too large
        neuron = replace(neuron, du=np.full((1,), NO_FILTER, np.int32))
    return _changed(network, index, neuron=neuron), x


def _zero(rng: Rng, share: float) -> Drawn:
    """Zero the weights of one connection."""
    network, x = _ordinary(rng, share)
    index = int(rng.integers(len(network.layers)))
    place = _one_of(rng, range(len(network.layers[index].inputs)))
    weight = network.layers[index].inputs[place].synapse.weight
    return _with_synapse(network, index, place, weight=weight * 0), x


def _decays(rng: Rng, share: float) -> Drawn:
    """Give one layer an extreme leak, and a filter where its sums allow one."""
    network, x = _ordinary(rng, share)
    index = _pick(rng, network)
    if index is None:
        return network, x
    neuron: Any = network.layers[index].neuron
    if neuron.filters:
        du = int(rng.choice(events.EXTREME_FILTERS))
        general = isinstance(neuron, chip.GeneralLifNeuron)
        neuron = replace(neuron, du=np.full_like(neuron.du, du) if general else du)
    if not isinstance(neuron, chip.LifNeuron):
        leak = rng.choice(events.EXTREME_LEAKS, neuron.leak.shape).astype(np.int32)
        return _changed(network, index, neuron=replace(neuron, leak=leak)), x
    neuron = replace(neuron, dv=int(rng.choice([0, 1, 4095, 4096])))
    return _changed(network, index, neuron=neuron), x


def _floor(rng: Rng, share: float) -> Drawn:
    """Give one connection a negative exponent; negative sums are then floored."""
    network, x = _ordinary(rng, share)
    index = int(rng.integers(len(network.layers)))
    layer = network.layers[index]
    if not _on_chip(layer):
        return network, x
    place = _one_of(rng, _on_chip(layer))
    exponent = min(layer.inputs[place].synapse.exponent, int(rng.integers(-8, 0)))
    return _with_synapse(network, index, place, exponent=exponent), x


def _silent(rng: Rng, share: float) -> Drawn:
    network, x = _ordinary(rng, share)
    return network, x * (rng.random(len(x)) < 0.2).astype(np.uint8).reshape(
        -1, *(1,) * (x.ndim - 1)
    )


def _full(rng: Rng, share: float) -> Drawn:
    network, x = _ordinary(rng, share)
    x[rng.random(len(x)) < 0.8] = network.input_max
    return network, x


def _edge(rng: Rng, share: float, *, draw: Callable[[Rng], Drawn]) -> Drawn:
    """Draw a layer with exact sums; where graphs are drawn, at times over two connections."""
    network, x = draw(rng)
    return (in_two(rng, network), x) if share and rng.random() < _TWO_SHARE else (network, x)


def _wired(rng: Rng, share: float, *, draw: Callable[[Rng], Drawn]) -> Drawn:
    return draw(rng)


CHAIN_KINDS: Kinds = {
    "tie": (_tie, events.count_ties),
    "saturation": (_saturation, events.count_saturations),
    "wrap": (_wrap, events.count_wraps),
    "edge of wrap": (partial(_edge, draw=edge_of_wrap), events.count_edges),
    "largest sum": (partial(_edge, draw=largest_sums), events.count_largest),
    "soft reset": (_general, events.count_soft_resets),
    "first state": (_general, events.count_first_states),
    "own thresholds": (_general, events.count_own_thresholds),
    "zero weights": (_zero, events.count_zero_weights),
    "one step": (partial(_ordinary, steps=1), events.count_single_steps),
    "extreme decay": (_decays, events.count_extreme_decays),
    "floored sum": (_floor, events.count_floors),
    "host half": (partial(_ordinary, coding="pixels"), events.count_host_halves),
    "silent input": (_silent, events.count_silent),
    "full input": (_full, events.count_full),
}
"""The kinds that chains know, in the order of the releases before graphs."""
KINDS: Kinds = CHAIN_KINDS | {
    kind: (partial(_wired, draw=draw), count) for kind, (draw, count) in wirings.KINDS.items()
}
"""Every nasty kind: how it is drawn, and how it is counted in the traces of a run."""
