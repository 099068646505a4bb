"""V6: the attack on either network finds what there is to find."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field

from spikeproof.attacks.suites import suite_of
from spikeproof.attacks.validity import Examined, examine
from spikeproof.attacks.worst_case import CHIP, TRAINED
from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, Head, Line, Table
from spikeproof.document.values import Number, Record
from spikeproof.jobs.threads import inner_threads
from spikeproof.reasons import Reason
from spikeproof.text import counted
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Job, Outcome
from spikeproof.verify.effort import examined_milliseconds
from spikeproof.verify.material import Material
from spikeproof.verify.validity import Assertion, Judged, judge_examined
from spikeproof.verify.verdict import Verdict

Side = Literal["trained network", "chip network"]
SIDES: tuple[Side, ...] = ("trained network", "chip network")
_OFF = "is off (validity.samples is 0, or worst_case.epsilons names no radius)"


class Validity(Record):
    """Of each network what was measured, and how it is judged."""

    networks: list[Judged] = Field(default_factory=list)


class ValidityFigures(Record):
    """Assertions judged and violated, and what the quoted PGD-7 is too high by (points)."""

    assertions: int
    violated: int
    masking: bool
    naive_misleading_chip: Number
    naive_misleading_float: Number
    open: int


def _measure(material: Material, side: Side) -> Examined:
    """Examine one network, with one thread: the last bit of a product may depend on them."""
    count, attacked = _images(material), material.config.worst_case
    if not count:
        return Examined(why_not=_OFF)
    with inner_threads(1):
        return examine(
            material.victims[TRAINED if side == SIDES[0] else CHIP],
            suite_of(attacked.suite),
            material.x[:count],
            material.y[:count],
            attacked.epsilons,
            seed=material.config.seed,
        )


def _images(material: Material) -> int:
    config = material.config
    return material.images(config.validity.samples) if config.worst_case.epsilons else 0


def _cost(material: Material) -> float:
    suite = suite_of(material.config.worst_case.suite)
    return _images(material) * examined_milliseconds(suite, material.effort)


JOBS = tuple(
    Job(f"validity of attacks on the {side}", partial(_measure, side=side), Examined, _cost)
    for side in SIDES
)


# --- judge ---------------------------------------------------------------------------------------


def _judge(found: Findings) -> Outcome[Validity]:
    alpha = found.material.config.alpha
    pairs = zip(SIDES, JOBS, strict=True)
    return validity_outcome([judge_examined(s, found.of(job), alpha) for s, job in pairs])


def validity_outcome(networks: list[Judged]) -> Outcome[Validity]:
    """Judge all networks together: any violation makes it inconclusive; masking does not."""
    judged = [one for one in networks if one.assertions]
    reasons = [_reason(one, a) for one in judged for a in one.violations]
    verdict = Verdict.INCONCLUSIVE if reasons else Verdict.PASS if judged else Verdict.INFO
    all_of_them = [a for one in judged for a in one.assertions]
    misleading = {one.network: one.misleading for one in judged}
    return Outcome(
        verdict,
        " ".join([*map(_told, networks), *_misled(judged)]),
        ValidityFigures(
            assertions=len(all_of_them),
            violated=len(reasons),
            masking=any(one.masking for one in judged),
            naive_misleading_chip=misleading.get(SIDES[1]),
            naive_misleading_float=misleading.get(SIDES[0]),
            open=sum(a.state == "open" for a in all_of_them),
        ),
        Validity(networks=networks),
        reasons,
    )


def _told(one: Judged) -> str:
    """Say in one sentence what was asked of the attack on a network, or why nothing was."""
    found = one.examined
    if not one.assertions:
        return f"The attack on the {one.network} {_not_run(found)}."
    broken, open_ = one.violations, [a for a in one.assertions if a.state == "open"]
    start = (
        f"{found.suite} on {counted(found.samples, 'image')} of the {one.network} at "
        f"{found.radii[-1]}/255 leaves {n.percent(one.left, 1)} %"
    )
    if broken:
        return f"{start}, which cannot be believed: {'; '.join(a.told for a in broken)}."
    needed = max((a.images_needed or 0 for a in open_), default=0)
    more = (
        f" (of {len(one.assertions)} assertions {len(open_)} are not shown by so few images; "
        f"about {needed:,} would)"
        if open_
        else ""
    )
    return f"{start}, and nothing speaks against it{more}."


def _not_run(found: Examined) -> str:
    return found.why_not if found.why_not == _OFF else f"was not examined: {found.why_not}"


def _misled(judged: list[Judged]) -> list[str]:
    """Say loudly which figures are misleading."""
    found = []
    for one in judged:
        if one.misleading is not None:
            found.append(
                f"PGD-7, which papers quote, leaves {n.percent(one.naive, 1)} % of the "
                f"{one.network}: misleading by {one.misleading:.0f} points."
            )
        found += [
            f"Gradient masking in the {one.network}: {a.told}."
            for a in one.masking
            if a.unit == "points" and not a.name.startswith("the figure")
        ]
    return found


def _reason(one: Judged, broken: Assertion) -> Reason:
    return Reason(
        verdict="inconclusive",
        criterion=broken.name,
        stage=one.network,
        perturbation=f"{one.examined.suite} {one.examined.radii[-1]}/255",
        value=broken.value,
        limit=broken.limit,
        unit=broken.unit,
        images=broken.images,
        try_=f"{broken.advice} The accuracy under this attack is no evidence of robustness "
        "until then.",
    )


# --- show ----------------------------------------------------------------------------------------


def _facts(check: Check, result: Validity, silent: set[str]) -> list[Fact]:
    path = f"{check.id}.figures"
    figures = check.figures
    if not isinstance(figures, ValidityFigures) or not result.networks:
        return []
    return [
        Fact(n.integer(figures.assertions), "assertions", f"{path}.assertions"),
        Fact(n.integer(figures.violated), "violated", f"{path}.violated"),
    ]


def _tables(result: Validity) -> dict[str, Table]:
    head = (
        Head("assertion", "name"),
        Head("measured"),
        Head("limit"),
        Head("at most, 95 %"),
        Head("images"),
        Head("needed"),
        Head("state", "text"),
        Head("seen", "text"),
    )
    rows = [
        Line(
            (
                a.name,
                _amount(a.value, a.unit),
                _amount(a.limit, a.unit),
                _amount(a.upper, a.unit),
                n.integer(a.images),
                n.integer(a.images_needed),
                ("masking" if a.masking else "violated") if a.state == "violated" else a.state,
                a.told,
            ),
            one.network,
        )
        for one in result.networks
        for a in one.assertions
    ]
    return {"validity": Table("Whether the attack finds what there is to find", head, tuple(rows))}


def _amount(value: float | int | None, unit: str) -> str:
    return n.MISSING if value is None else f"{n.significant(value)} {unit}"


CHECK = CheckKind(
    id="V6",
    title="The attack finds what there is to find",
    kind="tested",
    result=Validity,
    judge=_judge,
    section="validity",
    figures=ValidityFigures,
    jobs=JOBS,
    facts=_facts,
    tables=_tables,
)
