"""The result of a conversion: every stage, and how each relates to the one before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from spikeproof.io.record import TableRow
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork

SequenceT = TypeVar("SequenceT", bound="StageSequence")
RelationKind = Literal["exact", "bounded", "behavioural"]
KINDS: tuple[RelationKind, ...] = ("exact", "bounded", "behavioural")
"""From the strongest."""


@dataclass(frozen=True)
class Relation:
    """What a pass promises about its output.

    exact: the same function over the reals (float64 rounding apart); bounded: each stored
    number differs by at most ``bound`` (in ``unit``); behavioural: judged by statistics.
    """

    kind: RelationKind
    bound: float = 0.0
    unit: str = ""


@dataclass(frozen=True)
class Link:
    """A link of the pipeline: the stage it leads to, the passes on the way, what they promise.

    unit: of the bound, where one is promised.
    """

    stage: str
    passes: tuple[str, ...]
    kind: RelationKind
    unit: str = ""


FIRST = "trained"
STATE_UNIT = "v-units at equal spikes"
"""Of the bound on rounded states."""
PIPELINE = (
    Link("folded", ("fold", "gain"), "exact"),
    Link("quantised", ("quantise",), "behavioural"),
    Link("chip", ("lower",), "bounded", STATE_UNIT),
)
"""Every conversion. folded: only Conv2d/Linear, Lif, Readout (batch norm, input scale, pooling and
flatten folded away). quantised: the folded network with the chip's rounded parameters, still with
real-valued states. chip: integers; their states are rounded as well ("lower")."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One network of a conversion, and its declared relation to the stage before.

    relation: None for the first, or where nothing is declared. passes: that led here.
    """

    name: str
    network: FloatNetwork | ChipNetwork
    relation: Relation | None = None
    passes: tuple[str, ...] = ()

    @property
    def floats(self) -> FloatNetwork:
        """Return a network of real numbers."""
        assert isinstance(self.network, FloatNetwork)
        return self.network


@dataclass(frozen=True, eq=False)
class StageSequence:
    """All stages of a conversion in their order, the trained network first, the chip's last."""

    stages: tuple[Stage, ...]

    def __getitem__(self, name: str) -> Stage:
        """Return the stage of this name."""
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def source(self) -> FloatNetwork:
        """The network as trained."""
        return self.stages[0].floats

    @property
    def folded(self) -> FloatNetwork:
        """The network with everything folded into its weights."""
        return self["folded"].floats

    @property
    def quantised(self) -> FloatNetwork:
        """The folded network with the chip's parameters."""
        return self["quantised"].floats

    @property
    def chip(self) -> ChipNetwork:
        """The integers."""
        last = self.stages[-1].network
        assert isinstance(last, ChipNetwork)
        return last

    @property
    def relations(self) -> dict[str, Relation]:
        """What each pass promises, by its name, as a bundle's record declares it."""
        return {p: s.relation for s in self.stages for p in s.passes if s.relation is not None}

    def with_stage(self: SequenceT, name: str, **fields: Any) -> SequenceT:
        """Return the same with another network in one stage, or another relation."""
        found = (replace(s, **fields) if s.name == name else s for s in self.stages)
        return replace(self, stages=tuple(found))


def sequence(
    source: FloatNetwork,
    networks: Mapping[str, FloatNetwork | ChipNetwork],
    relations: Mapping[str, Relation],
) -> tuple[Stage, ...]:
    """Put the stages of a conversion in order.

    Args:
        source: as trained.
        networks: those that came after, by stage.
        relations: what each pass promises, by its name; a stage declares the weakest of its
            passes, and nothing if one of them promises nothing.
    """
    found = [Stage(FIRST, source)]
    for link in PIPELINE:
        declared = [relations.get(name) for name in link.passes]
        known = [r for r in declared if r is not None]
        weakest = max(known, key=lambda r: KINDS.index(r.kind), default=None)
        relation = weakest if len(known) == len(declared) else None
        found.append(Stage(link.stage, networks[link.stage], relation, link.passes))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Conversion(StageSequence):
    """A conversion: all its stages, and what was chosen on the way.

    units: per layer, chip v-units per unit of float membrane (after division by the gain for
    DLIF: v_chip[t] ~ units * v_float[t] / gain[t]; readout: v_chip[T-1] ~ units * T * logit).
    table: one row per layer (scale, bits, clipped share, threshold, decay, ranges, headroom).
    """

    units: dict[str, float]
    table: list[TableRow]
