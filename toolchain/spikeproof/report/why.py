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
        """Lay the reasons out, value beside limit; a column nobody needs is left out."""
        columns = [
            (Head("where", "text"), [r.where for r in self.reasons]),
            (Head("criterion", "text"), [r.criterion for r in self.reasons]),
            (Head("value"), [r.measured for r in self.reasons]),
            (Head("limit", "text"), [r.allowed for r in self.reasons]),
            (Head("shown so far", "text"), [r.shown for r in self.reasons]),
            (Head("images used"), [_count(r.images) for r in self.reasons]),
            (Head("images needed"), [_count(r.images_needed, "about ") for r in self.reasons]),
        ]
        verdicts = [r.verdict for r in self.reasons]
        if set(verdicts) - {self.check.verdict}:
            columns.append((Head("verdict", "verdict"), list(verdicts)))
        used = [(head, cells) for head, cells in columns if any(cells)]
        rows = [tuple(cells[i] or n.MISSING for _, cells in used) for i in range(len(self.reasons))]
        heads = tuple(head for head, _ in used)
        return Table(f"Why {self.check.id} did not pass", heads, lines(rows))


def _count(value: int | None, before: str = "") -> str:
    return "" if value is None else f"{before}{value:,}"


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
