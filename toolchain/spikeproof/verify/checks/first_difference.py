"""V3: where two stages differ by more than they may, else where rounding shows first."""

from __future__ import annotations

from pydantic import Field

from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, Head, Table, length, lines
from spikeproof.document.values import Record, Text
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.verify.checked_relation import CheckedRelation
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Outcome
from spikeproof.verify.checks.bit_exact import EXACT
from spikeproof.verify.checks.relations import ROUNDING
from spikeproof.verify.first_difference import FirstDifference
from spikeproof.verify.stage_measurement import STAGES, Gap, StageMeasurement
from spikeproof.verify.verdict import Verdict


class Departure(Gap):
    """The first layer that departs by more than rounding explains, and where it does the most."""

    layer: Text


class FirstDifferences(Record):
    """Per pair of stages the first difference, and the first layer in which one is too large."""

    pairs: list[FirstDifference] = Field(default_factory=list)
    departure: Departure | None = None


class FirstDifferenceFigures(Record):
    """Pairs of stages, how many ever differ, and the layer at fault, if any."""

    diverging: int
    layer: Text | None
    pairs: int


# --- judge ---------------------------------------------------------------------------------------


def differences_outcome(
    pairs: list[FirstDifference], stages: StageMeasurement, rounding: CheckedRelation
) -> Outcome[FirstDifferences]:
    """Find the first layer at fault, else the first spike that rounding changes.

    Args:
        pairs: the first spike in which two stages differ, and of engines any value.
        stages: relations and, per layer, the widest gap on equal spikes.
        rounding: every integer against the checkpoint.
    """
    places = [row.layer for row in stages.relations if row.layer is not None]
    places += [x.layer for x in rounding.rounded if x.outside]
    found = [p for p in pairs if p.found]
    places += [p.layer for p in found if p.source == ReferenceEngine.name and p.layer is not None]
    names = list(stages.gaps)
    first = min(places, key=names.index) if places else None
    gap = None if first is None else Departure(layer=first, **dict(stages.gaps[first]))
    if first is not None:
        summary = (
            f"Layer {first} is the first that departs from the stage before it by more than "
            "rounding explains" + _shown_gap(gap) + "."
        )
    elif found:
        flip = found[0]
        summary = (
            "No layer departs from the stage before it by more than rounding explains. The first "
            f"spike that rounding changes is in layer {flip.layer}, at step {flip.step} of "
            f"image {flip.sample} (counted from 0)"
            + (
                f"; that membrane was {100 * flip.margin:.2g} % of the threshold from firing."
                if flip.margin is not None
                else "."
            )
        )
    else:
        summary = "No two stages ever differ."
    return Outcome(
        Verdict.INFO,
        summary,
        FirstDifferenceFigures(pairs=len(pairs), diverging=len(found), layer=first),
        FirstDifferences(pairs=pairs, departure=gap),
    )


def _shown_gap(gap: Departure | None) -> str:
    if gap is None or gap.values.first == gap.values.second:
        return ""
    return (
        f": on the same spikes its membrane is off the most at step {gap.step} of image "
        f"{gap.sample}, neuron {gap.neuron}, {gap.values.second:,.0f} v-units where "
        f"{gap.values.first:,.0f} are exact"
    )


def _judge(found: Findings) -> Outcome[FirstDifferences]:
    stages = found.of(STAGES)
    pairs = stages.pairs + [row.divergence for row in found.of(EXACT).engines]
    return differences_outcome(pairs, stages, found.of(ROUNDING))


# --- show ----------------------------------------------------------------------------------------


def _facts(check: Check, result: FirstDifferences, silent: set[str]) -> list[Fact]:
    path = f"{check.id}.data.pairs"
    differ = n.integer(sum(p.found for p in result.pairs))
    counted = length(result.pairs, "pairs of stages", path)
    return counted + [Fact(differ, "of them differ", f"count {path}.*.found=True")] * bool(counted)


def _tables(result: FirstDifferences) -> dict[str, Table]:
    head = (
        Head("stages", "name"),
        Head("first spike or value that differs", "text"),
        Head("image"),
        Head("v, first stage", unit="LSB"),
        Head("v, second stage", unit="LSB"),
        Head("first stage to the threshold", unit="θ"),
        Head("the same", unit="LSB"),
    )
    rows = []
    for p in result.pairs:
        place = "none"
        if p.found:
            spot = "" if p.neuron is None else f", neuron ({', '.join(map(str, p.neuron))})"
            place = f"layer {p.layer or '?'}{spot}, step {n.integer(p.step)}"
        rows.append(
            (
                f"{_stage(p.source)} → {_stage(p.target)}",
                place,
                n.integer(p.sample),
                _exact(p.values and p.values.first),
                _exact(p.values and p.values.second),
                n.significant(p.margin),
                n.significant(p.margin_lsb),
            )
        )
    caption = "Where two stages first differ (earliest layer, step, image; counted from 0)"
    return {"divergence": Table(caption, head, lines(rows))}


def _stage(name: str) -> str:
    """Return the one name of a stage: the reference simulator runs the chip network."""
    return "chip" if name == ReferenceEngine.name else name


def _exact(value: object) -> str:
    return n.significant(value, 6) if isinstance(value, float) else n.anything(value)


CHECK = CheckKind(
    id="V3",
    title="Where the stages first differ",
    kind="measured",
    result=FirstDifferences,
    judge=_judge,
    section="differences",
    figures=FirstDifferenceFigures,
    jobs=(STAGES, ROUNDING, EXACT),
    facts=_facts,
    tables=_tables,
)
