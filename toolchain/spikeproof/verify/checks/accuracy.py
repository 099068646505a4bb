"""V7: both networks are right equally often, on clean and on perturbed images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from spikeproof.attacks.suites import suite_of
from spikeproof.attacks.weak import TRANSFER, WEAK
from spikeproof.attacks.worst_case import WORST_CASE
from spikeproof.document import numbers as n
from spikeproof.document.shown import (
    Fact,
    allowed,
    extreme,
    length,
    most_images,
)
from spikeproof.document.values import Anything, Figure, Json, Record, Text
from spikeproof.reasons import Reason
from spikeproof.text import accuracy_text, counted
from spikeproof.verify import statistics as st
from spikeproof.verify.accuracy_rows import (
    AccuracyRow,
    accuracy_rows,
    row_name,
    worst_case_rows,
)
from spikeproof.verify.advice import Supply, image_request, images_needed, more_images
from spikeproof.verify.attack_record import (
    Attacks,
    Tally,
    Transfer,
    about_worst_case,
    attack_table,
    count_tallies,
    count_transfers,
    not_attacked,
    worst_figures,
)
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Outcome
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.examples import Example, Prediction, joint_counts
from spikeproof.verify.plausible import Plausibility, plausibility, unproven
from spikeproof.verify.responses import CLEAN
from spikeproof.verify.verdict import Verdict, combine
from spikeproof.verify.worst_case import Worst, worst_cases_of


class Shown(Record):
    """What stands beside the rows: answers on clean images, examples, whether to believe it."""

    predictions: list[Prediction] = Field(default_factory=list)
    examples: list[Example] = Field(default_factory=list)
    plausibility: Plausibility | None = None


class Accuracy(Shown):
    """All perturbations and strengths."""

    rows: list[AccuracyRow] = Field(default_factory=list)
    attack: Anything = None
    transfers: list[Transfer] = Field(default_factory=list)
    tallies: list[Tally] = Field(default_factory=list)
    members: list[Text] = Field(default_factory=list)
    """Of the suite."""

    @property
    def masking_suspected(self) -> bool:
        """Tell whether two estimators of gradients mislead one another under any attack."""
        return any(row.masking_suspected for row in self.rows)


class AccuracyFigures(Record):
    """Rows, those shown to be equal, clean accuracies, and the largest difference (shares)."""

    clean_chip: Figure
    clean_float: Figure
    established: int
    largest_difference: Figure
    masking_suspected: bool | None
    """Not known of reports of version 0.1."""
    rows: int
    samples: int | None = None
    """Images attacked; None: none were."""
    suite: Text | None = None
    """The suite of attacks: its name and version stand beside every figure of the worst case."""
    worst_case_chip: dict[str, Figure] = Field(default_factory=dict)
    worst_case_float: dict[str, Figure] = Field(default_factory=dict)
    """Shares of images by radius in grey levels that a network gets right whatever was found on
    itself and on the other."""


_UNBELIEVED = "The trained network's own accuracy is not believable on these images and labels"
_FEW_BITS = 4
"""Bits per weight at which rounding alone may cost accuracy."""


def accuracy_reasons(
    rows: list[AccuracyRow], config: VerifyConfig, supply: Supply, weight_bits: int = 8
) -> list[Reason]:
    """Give a reason for every row that is not equal, or not shown to be, or masked.

    ``weight_bits``: those of the conversion, which are the likely cause where they are few.
    """
    unequal = [_unequal(r, config, supply) for r in rows if r.tost is not Verdict.PASS]
    if weight_bits <= _FEW_BITS:
        few = (
            f"The conversion used {weight_bits} bits per weight, which is the likely cause: "
            "convert with more (convert --weight-bits 8). "
        )
        unequal = [  # where more images are all that is missing, that is what to try
            r if r.request else r.model_copy(update={"try_": few + (r.try_ or "")}) for r in unequal
        ]
    return unequal + [_masked(row) for row in rows if row.attack_helps]


def _unequal(row: AccuracyRow, config: VerifyConfig, supply: Supply) -> Reason:
    margin = 100 * row.margin
    told: Json = {
        "criterion": "accuracy of the chip network minus that of the trained network",
        "perturbation": row_name(row),
        "value": 100 * row.difference,
        "relation": "within",
        "limit": (-margin, margin),
        "unit": "points",
        "interval": tuple(100 * x for x in row.ci),
        "images": row.samples,
    }
    if row.tost is Verdict.FAIL:
        return Reason(verdict="fail", try_=supply.useless or f"{supply.conversion}.", **told)
    needed = images_needed(lambda n: _tost_at(n, row, config.alpha), row.samples)
    if needed is not None:
        told.update(images_needed=needed.images, would=needed.would)
    told.update(
        try_=more_images(needed, supply, row.part), request=image_request(needed, supply, row.part)
    )
    return Reason(verdict="inconclusive", **told)


def _tost_at(images: int, row: AccuracyRow, alpha: float) -> Verdict:
    """Judge as many images, discordant as often as those of ``row``."""
    factor = images / row.samples
    only_chip, only_float = (math.ceil(k * factor) for k in (row.only_chip, row.only_float))
    counts = st.PairedCounts(images, only_chip, only_float)
    return st.tost(counts, row.margin, alpha).verdict


def _masked(row: AccuracyRow) -> Reason:
    return Reason(
        verdict="inconclusive",
        criterion="accuracy of the trained network under attack",
        perturbation=row_name(row),
        value=100 * row.float_accuracy,
        relation="at most",
        limit=100 * (row.clean_float_accuracy or 0.0),
        unit="%",
        images=row.samples,
        try_="An attack cannot help: the gradients it follows are masked, and accuracy under "
        "attack shows nothing. Judge the robustness of this network with an attack that adapts to "
        "it; “Attacks” in the documentation says what this one does.",
    )


def rows_of(found: Findings, worst: Sequence[Worst] = ()) -> list[AccuracyRow]:
    """Return the rows of a run."""
    m = found.material
    attacked = worst_case_rows(worst, found.responses, m.y, m.config, found.attacked)
    return accuracy_rows(found.responses, m.planned, m.y, m.config, found.estimators, attacked)


def clean_row(found: Findings) -> AccuracyRow:
    """Return the row of the clean images."""
    return rows_of(found)[0]


# --- judge ---------------------------------------------------------------------------------------


def accuracy_outcome(
    rows: list[AccuracyRow],
    reasons: list[Reason],
    shown: Shown | None = None,
    doubt: str = "",
    attacks: Attacks | None = None,
) -> Outcome[Accuracy]:
    """Judge whether both networks are right equally often.

    Args:
        rows: clean first.
        reasons: why not, from all rows and from the plausibility of the data.
        shown: predictions, examples and plausibility.
        doubt: why equality shows nothing, where more is known than that the accuracy is not
            believable.
        attacks: what the suite of attacks did.
    """
    shown, attacks = shown or Shown(), attacks or Attacks()
    helped = [row_name(r) for r in rows if r.attack_helps]
    equal = combine(row.tost for row in rows)
    believable = shown.plausibility is None or shown.plausibility.believable
    doubted = helped or not believable or attacks.obstacle
    verdict = combine([equal, Verdict.INCONCLUSIVE]) if doubted else equal
    worst = max(rows, key=lambda row: abs(row.difference))
    clean = rows[0]
    return Outcome(
        verdict,
        f"Clean accuracy {accuracy_text(clean.float_accuracy)} before and "
        f"{accuracy_text(clean.chip_accuracy)} after; the largest difference is "
        f"{n.points(worst.difference)} points ({row_name(worst)})."
        + (
            f" {', '.join(helped)} made the trained network more accurate than it is on clean "
            "images: its gradients are masked, and accuracy under attack shows nothing."
            if helped
            else ""
        )
        + ("" if believable else f" {doubt or _UNBELIEVED}, so that equality shows nothing.")
        + about_worst_case(rows, attacks)
        + _about_attacks([row for row in rows if row.part != WORST_CASE]),
        AccuracyFigures(
            rows=len(rows),
            established=sum(row.tost is Verdict.PASS for row in rows),
            clean_float=clean.float_accuracy,
            clean_chip=clean.chip_accuracy,
            largest_difference=worst.difference,
            masking_suspected=any(row.masking_suspected for row in rows),
            **worst_figures(rows, attacks),
        ),
        Accuracy(
            rows=rows,
            attack=WEAK.describe(),
            transfers=attacks.transfers,
            tallies=attacks.tallies,
            members=attacks.members,
            **dict(shown),
        ),
        reasons,
    )


def attacks_by_bound(rows: Sequence[AccuracyRow]) -> dict[str, str]:
    """Return what accuracies under attack are, each with the names of its attacks."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.bound_note:
            found.setdefault(row.bound_note, []).append(row.perturbation)
    return {bound: " and ".join(dict.fromkeys(names)) for bound, names in found.items()}


