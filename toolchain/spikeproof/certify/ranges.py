"""Certify that no input whatever can leave the chip's number ranges (check V9).

Interval arithmetic on exact integers (:mod:`spikeproof.numerics.intervals`), over all T steps and
all inputs: the result is a proof, not a test.

The worst inhibition of all steps may sum up far below what any image causes, and v *saturates* at
its lower end, it does not wrap. Whether it may is a choice (:data:`LowerRail`): then the proof is
that u never wraps, that v never reaches beyond its upper end, and that it saturates below at worst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spikeproof import fixedpoint as fx
from spikeproof.certify.lower_rail import LowerRail
from spikeproof.errors import RangeError, list_problems
from spikeproof.ir.chip import INPUT_INDEX, ChipLayer, ChipNetwork
from spikeproof.numerics.intervals import Ints, drive_of, states, weighted_sums


@dataclass(frozen=True)
class LayerRange:
    """Certified bounds of one layer over all inputs, steps and neurons.

    sum_bound: largest magnitude of the synaptic sum, in units of weight times payload.
    u_bound, v_low, v_high: in v-units, v before the reset. host_bound: largest magnitude of a
    host-written mantissa (0 without one). headroom_bits: log2(limit / bound), the worst of all.
    worst_neuron: index of the neuron with the widest v. problems: empty if everything fits.
    saturates: v may stay at its lower end, as was allowed; ``v_low`` is that end, and the headroom
    that of everything else.
    """

    name: str
    sum_bound: int
    u_bound: int
    v_low: int
    v_high: int
    headroom_bits: float
    ok: bool
    worst_neuron: tuple[int, ...]
    host_bound: int = 0
    problems: tuple[str, ...] = ()
    saturates: bool = False


def certify_ranges(network: ChipNetwork, lower_rail: LowerRail = "never") -> list[LayerRange]:
    """Bound every sum, u and v of every layer for every possible input.

    Whatever comes back from a layer listed later may be a spike at any step.
    """
    sent = {i: np.ones(layer.shape, np.int64) for i, layer in enumerate(network.layers)}
    sent[INPUT_INDEX] = np.full(network.input_shape, network.input_max, np.int64)
    ranges = []
    for i, layer in enumerate(network.layers):
        highest = [sent[source] for source in network.sources[i]]
        found, sent[i] = certify_layer(layer, highest, network.timesteps, lower_rail)
        ranges.append(found)
    return ranges


def check_ranges(network: ChipNetwork, lower_rail: LowerRail = "never") -> list[LayerRange]:
    """Return the certified ranges, or raise RangeError with all layers that could overflow."""
    ranges = certify_ranges(network, lower_rail)
    problems = [f"{r.name}: {p}" for r in ranges for p in r.problems]
    if problems:
        raise RangeError(
            list_problems(problems),
            where=network.name,
            hint="lower the scale of these layers, or let the automatic scale choose",
        )
    return ranges


def certify_layer(
    layer: ChipLayer, highest: Sequence[Ints], timesteps: int, lower_rail: LowerRail = "never"
) -> tuple[LayerRange, Ints]:
    """Bound one layer; what a connection carries lies between 0 and its ``highest``, by input.

    A readout's v never saturates: it is read as a number. Nor does v of a layer that pixels reach:
    they are the same in all steps, so that what inhibits most there does happen.

    Returns the bounds and, for the next layer, 1 where a neuron could ever spike, else 0.
    """
    pairs = zip(layer.inputs, highest, strict=True)
    drive = drive_of(layer, [weighted_sums(one.synapse, reached) for one, reached in pairs])
    zero = np.zeros(layer.shape, np.int64)
    u_bound, fires = zero, zero.astype(bool)
    v_low = np.full(layer.shape, np.iinfo(np.int64).max)
    v_high = -v_low
    for state in states(layer, drive, timesteps):
        u_bound = np.maximum(u_bound, np.maximum(-state.u_low, state.u_high))
        v_low, v_high = np.minimum(v_low, state.v_low), np.maximum(v_high, state.v_high)
        fires = fires | state.may_fire
    widest = np.unravel_index(int(np.maximum(-v_low, v_high).argmax()), layer.shape)
    neuron = tuple(map(int, widest))
    hosts = any(one.host is not None for one in layer.inputs)
    spikes_only = not hosts and all(int(most.max(initial=0)) <= 1 for most in highest)
    allowed = lower_rail == "may-saturate" and layer.neuron.spiking and spikes_only
    saturates = allowed and bool(v_low.min() < -fx.STATE_MAX)
    if saturates:
        v_low = np.maximum(v_low, -fx.STATE_MAX)
    figures = {
        "synaptic sum": (_reach(*drive.total), fx.SUM_MAX),
        "u": (int(u_bound.max()), fx.WRAP_LIMIT - 1),
        "v": (_reach(zero if saturates else v_low, v_high), layer.neuron.v_limit),
        "host mantissa": (_reach(*drive.mantissa), fx.BIAS_MANTISSA_MAX),
    }
    problems = tuple(
        f"{key} could reach {bound} (neuron {neuron}), the limit is {top}"
        for key, (bound, top) in figures.items()
        if bound > top
    )
    found = LayerRange(
        name=layer.name,
        sum_bound=figures["synaptic sum"][0],
        u_bound=figures["u"][0],
        v_low=int(v_low.min()),
        v_high=int(v_high.max()),
        headroom_bits=min(math.log2(top / max(bound, 1)) for bound, top in figures.values()),
        ok=not problems,
        worst_neuron=neuron,
        host_bound=figures["host mantissa"][0],
        problems=problems,
        saturates=saturates,
    )
    return found, fires.astype(np.int64)


def _reach(low: Ints, high: Ints) -> int:
    return int(max(-low.min(), high.max()))


def check_foreign_ranges(network: ChipNetwork) -> None:
    """Refuse what would not run as meant; a u or v that can leave 24 bits is no such thing.

    What depends on us must fit: biases the host writes, and readouts, which are realised as neurons
    that must never fire.

    Raises:
        RangeError: one of these could overflow; all layers are named.
    """
    problems = []
    for layer, found in zip(network.layers, certify_ranges(network), strict=True):
        if not layer.neuron.spiking or found.host_bound > fx.BIAS_MANTISSA_MAX:
            problems += [f"{found.name}: {problem}" for problem in found.problems]
    if problems:
        raise RangeError(
            list_problems(problems),
            where=network.name,
            hint="If the pixels stand for other values than 0..255, give --pixel-range LOW HIGH.",
        )
