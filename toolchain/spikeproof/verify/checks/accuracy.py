"""V7: both networks are right equally often, on clean and on perturbed images.

Adversarial examples are crafted on the trained network and shown to both networks as the same
8-bit images. Equality is claimed by TOST against a margin; McNemar's test stands beside it.
Every row carries the clean accuracy on its own images, so that it shows what a perturbation costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spikeproof.attacks.base import Clean
from spikeproof.attacks.registry import adversarial_kinds
from spikeproof.attacks.weak import TRANSFER, WEAK
from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, allowed, extreme, length, most_images
from spikeproof.document.values import (
    Anything,
    Figure,
    Interval,
    Json,
    Number,
    Pair,
    Record,
    Text,
)
from spikeproof.reasons import Reason
from spikeproof.text import accuracy_text, counted
from spikeproof.verify import statistics as st
from spikeproof.verify.advice import Supply, image_request, images_needed, more_images
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Outcome
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.examples import Example, Prediction, joint_counts
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.plausible import Plausibility, plausibility
from spikeproof.verify.responses import CLEAN, Responses
from spikeproof.verify.verdict import Verdict, combine

MASKED = 0.05
"""Estimators whose accuracies differ by more than this, and not by chance, mislead one another."""


class AccuracyRow(Record):
    """Accuracy before and after under one perturbation; shares in 0..1.

    What reports of version 0.1 lack has a default.
    """

    perturbation: Text
    strength: Figure
    samples: int
    float_accuracy: Figure
    chip_accuracy: Figure
    difference: Figure
    """Chip minus trained."""
    ci: Interval
    margin: Figure
    tost: Verdict
    tost_p: Number = None
    mcnemar_p: Figure
    mcnemar_p_holm: Number = None
    only_float: int
    """Images that only the trained network gets right."""
    only_chip: int
    float_ci: Interval
    chip_ci: Interval
    clean_float_accuracy: Number = None
    """On this row's own images."""
    clean_chip_accuracy: Number = None
    clean_float_ci: Pair = None
    clean_chip_ci: Pair = None
    bound: Text = ""
    """What an accuracy under attack is, and of which attack; empty for clean and noise."""
    attack_helps: bool = False
    estimators: dict[str, Figure] = Field(default_factory=dict)
    """Accuracy of the trained network by name of the gradient estimator."""
    compared: int = 0
    """Images the estimators are compared on."""
    masking_suspected: bool = False
    part: Text = ""
    """The setting of the suite that gives the number of images."""

    @property
    def bound_note(self) -> str:
        """What an accuracy under attack is, and of which attack; empty for clean and noise."""
        attacked = self.perturbation.lower().startswith(adversarial_kinds())
        return self.bound or ("upper bound: weak attack" if attacked else "")


class Shown(Record):
    """What stands beside the rows: answers on clean images, examples, whether to believe it."""

    predictions: list[Prediction] = Field(default_factory=list)
    examples: list[Example] = Field(default_factory=list)
    plausibility: Plausibility | None = None


class Accuracy(Shown):
    """All perturbations and strengths."""

    rows: list[AccuracyRow] = Field(default_factory=list)
    attack: Anything = None

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


# --- measure -------------------------------------------------------------------------------------


def accuracy_rows(
    merged: Responses,
    planned: list[Perturbation],
    labels: NDArray[Any],
    config: VerifyConfig,
    estimators: Json | None = None,
) -> list[AccuracyRow]:
    """Return one row per perturbation, the clean images first.

    ``estimators`` tells by name of the perturbation and of the estimator which images the trained
    network gets right (list of bool).
    """
    shown = min(config.samples.accuracy, len(merged[CLEAN].trained))
    clean = Perturbation(Clean(), shown)
    rows = []
    for item in [clean, *planned]:
        part = merged[CLEAN if item is clean else item.name]
        # Perturbations may use more clean runs than the clean row is to have images.
        count = shown if item is clean else len(part.trained)
        truth = labels[:count]
        right, before = part.right(truth), merged[CLEAN].right(truth)
        margin = float(getattr(config.margins, item.kind))
        row = accuracy_row(item, right["float"], right["chip"], margin, config.alpha)
        helps = item.attack.adversarial and attack_helps(
            before["float"], right["float"], config.alpha
        )
        tried = (estimators or {}).get(item.name, {})
        more = {
            **_clean_figures(before),
            "bound": WEAK.bound_of(item.attack),
            "attack_helps": helps,
            "estimators": {name: float(np.mean(values)) for name, values in tried.items()},
            "compared": max((len(values) for values in tried.values()), default=0),
            "masking_suspected": _disagree(tried, config.alpha),
            "part": "accuracy" if item is clean else item.kind,
        }
        rows.append(row.model_copy(update=more))
    adjusted = st.holm([row.mcnemar_p for row in rows])
    return [
        row.model_copy(update={"mcnemar_p_holm": p}) for row, p in zip(rows, adjusted, strict=True)
    ]


