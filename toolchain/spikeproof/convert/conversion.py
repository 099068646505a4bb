"""The result of a conversion: every stage, and how each relates to the one before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork

RelationKind = Literal["exact", "bounded", "behavioural"]


@dataclass(frozen=True)
class Relation:
    """What a pass promises about its output.

    exact: the same function over the reals (float64 rounding apart); bounded: each stored
    number differs by at most ``bound`` (in ``unit``); behavioural: judged by statistics.
    """

    kind: RelationKind
    bound: float = 0.0
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Conversion:
    """All stages of one conversion.

    source: as trained. folded: only Conv2d/Linear, Lif, Readout (batch norm, input scale,
    pooling and flatten folded away). quantised: the folded network with the chip's rounded
    parameters, still with real-valued states. chip: integers.
    units: per layer, chip v-units per unit of float membrane (after division by the gain for
    DLIF: v_chip[t] ~ units * v_float[t] / gain[t]; readout: v_chip[T-1] ~ units * T * logit).
    relations: "fold" and "gain" (source to folded), "quantise" (folded to quantised), "lower"
    (quantised to chip: rounding of the states alone, for equal inputs and spikes of a layer).
    table: one JSON row per layer for inspect and report (scale, bits, clipped share,
    threshold, decay, ranges, headroom).
    """

    source: FloatNetwork
    folded: FloatNetwork
    quantised: FloatNetwork
    chip: ChipNetwork
    units: dict[str, float]
    relations: dict[str, Relation]
    table: list[dict[str, Any]]
