"""The verdict of the whole verification, and one sentence that says it."""

from __future__ import annotations

from collections.abc import Sequence

from spikeproof.verify.checks.accuracy import Accuracy
from spikeproof.verify.checks.base import Check
from spikeproof.verify.checks.registry import clauses
from spikeproof.verify.verdict import Verdict, combine


def overall(checks: Sequence[Check]) -> Verdict:
    """Combine all checks: any fail fails, else anything inconclusive decides."""
    return combine(c.verdict for c in checks)


MASKING = "Accuracy under attack is not to be trusted: gradient masking suspected (V7)."


def sentence(checks: Sequence[Check]) -> str:
    """Say in plain words what was found, and where a figure beside it is not to be trusted."""
    masked = any(c.data.masking_suspected for c in checks if isinstance(c.data, Accuracy))
    return _found(checks) + (f" {MASKING}" if masked else "")


def _found(checks: Sequence[Check]) -> str:
    verdict = overall(checks)
    judged = [c for c in checks if c.verdict is not Verdict.INFO]
    if verdict is Verdict.PASS:
        told = "; ".join(clauses(checks)) or "every check passed"
        return f"{told[0].upper()}{told[1:]}."
    found = [c for c in judged if c.verdict is verdict]
    named = "; ".join(f"{c.title} ({c.id}): {c.reasons[0].brief}" for c in found)
    if verdict is Verdict.FAIL:
        return f"{len(found)} of {len(judged)} checks failed. This does not hold: {named}."
    return (
        f"Nothing failed, but {len(found)} of {len(judged)} checks could not be decided. Not yet "
        f"shown: {named}."
    )
