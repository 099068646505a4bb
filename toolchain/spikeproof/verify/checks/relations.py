"""V2: every pass keeps the relation it declares; behavioural ones are judged by V7."""

from __future__ import annotations

from pydantic import Field

from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, Head, Table, length, lines
from spikeproof.document.values import Json, Record
from spikeproof.reasons import Reason
from spikeproof.verify.checked_relation import CheckedRelation, RoundedLayer, Violation
from spikeproof.verify.checks.accuracy import clean_row
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Job, Outcome
from spikeproof.verify.checks.bit_exact import EXACT, EngineComparisons, unequal_layers
from spikeproof.verify.effort import rounding_milliseconds
from spikeproof.verify.material import Material
from spikeproof.verify.rounding import check_rounding
from spikeproof.verify.stage_measurement import STAGES
from spikeproof.verify.verdict import Verdict, combine


class Relations(Record):
    """Every step of the conversion, and the engines against the specification."""

    stages: list[CheckedRelation] = Field(default_factory=list)


class RelationFigures(Record):
    """How many steps there are, and how many do what they declare."""

    kept: int
    stages: int


# --- measure -------------------------------------------------------------------------------------


def _measure(material: Material) -> CheckedRelation:
    x = material.x[: material.config.samples.stages]
    return check_rounding(material.stages, material.calibration, x)


def _cost(material: Material) -> float:
    known = material.calibration
    images = material.images(material.config.samples.stages)
    images = images if known is None else len(known) // 2
    return 500 + rounding_milliseconds(material.stages.chip, images)


ROUNDING = Job("rounding", _measure, CheckedRelation, _cost, calibrated=True)


# --- judge ---------------------------------------------------------------------------------------


def relations_outcome(
    rows: list[CheckedRelation], exact: EngineComparisons, clean: Verdict, samples: int
) -> Outcome[Relations]:
    """Judge all steps.

    Args:
        rows: of the conversion; one of them is that of :mod:`spikeproof.verify.rounding`, every
            integer against the checkpoint.
        exact: the engines against the reference.
        clean: verdict on equal accuracy on clean images.
        samples: images the steps ran on.
    """
    steps = [
        r.model_copy(update={"verdict": clean})
        if r.relation == "behavioural" and r.declared_unit is None
        else r
        for r in rows
    ]
    reasons = []
    for step in steps:
        if step.relation == "rounding":
            reasons += rounding_reasons(step)
        elif step.verdict is not Verdict.PASS:
            reasons.append(_broken_relation(step, samples))
    for row in exact.engines:
        steps.append(
            CheckedRelation(
                source="chip",
                target=row.name,
                relation="exact",
                bound=0,
                unit="values that differ",
                max_difference=row.mismatches,
                flipped_spikes=None,
                spikes=None,
                agreement=None,
                verdict=row.verdict,
            )
        )
        if row.verdict is not Verdict.PASS:
            reasons += unequal_layers(row, exact.samples)
    broken = [step.name for step in steps if step.verdict is not Verdict.PASS]
    summary = f"All {len(steps)} steps do what they declare."
    if broken:
        summary = f"Not shown for {len(broken)} of {len(steps)} steps: {', '.join(broken)}."
    declared = [text for step in steps for text in step.options]
    if declared:
        summary += f" The bundle declares options other than the defaults: {', '.join(declared)}."
    return Outcome(
        combine(step.verdict for step in steps),
        summary,
        RelationFigures(stages=len(steps), kept=len(steps) - len(broken)),
        Relations(stages=steps),
        reasons,
    )


def _broken_relation(row: CheckedRelation, samples: int) -> Reason:
    told: Json = {
        "verdict": str(row.verdict),
        "stage": row.name,
        "images": samples,
        "layer": row.layer,
    }
    if row.declared_unit is not None:
        return Reason(criterion=_wrong_unit(row), try_=_CONVERT_AGAIN, **told)
    if row.relation == "behavioural":
        return Reason(
            criterion="equal accuracy on clean images, which V7 judges",
            try_="See the reasons of V7.",
            **told,
        )
    if row.bound is None:
        return Reason(
            criterion="largest difference of a membrane; the bundle declares no bound for it",
            value=row.max_difference,
            unit=row.unit,
            try_="Convert the checkpoint again: `spikeproof convert` writes the bound.",
            **told,
        )
    if row.verdict == Verdict.INCONCLUSIVE:
        return Reason(
            criterion="images whose spikes part by rounding alone, so that what follows is not "
            "comparable",
            value=100 * (row.excused_share or 0.0),
            limit=100 * (row.excused_limit or 0.0),
            unit="%",
            try_="Give images whose membranes are not exactly on the threshold (--data), or "
            "verify --set stages.excused=SHARE.",
            **told,
        )
    declared, value, limit = row.declared_bound, row.max_difference, row.bound
    criterion = "largest difference of a membrane"
    if declared is not None and declared <= row.bound:
        criterion += ", beside the bound that the bundle declares"
        limit = declared
    elif declared is not None:
        criterion = "bound on a membrane that the bundle declares; what its numbers give is less"
        value = declared
    elif row.max_difference <= row.bound:
        return Reason(
            criterion="spikes that differ though their membranes are clear of the threshold",
            value=row.unexcused_spikes,
            relation="exactly",
            limit=0,
            try_=_CONVERT_AGAIN,
            **told,
        )
    return Reason(
        criterion=criterion, value=value, limit=limit, unit=row.unit, try_=_CONVERT_AGAIN, **told
    )