def _about_attacks(rows: list[AccuracyRow]) -> str:
    """Say what figures under attack do not show: robustness, and a more robust chip."""
    attacked = [row for row in rows if row.bound]
    text = "".join(
        f" Accuracy under {names} is an {bound}; stronger attacks leave less."
        for bound, names in attacks_by_bound(attacked).items()
    )
    ahead = [row_name(row) for row in attacked if row.difference > 0]
    if ahead:
        text += f" {TRANSFER} Here: {', '.join(ahead)}."
    masked = [row for row in attacked if row.masking_suspected]
    if masked:
        row = max(masked, key=lambda r: max(r.estimators.values()) - min(r.estimators.values()))
        told = {e.name: e.told for e in (*WEAK.members, WEAK.control)}
        shares = " and ".join(
            f"{accuracy_text(v)} ({told.get(k, k)})" for k, v in row.estimators.items()
        )
        text += (
            f" Gradient masking suspected: under {row_name(row)}, on "
            f"{counted(row.compared, 'image')}, the same attack leaves {shares}, which differ by "
            "McNemar's exact test. What misleads one attack may mislead all of these, so the "
            "network may be far weaker than the figures say."
        )
    return text


def _judge(found: Findings) -> Outcome[Accuracy]:
    config, labels = found.material.config, found.material.y
    worst = worst_cases_of(found.responses, found.material.worst, labels)
    rows = rows_of(found, worst)
    truth = labels[: rows[0].samples]
    right = round(rows[0].float_accuracy * len(truth))
    believable, doubts = plausibility(right, truth, found.expected, config.alpha, found.supply)
    bits = found.material.stages.options.weight_bits
    reasons = accuracy_reasons(rows, config, found.supply, bits)
    if found.not_attacked:
        reasons.append(not_attacked(found.not_attacked))
    clean = found.responses[CLEAN]
    both = np.logical_and(*clean.right(labels[: len(clean.trained)]).values())
    attacks = Attacks(
        transfers=count_transfers(worst, both),
        tallies=count_tallies(config.worst_case, found.attacked),
        members=[member.name for member in suite_of(config.worst_case.suite).members],
        suite=config.worst_case.suite if worst else None,
        obstacle=found.not_attacked,
    )
    shown = Shown(
        predictions=joint_counts(found.responses, labels, len(truth)),
        examples=found.examples,
        plausibility=believable,
    )
    doubt = unproven(right, truth, found.expected, doubts)
    return accuracy_outcome(rows, doubts + reasons, shown, doubt, attacks)


