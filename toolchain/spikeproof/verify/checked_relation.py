"""One step of a conversion as V2 reports it: what it declares, and what was found."""

from __future__ import annotations

from pydantic import Field

from spikeproof.document.values import Count, Figure, Number, Record, Text
from spikeproof.verify.verdict import Verdict


class BoundedLayer(Record):
    """The largest difference of a membrane in one layer, beside its bound, in v-units."""

    layer: Text
    bound: Figure
    largest: Figure


class Violation(Record):
    """A stored number that is not within [low, high], and what the checkpoint gives."""

    parameter: Text
    index: list[int]
    expected: Figure
    found: Figure
    low: Number
    high: Number

    @property
    def limits(self) -> tuple[float, float] | None:
        """Return the range; None where an end is not finite."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def excess(self) -> float:
        """Return how far the number is outside of its range."""
        below = 0.0 if self.low is None else self.low - self.found
        above = 0.0 if self.high is None else self.found - self.high
        return max(below, above)


class RoundedLayer(Record):
    """The integers of one layer against the checkpoint."""

    layer: Text
    rounding: Text
    """nearest, compensated, objective (compensated, but its calibration images are not known)."""
    values: int
    outside: int
    largest: Figure
    """Largest distance of an integer from its exact value, in units of its bound."""
    undecided: Text
    doubts: list[Text]
    error_ratio: Number
    clipped_share: Number
    violations: list[Violation]
    verdict: Verdict
    unclaimed: list[Text] = Field(default_factory=list)
    """Columns of the conversion's table that say nothing of this layer."""


class CheckedRelation(Record):
    """A step from one stage to the next; ``info`` until something else judges it."""

    source: Text = Field(validation_alias="from", serialization_alias="from")
    target: Text = Field(validation_alias="to", serialization_alias="to")
    relation: Text
    bound: Number
    unit: Text
    max_difference: Figure
    flipped_spikes: Count
    spikes: Count
    agreement: Number
    verdict: Verdict
    excused_share: Number = None
    """Share of images whose spikes part by rounding alone; what follows is not compared."""
    excused_limit: Number = None
    unexcused_spikes: Count = None
    """Spikes that differ though their membranes are clear of the threshold."""
    declared_bound: Number = None
    """The bundle's, where it is too wide, exceeded, or in another unit."""
    declared_unit: Text | None = None
    """The bundle's, where it is not the one that the step is judged in."""
    expected_unit: Text | None = None
    """That one; empty where no bound on the step is known."""
    layer: Text | None = None
    """The first in which the relation is broken."""
    layers: list[BoundedLayer | RoundedLayer] = Field(default_factory=list)
    values: Count = None
    outside: Count = None
    options: list[Text] = Field(default_factory=list)
    """Declared options other than the defaults: the limits follow from them."""

    @property
    def name(self) -> str:
        """Name both ends: ``trained to folded``."""
        return f"{self.source} to {self.target}"

    @property
    def rounded(self) -> list[RoundedLayer]:
        """Return the layers whose integers were compared with the checkpoint."""
        return [x for x in self.layers if isinstance(x, RoundedLayer)]