def _wrong_unit(row: CheckedRelation) -> str:
    declared = f"the bundle declares this step {row.relation} in the unit “{row.declared_unit}”"
    if row.expected_unit:
        return f"{declared}; it is judged in “{row.expected_unit}”"
    return f"{declared}, and no bound in any unit is known for it"


def rounding_reasons(row: CheckedRelation) -> list[Reason]:
    """Give per layer and parameter the worst number that is not what the checkpoint gives."""
    return [
        reason
        for layer in row.rounded
        for reason in (_wrong_numbers if layer.outside else _doubts)(layer, row.name)
    ]


def _wrong_numbers(layer: RoundedLayer, stage: str) -> list[Reason]:
    kinds: dict[str, list[Violation]] = {}
    for violation in layer.violations:
        kinds.setdefault(violation.parameter, []).append(violation)
    reasons = []
    for kind, listed in kinds.items():
        worst = max(listed, key=lambda v: v.excess)
        at = f" {worst.index}" if worst.index else ""
        more = " or more" if len(layer.violations) < layer.outside else ""
        many = f"; {len(listed):,}{more} such" if len(listed) > 1 else ""
        reasons.append(
            Reason(
                verdict="fail",
                stage=stage,
                layer=layer.layer,
                criterion=f"{kind}{at}, the checkpoint gives {worst.expected:.6g}{many}:",
                value=worst.found,
                relation="within",
                limit=worst.limits,
                try_=_CONVERT_AGAIN,
            )
        )
    return reasons


def _doubts(layer: RoundedLayer, stage: str) -> list[Reason]:
    """Give what could not be judged of a layer in which nothing is wrong."""
    found = [(doubt, _SCALE) for doubt in layer.doubts]
    if layer.undecided:
        told = f"weights checked one by one: these were {layer.undecided}"
        found.insert(0, (told, _KNOW_CALIBRATION))
    if layer.unclaimed:
        told = "figures that the bundle's record lacks, so that they cannot be judged: "
        found.append((told + ", ".join(layer.unclaimed), _OTHER_RECORD))
    reasons = [
        Reason(verdict="inconclusive", stage=stage, layer=layer.layer, criterion=what, try_=step)
        for what, step in found
    ]
    if not layer.values:
        reasons.append(
            Reason(
                verdict="inconclusive",
                stage=stage,
                layer=layer.layer,
                value=0,
                criterion="numbers compared with the checkpoint",
                relation="more than",
                limit=0,
                try_=_CONVERT_AGAIN,
            )
        )
    return reasons


_SCALE = (
    "Leave `convert --scale` out for this layer, or give a scale nearer to the one that is then "
    "chosen."
)
_OTHER_RECORD = (
    "The record was changed, or written by another version: convert the checkpoint again."
)
_KNOW_CALIBRATION = (
    "Compensated rounding can be checked weight by weight only on the images it was fitted to: "
    "give those that convert had (`verify --calibration FILE`), or convert with `--no-compensate`."
)
_CONVERT_AGAIN = (
    "The bundle's integers are not what this version makes of the checkpoint: convert it again and "
    "verify the new bundle. If that fails too, it is a defect of the conversion."
)


def _judge(found: Findings) -> Outcome[Relations]:
    stages = found.of(STAGES)
    rounding = found.of(ROUNDING)
    at = [row.target for row in stages.relations].index(rounding.source) + 1
    rows = [*stages.relations[:at], rounding, *stages.relations[at:]]
    return relations_outcome(rows, found.of(EXACT), clean_row(found).tost, stages.samples)


# --- show ----------------------------------------------------------------------------------------


def _facts(check: Check, result: Relations, silent: set[str]) -> list[Fact]:
    path = f"{check.id}.data.stages"
    kept = n.integer(sum(s.verdict is Verdict.PASS for s in result.stages))
    counted = length(result.stages, "steps", path)
    return counted + [Fact(kept, "do what they declare", f"count {path}.*.verdict=pass")] * bool(
        counted
    )


def _tables(result: Relations) -> dict[str, Table]:
    head = (
        Head("step", "name"),
        Head("declares to be", "text"),
        Head("largest difference"),
        Head("limit"),
        Head("spikes that flip"),
        Head("same class", unit="% of images"),
        Head("verdict", "verdict"),
    )
    rows = []
    for s in result.stages:
        flips = n.integer(s.flipped_spikes)
        if s.spikes is not None:
            flips += f" of {n.integer(s.spikes)}"
        rows.append(
            (
                f"{s.source} → {s.target}",
                s.relation,
                _amount(s.max_difference, s.unit),
                _amount(s.bound, s.unit),
                flips,
                n.percent(s.agreement, 2),
                str(s.verdict),
            )
        )
    caption = "What each step of the conversion declares, and what was found"
    return {"stages": Table(caption, head, lines(rows))}


_UNITS = {"v-units": "LSB", "threshold": "θ", "values that differ": "values"}


def _amount(value: float | None, unit: str) -> str:
    """Write a difference with its unit; one name for the integer membrane's unit everywhere."""
    if n.finite(value) is None:
        return n.MISSING
    return f"{n.significant(value, 4)} {_UNITS.get(unit, unit)}".strip()


CHECK = CheckKind(
    id="V2",
    title="Each conversion step does what it declares",
    kind="tested",
    result=Relations,
    judge=_judge,
    section="differences",
    figures=RelationFigures,
    jobs=(STAGES, ROUNDING, EXACT),
    facts=_facts,
    tables=_tables,
)
