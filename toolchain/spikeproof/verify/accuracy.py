"""Judge whether both networks are right equally often, clean and perturbed (V7, subset).

Adversarial examples are crafted on the trained network and shown to both networks as the same
8-bit images. Equality is claimed by TOST against a margin; McNemar's test stands beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.verify import statistics as st
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.responses import CLEAN

Json = dict[str, Any]
ATTACKS = ("fgsm", "pgd")


def accuracy_rows(
    merged: Json, planned: list[Perturbation], labels: NDArray[Any], config: VerifyConfig
) -> list[Json]:
    """Return one row per perturbation, the clean images first."""
    shown = min(config.samples.accuracy, len(merged[CLEAN]["float"]))
    clean = Perturbation(CLEAN, 0, shown)
    rows = []
    for item in [clean, *planned]:
        part = merged[CLEAN if item is clean else item.name]
        # Perturbations may use more clean runs than the clean row is to have images.
        count = shown if item is clean else len(part["float"])
        truth = labels[:count]
        right = {k: np.asarray(part[k][:count]) == truth for k in ("float", "chip")}
        margin = float(getattr(config.margins, item.kind))
        row = accuracy_row(item, right["float"], right["chip"], margin, config.alpha)
        unharmed = np.asarray(merged[CLEAN]["float"][: len(truth)]) == truth
        row["attack_helps"] = item.kind in ATTACKS and attack_helps(
            unharmed[: len(right["float"])], right["float"][: len(unharmed)], config.alpha
        )
        rows.append(row)
    adjusted = st.holm([row["mcnemar_p"] for row in rows])
    return [{**row, "mcnemar_p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


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
) -> Json:
    """Compare who is right where; the difference is chip minus float."""
    counts = st.paired_counts(in_chip, in_float)
    judged = st.tost(counts, margin, alpha)
    total = counts.pairs
    return {
        "perturbation": item.row,
        "strength": item.strength,
        "samples": total,
        "float_accuracy": float(in_float.mean()),
        "chip_accuracy": float(in_chip.mean()),
        "difference": judged.difference,
        "ci": list(judged.interval),
        "margin": margin,
        "tost": str(judged.verdict),
        "tost_p": judged.p_value,
        "mcnemar_p": st.mcnemar_exact(counts),
        "only_float": counts.only_second,
        "only_chip": counts.only_first,
        "float_ci": list(st.wilson_interval(int(in_float.sum()), total)),
        "chip_ci": list(st.wilson_interval(int(in_chip.sum()), total)),
    }
