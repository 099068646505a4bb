"""Judge the range certificate by what the rest of the product does not share (check V9).

Per layer: nothing a second, plain analysis finds possible may lie outside of the certificate, nor
outside of what the bundle's record claims, and no extremal input may leave either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict

import numpy as np
from pydantic import Field

from spikeproof.certify.ranges import LayerRange, certify_ranges
from spikeproof.document.values import Number, Record, Text
from spikeproof.io.record import TableRow
from spikeproof.ir.chip import INPUT_INDEX, ChipNetwork
from spikeproof.verify.extremes import Reached, reach
from spikeproof.verify.interval import Bounds, LowerRail, bound_network

Certify = Callable[[ChipNetwork], list[LayerRange]]
_BITS = 5e-4
"""The record keeps headroom with three decimals."""
CLAIMED = ("sum_bound", "host_bound", "v_low", "v_high", "headroom_bits")
"""The columns of the conversion's table that promise a range."""


class SecondBound(Record):
    """What the plain analysis finds possible."""

    sum_bound: int
    u_bound: int
    v_low: int
    v_high: int
    host_bound: int
    headroom_bits: float
    ok: bool


class RangeLayer(Record):
    """Bounds of one layer, in v-units: the certificate's, and what judges it.

    Without a certificate only the name is known; reports of version 0.1 lack what judges it.
    """

    name: Text
    sum_bound: Number = None
    u_bound: Number = None
    v_low: Number = None
    v_high: Number = None
    headroom_bits: Number = None
    ok: bool | None = None
    worst_neuron: list[int] | None = None
    host_bound: Number = None
    problems: list[Text] = Field(default_factory=list)
    independent: SecondBound | None = None
    saturates: bool = False
    """v may stay at its lower end for some input, as the conversion's options allow."""
    reached: Reached | None = None
    unsound: list[Text] = Field(default_factory=list)
    """A sentence for each figure of the certificate that is too small; empty: it holds."""
    overclaimed: list[Text] = Field(default_factory=list)
    """The same of the bundle's record, which no analysis relies on."""
    unclaimed: list[Text] = Field(default_factory=list)
    """The columns of the conversion's table that say nothing of this layer."""
    neuron: list[int] | None = None
    """The one that goes furthest."""

    @property
    def found_headroom(self) -> float:
        """Return the headroom that the plain analysis finds, in bits."""
        return math.inf if self.independent is None else self.independent.headroom_bits

    @property
    def overflows(self) -> bool:
        """Tell whether either analysis finds that something may not fit."""
        return self.ok is False or (self.independent is not None and not self.independent.ok)


def judge_certificate(
    network: ChipNetwork,
    claims: Mapping[str, TableRow] | None,
    certify: Certify = certify_ranges,
    lower_rail: LowerRail = "never",
) -> list[RangeLayer]:
    """Certify a network and judge the certificate, layer by layer.

    Args:
        network: the chip network.
        claims: the rows of the conversion's table by layer, whose ranges are judged as well; what
            they lack is listed. None: integers that no conversion made, of which nothing is said.
        certify: the analysis under judgement.
        lower_rail: whether v may saturate at its lower end; ``certify`` allows the same.

    Returns:
        One row per layer.
    """
    bounds = bound_network(network, lower_rail)
    certified = {row.name: row for row in certify(network)}
    largest = 255 if network.coding == "pixels" else 1
    sent = {i: bound.fires.astype(np.int64) for i, bound in enumerate(bounds)}
    sent[INPUT_INDEX] = np.full(network.input_shape, largest, np.int64)
    rows = []
    for layer, sources, bound in zip(network.layers, network.sources, bounds, strict=True):
        inputs = [sent[source] for source in sources]
        pixels = [s == INPUT_INDEX and network.coding == "pixels" for s in sources]
        reached = reach(layer, bound, inputs, network.timesteps, pixels=pixels)
        second = _second_bound(bound)
        found = certified.get(layer.name)
        if found is None:
            unsound = [f"no certificate for {layer.name}"]
        else:
            unsound = _unsound(found, bound, second) + _left(found, reached, "the certificate")
        unsound += _left(second, reached, "the second bound")
        claim = None if claims is None else claims.get(layer.name)
        certificate = {"name": layer.name} if found is None else asdict(found)
        rows.append(
            RangeLayer(
                **certificate,
                independent=second,
                reached=reached,
                unsound=unsound,
                overclaimed=[] if claim is None else _overclaimed(claim, second, reached),
                unclaimed=[]
                if claims is None
                else [key for key in CLAIMED if getattr(claim, key, None) is None],
                neuron=_where(bound, found),
            )
        )
    return rows


