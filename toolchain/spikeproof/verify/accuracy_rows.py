"""Compare how often both networks are right, perturbation by perturbation (check V7).

In the worst case of a suite each network is attacked itself and shown what fooled the other; a
single attack is crafted on the trained network. Both networks see the same 8-bit images. Equality
is claimed by TOST against a margin; McNemar's test stands beside it.
Every row carries the clean accuracy on its own images, so that it shows what a perturbation costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spikeproof.attacks.base import Clean
from spikeproof.attacks.registry import adversarial_kinds
from spikeproof.attacks.weak import WEAK
from spikeproof.attacks.worst_case import CHIP, TRAINED, WORST_CASE
from spikeproof.document.values import Figure, Interval, Json, Number, Pair, Record, Text
from spikeproof.verify import statistics as st
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.responses import CLEAN, Responses
from spikeproof.verify.verdict import Verdict
from spikeproof.verify.worst_case import Attacked, Worst

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
    naive_accuracy: Number = None
    """Of the trained network under the naive attack that papers quote, on the same images."""

    @property
    def bound_note(self) -> str:
        """What an accuracy under attack is, and of which attack; empty for clean and noise."""
        attacked = self.perturbation.lower().startswith(adversarial_kinds())
        return self.bound or ("upper bound: weak attack" if attacked else "")


def row_name(row: AccuracyRow) -> str:
    """Name a row: ``pgd 8/255``, ``clean``."""
    return f"{row.perturbation} {row.strength:g}/255" if row.strength else CLEAN


def accuracy_rows(
    merged: Responses,
    planned: list[Perturbation],
    labels: NDArray[Any],
    config: VerifyConfig,
    estimators: Json | None = None,
    attacked: Sequence[AccuracyRow] = (),
) -> list[AccuracyRow]:
    """Return one row per perturbation, the clean images first.

    ``estimators`` tells by name of the perturbation and of the estimator which images the trained
    network gets right (list of bool). ``attacked``: rows of the worst case, which come second.
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
        row = accuracy_row(
            item.attack.name, item.strength, right["float"], right["chip"], margin, config.alpha
        )
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
    rows[1:1] = attacked
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


def worst_case_rows(
    found: Sequence[Worst],
    merged: Responses,
    labels: NDArray[np.int64],
    config: VerifyConfig,
    tried: Attacked,
) -> list[AccuracyRow]:
    """Return one row per radius: who is right whatever was found on either network."""
    suite = config.worst_case.suite
    rows = []
    for i, one in enumerate(found):
        in_float, in_chip = one.right[TRAINED], one.right[CHIP]
        row = accuracy_row(
            "worst case",
            one.epsilon,
            in_float,
            in_chip,
            config.margins.worst_case,
            config.alpha,
        )
        naive = tried[TRAINED].naive
        more = {
            **_clean_figures(merged[CLEAN].right(labels[: len(in_float)])),
            "bound": f"upper bound: {suite}",
            "part": WORST_CASE,
            "naive_accuracy": float(np.mean(naive[i])) if naive else None,
        }
        rows.append(row.model_copy(update=more))
    return rows


def accuracy_row(
    name: str,
    strength: float,
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
        perturbation=name,
        strength=strength,
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
