"""Collect what the terminal, the page and the card say about checks that did not pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spikeproof.reasons import HELP_PAGE, Reason, worst_first
from spikeproof.report import numbers as n
from spikeproof.report.model import Check
from spikeproof.report.tables import Head, Table, lines

MOST_LINES = 3
HELP = f"Usual causes of every check: “{HELP_PAGE}” in the documentation."


@dataclass(frozen=True)
class Explained:
    """One check that did not pass: its worst reasons, how many more there are, what to try."""

    check: Check
    reasons: tuple[Reason, ...]
    more: int
    advice: tuple[str, ...]

    @property
    def rest(self) -> str:
        """Say how many reasons are not listed."""
        return f"and {self.more:,} more like these" if self.more else ""

    @property
    def table(self) -> Table:
        """Lay the reasons out: place, criterion, value beside limit, images used and needed."""
        head = (
            Head("where", "text"), Head("criterion", "text"), Head("value"), Head("limit", "text"),
            Head("shown so far", "text"), Head("images used"), Head("images needed"),
            Head("verdict", "verdict"),
        )  # fmt: skip
        rows = [
            (
                r.where or n.MISSING, r.criterion, r.measured or n.MISSING, r.allowed or n.MISSING,
                r.shown or n.MISSING, n.integer(r.images), _needed(r), r.verdict,
            )
            for r in self.reasons
        ]  # fmt: skip
        return Table(f"Why {self.check.id} did not pass", head, lines(rows))


def _needed(reason: Reason) -> str:
    return n.MISSING if reason.images_needed is None else f"about {reason.images_needed:,}"


def explain(checks: Sequence[Check], most: int = MOST_LINES) -> list[Explained]:
    """Explain every check that failed or is inconclusive, failures first."""
    judged = [c for c in checks if c.verdict in ("fail", "inconclusive")]
    return [explain_check(c, most) for c in sorted(judged, key=lambda c: c.verdict != "fail")]


def explain_check(check: Check, most: int = MOST_LINES) -> Explained:
    """Explain one check by at most ``most`` of its reasons, the worst first."""
    ordered = worst_first(check.reasons)
    shown = tuple(ordered[:most])
    return Explained(check, shown, len(ordered) - len(shown), _advice(ordered, shown))


def _advice(reasons: Sequence[Reason], shown: Sequence[Reason]) -> tuple[str, ...]:
    """Return each piece of advice once; of several numbers of images only the largest."""
    hungry = [r for r in reasons if r.images_needed is not None]
    largest = max(hungry, key=lambda r: r.images_needed or 0, default=None)
    kept = [r.try_ for r in shown if r.images_needed is None]
    if largest is not None:
        kept.append(largest.try_)
    return tuple(dict.fromkeys(text for text in kept if text))
