"""The verdict of the whole verification, and one sentence that says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from spikeproof.document.values import Record
from spikeproof.verify.checks.accuracy import Accuracy
from spikeproof.verify.checks.base import Check
from spikeproof.verify.checks.bit_exact import BitExact, ExactFigures
from spikeproof.verify.verdict import Verdict, combine

ResultT = TypeVar("ResultT", bound=Record)


def overall(checks: Sequence[Check]) -> Verdict:
    """Combine all checks: any fail fails, else anything inconclusive decides."""
    return combine(c.verdict for c in checks)


MASKING = "Accuracy under attack is not to be trusted: gradient masking suspected (V7)."


def sentence(checks: Sequence[Check]) -> str:
    """Say in plain words what was found, and where a figure beside it is not to be trusted."""
    _, accuracy = _with_result(checks, Accuracy)
    return _found(checks, accuracy) + (f" {MASKING}" if accuracy.masking_suspected else "")


def _with_result(checks: Sequence[Check], kind: type[ResultT]) -> tuple[Check, ResultT]:
    return next((c, c.data) for c in checks if isinstance(c.data, kind))


def _found(checks: Sequence[Check], accuracy: Accuracy) -> str:
    verdict = overall(checks)
    if verdict is Verdict.PASS:
        most = max(row.samples for row in accuracy.rows)
        exact = _with_result(checks, BitExact)[0].figures_of(ExactFigures)
        return (
            f"The chip network is as accurate as the trained network on clean images and under "
            f"every perturbation tested (up to {most:,} images each, "
            f"within the margins), and its membranes react to perturbations equally "
            f"strongly. On {exact.samples:,} images {exact.engine} reproduces the "
            f"specification bit for bit, and no input can overflow the chip's registers."
        )
    judged = [c for c in checks if c.verdict is not Verdict.INFO]
    found = [c for c in judged if c.verdict is verdict]
    named = "; ".join(f"{c.title} ({c.id}): {c.reasons[0].brief}" for c in found)
    if verdict is Verdict.FAIL:
        return f"{len(found)} of {len(judged)} checks failed. This does not hold: {named}."
    return (
        f"Nothing failed, but {len(found)} of {len(judged)} checks could not be decided. Not yet "
        f"shown: {named}."
    )