# --- show ----------------------------------------------------------------------------------------


def _facts(check: Check, result: Accuracy, silent: set[str]) -> list[Fact]:
    path = f"{check.id}.data.rows"
    return [
        *length(result.rows, "comparisons", path),
        *most_images([r.samples for r in result.rows], f"{path}.{{}}.samples"),
    ]


def _headline(check: Check, result: Accuracy) -> Fact | None:
    found = extreme((abs(r.difference), i) for i, r in enumerate(result.rows))
    if found is None:
        return None
    row = result.rows[found]
    name = row_name(row) + (f"; {row.bound_note}" if row.bound_note else "")
    return Fact(
        n.points(row.difference),
        f"largest change of accuracy ({name}){allowed(row.margin, '±', 'points')}",
        f"{check.id}.data.rows.{found}.difference",
        "points",
    )


def _clause(check: Check, result: Accuracy) -> str:
    most = max(row.samples for row in result.rows)
    return (
        "the chip network is as accurate as the trained network on clean images and under every "
        f"perturbation tested (up to {counted(most, 'image')} each, within the margins)"
    )


CHECK = CheckKind(
    id="V7",
    title="Accuracy is the same, on clean and on perturbed images",
    kind="tested",
    result=Accuracy,
    judge=_judge,
    section="accuracy",
    figures=AccuracyFigures,
    shares=("attacks",),
    tables=lambda result: {
        "attacks": attack_table(result.tallies, result.transfers, result.members)
    },
    facts=_facts,
    headline=_headline,
    lead=2,
    clause=_clause,
)