def _clean_figures(right: dict[str, NDArray[np.bool_]]) -> Json:
    """Return the clean accuracy of both networks on a row's own images, with intervals."""
    figures: Json = {}
    for name, values in right.items():
        figures[f"clean_{name}_accuracy"] = float(values.mean())
        interval = st.wilson_interval(int(values.sum()), len(values))
        figures[f"clean_{name}_ci"] = interval
    return figures


def _disagree(tried: dict[str, list[bool]], alpha: float) -> bool:
    """Tell whether two estimators differ by more than :data:`MASKED`, and beyond chance.

    They attack the same images, so McNemar's exact test of the pairs is the test for it.
    """
    for first, second in combinations([np.asarray(v, bool) for v in tried.values()], 2):
        counts = st.paired_counts(first, second)
        apart = round(abs(counts.difference), 9) > MASKED
        if apart and st.mcnemar_exact(counts) <= alpha:
            return True
    return False


def attack_helps(clean: NDArray[np.bool_], attacked: NDArray[np.bool_], alpha: float) -> bool:
    """Tell whether an attack left the network right more often than no attack at all.

    No honest attack can do that beyond chance: the gradients it follows are masked.
    """
    counts = st.paired_counts(attacked, clean)
    return bool(attacked.sum() > clean.sum() and st.mcnemar_exact(counts) <= alpha)


def accuracy_row(
    item: Perturbation,
    in_float: NDArray[np.bool_],
    in_chip: NDArray[np.bool_],
    margin: float,
    alpha: float,
) -> AccuracyRow:
    """Compare who is right where; the difference is chip minus float."""
    counts = st.paired_counts(in_chip, in_float)
    judged = st.tost(counts, margin, alpha)
    total = counts.pairs
    return AccuracyRow(
        perturbation=item.attack.name,
        strength=item.strength,
        samples=total,
        float_accuracy=float(in_float.mean()),
        chip_accuracy=float(in_chip.mean()),
        difference=judged.difference,
        ci=judged.interval,
        margin=margin,
        tost=judged.verdict,
        tost_p=judged.p_value,
        mcnemar_p=st.mcnemar_exact(counts),
        only_float=counts.only_second,
        only_chip=counts.only_first,
        float_ci=st.wilson_interval(int(in_float.sum()), total),
        chip_ci=st.wilson_interval(int(in_chip.sum()), total),
    )


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
        "it; docs/attacks.md says what this one does.",
    )


def row_name(row: AccuracyRow) -> str:
    """Name a row: ``pgd 8/255``, ``clean``."""
    return f"{row.perturbation} {row.strength:g}/255" if row.strength else CLEAN


def rows_of(found: Findings) -> list[AccuracyRow]:
    """Return the rows of a run."""
    m = found.material
    return accuracy_rows(found.responses, m.planned, m.y, m.config, found.estimators)


def clean_row(found: Findings) -> AccuracyRow:
    """Return the row of the clean images."""
    return rows_of(found)[0]


# --- judge ---------------------------------------------------------------------------------------


def accuracy_outcome(
    rows: list[AccuracyRow], reasons: list[Reason], shown: Shown | None = None
) -> Outcome[Accuracy]:
    """Judge whether both networks are right equally often.

    Args:
        rows: clean first.
        reasons: why not, from all rows and from the plausibility of the data.
        shown: predictions, examples and plausibility.
    """
    shown = shown or Shown()
    helped = [row_name(r) for r in rows if r.attack_helps]
    equal = combine(row.tost for row in rows)
    believable = shown.plausibility is None or shown.plausibility.believable
    doubted = helped or not believable
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
        + (
            ""
            if believable
            else " The trained network's own accuracy is not believable on these "
            "images and labels, so that equality shows nothing."
        )
        + _about_attacks(rows),
        AccuracyFigures(
            rows=len(rows),
            established=sum(row.tost is Verdict.PASS for row in rows),
            clean_float=clean.float_accuracy,
            clean_chip=clean.chip_accuracy,
            largest_difference=worst.difference,
            masking_suspected=any(row.masking_suspected for row in rows),
        ),
        Accuracy(rows=rows, attack=WEAK.describe(), **dict(shown)),
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
    rows = rows_of(found)
    truth = labels[: rows[0].samples]
    right = round(rows[0].float_accuracy * len(truth))
    believable, doubts = plausibility(right, truth, found.expected, config.alpha, found.supply)
    bits = found.material.stages.options.weight_bits
    reasons = accuracy_reasons(rows, config, found.supply, bits)
    shown = Shown(
        predictions=joint_counts(found.responses, labels, len(truth)),
        examples=found.examples,
        plausibility=believable,
    )
    return accuracy_outcome(rows, doubts + reasons, shown)


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
    facts=_facts,
    headline=_headline,
    lead=2,
    clause=_clause,
)