def _second_bound(bound: Bounds) -> SecondBound:
    reach = bound.figures
    return SecondBound(
        sum_bound=reach["synaptic sum"][0],
        u_bound=reach["u"][0],
        v_low=int(bound.v_low.min()),
        v_high=int(bound.v_high.max()),
        host_bound=reach["host mantissa"][0],
        headroom_bits=bound.headroom,
        ok=bound.headroom >= 0,
    )


def _unsound(found: LayerRange, bound: Bounds, second: SecondBound) -> list[str]:
    """List where the certificate promises more than the plain analysis finds."""
    problems = _too_tight(found, found.u_bound, second, "the certificate")
    if found.ok and not second.ok:
        problems.append("the certificate says that everything fits, and it does not")
    if bound.saturates and not found.saturates:
        problems.append("the certificate says that v does not saturate, and it may")
    return problems


def _overclaimed(claim: TableRow, second: SecondBound, reached: Reached) -> list[str]:
    """List where the bundle's record, which says nothing of u, promises more than is so."""
    problems = _too_tight(claim, None, second, "the bundle's record")
    if claim.v_low is not None and reached.v_low < claim.v_low:
        problems.append(
            f"an input drives v to {reached.v_low}, below the {claim.v_low} of the bundle's record"
        )
    if claim.v_high is not None and reached.v_high > claim.v_high:
        problems.append(
            f"an input drives v to {reached.v_high}, above the {claim.v_high} of the bundle's "
            "record"
        )
    return problems


def _too_tight(
    given: LayerRange | TableRow, u_bound: int | None, wanted: SecondBound, whose: str
) -> list[str]:
    magnitudes = (
        ("the synaptic sum", given.sum_bound, wanted.sum_bound),
        ("u", u_bound, wanted.u_bound),
        ("a host mantissa", given.host_bound, wanted.host_bound),
    )
    problems = [
        f"{whose} bounds {what} by {stated}, but {possible} is possible"
        for what, stated, possible in magnitudes
        if stated is not None and not stated >= possible
    ]
    if given.v_low is not None and not given.v_low <= wanted.v_low:
        problems.append(
            f"{whose} bounds v from below by {given.v_low}, but {wanted.v_low} is possible"
        )
    if given.v_high is not None and not given.v_high >= wanted.v_high:
        problems.append(
            f"{whose} bounds v from above by {given.v_high}, but {wanted.v_high} is possible"
        )
    bits = given.headroom_bits
    if bits is not None and not bits <= wanted.headroom_bits + _BITS:
        problems.append(
            f"{whose} gives {bits:.3f} bits of headroom, there are {wanted.headroom_bits:.3f}"
        )
    return problems


def _left(found: LayerRange | SecondBound, reached: Reached, whose: str) -> list[str]:
    """List what the extremal inputs reached outside of a range."""
    problems = []
    if not found.v_low <= reached.v_low:
        problems.append(
            f"an input drives v of neuron {reached.lowest} to {reached.v_low}, "
            f"below the {found.v_low} of {whose}"
        )
    if not reached.v_high <= found.v_high:
        problems.append(
            f"an input drives v of neuron {reached.highest} to {reached.v_high}, "
            f"above the {found.v_high} of {whose}"
        )
    if not reached.u <= found.u_bound:
        problems.append(f"an input drives u to {reached.u}, beyond the {found.u_bound} of {whose}")
    return problems


def _where(bound: Bounds, found: LayerRange | None) -> list[int]:
    """Return the neuron that goes furthest beyond the certificate, or furthest at all."""
    low, high = (0, 0) if found is None else (found.v_low, found.v_high)
    beyond = np.maximum(low - bound.v_low, bound.v_high - high)
    if found is None or int(beyond.max()) <= 0:
        beyond = np.maximum(-bound.v_low, bound.v_high)
    return [int(i) for i in np.unravel_index(int(beyond.argmax()), beyond.shape)]
