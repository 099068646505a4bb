"""Collect what the terminal, the page and the card say about checks that did not pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spikeproof.document import numbers as n
from spikeproof.document.shown import Head, Table, lines
from spikeproof.reasons import ALTERNATIVE, HELP_PAGE, Reason, Request, request_text, worst_first
from spikeproof.verify.checks.base import Check

MOST_LINES = 3
_FAR = 10
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
            (Head("images needed"), [_needed(r) for r in self.reasons]),
        ]
        verdicts: list[str] = [r.verdict for r in self.reasons]
        if set(verdicts) - {str(self.check.verdict)}:
            columns.append((Head("verdict", "verdict"), list(verdicts)))
        used = [(head, cells) for head, cells in columns if any(cells)]
        rows = [tuple(cells[i] or n.MISSING for _, cells in used) for i in range(len(self.reasons))]
        heads = tuple(head for head, _ in used)
        return Table(f"Why {self.check.id} did not pass", heads, lines(rows))


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _needed(reason: Reason) -> str:
    if reason.images_needed is None:
        return ""
    return f"about {reason.images_needed:,}" + (", to fail" if reason.would == "fail" else "")


def explain(checks: Sequence[Check], most: int = MOST_LINES) -> list[Explained]:
    """Explain every check that failed or is inconclusive, failures first."""
    judged = [c for c in checks if c.verdict in ("fail", "inconclusive")]
    asked = [request for check in judged for request in _requests(check.reasons)]
    return [
        explain_check(c, most, asked) for c in sorted(judged, key=lambda c: c.verdict != "fail")
    ]


def explain_check(check: Check, most: int = MOST_LINES, asked: Sequence[Request] = ()) -> Explained:
    """Explain one check by at most ``most`` of its reasons, the worst first.

    ``asked``: the images that all checks ask for; a run has each setting once.
    """
    ordered = _each_kind_first(worst_first(check.reasons))
    shown = tuple(ordered[:most])
    rest = len(ordered) - len(shown)
    return Explained(check, shown, rest, _advice(ordered, len(shown), asked))


def _kind(reason: Reason) -> str:
    """Return the perturbation without its strength: its images are set by one setting."""
    return (reason.perturbation or "").partition(" ")[0]


def _each_kind_first(reasons: Sequence[Reason]) -> list[Reason]:
    """Put the first undecided reason of every kind of perturbation before the others.

    Each kind has its own number of images, and all that are advised are then among those shown.
    """
    failed = [r for r in reasons if r.verdict == "fail"]
    undecided = [r for r in reasons if r.verdict != "fail"]
    first = {id(r) for r in {_kind(r): r for r in reversed(undecided)}.values()}
    return failed + sorted(undecided, key=lambda r: id(r) not in first)


def _requests(reasons: Sequence[Reason]) -> list[Request]:
    """Return the images a check asks for.

    None where something has failed, or more of them would show a failure: no number mends that.
    """
    lost = any(r.verdict == "fail" or r.would == "fail" for r in reasons)
    return [r.request for r in reasons if r.request is not None and not lost]


def _is_far(request: Request) -> bool:
    return request.needed > _FAR * request.given


def _with_others(own: list[Request], asked: Sequence[Request]) -> list[Request]:
    """Return the requests of a check and those of others that one run should meet as well.

    Of a setting it names, the largest of all; of other settings, what is within reach.
    """
    parts = {request.part for request in own}
    return [*own, *(r for r in asked if own and (r.part in parts or not _is_far(r)))]


def _advice(reasons: Sequence[Reason], shown: int, asked: Sequence[Request]) -> tuple[str, ...]:
    """Return each piece of advice once, and all images that are asked for in one.

    What takes ten times the images at hand stands last. ``shown``: how many of the reasons are
    listed; images are asked for all of them at once, and for those of other checks (``asked``).
    """
    requests = _with_others(_requests(reasons), asked)
    merged = [request_text(requests)] if requests else []
    rest = []
    for reason in reasons[:shown]:
        rest.append(
            reason
            if reason.request is None
            else reason.model_copy(update={"try_": reason.try_.partition(ALTERNATIVE)[2]})
        )
    others = _without_requests(rest)
    far = any(map(_is_far, requests))
    return tuple(dict.fromkeys([*others, *merged] if far else [*merged, *others]))


def _without_requests(reasons: Sequence[Reason]) -> list[str]:
    """Return advice as text; of a kind's numbers of images only the largest (older reports)."""
    counted: set[str] = set()
    kept = []
    for reason in reasons:
        by_images = math.isfinite(reason.decided_by)
        if not (by_images and _kind(reason) in counted):
            kept.append(reason.try_)
        if by_images and reason.request is None:
            counted.add(_kind(reason))
    return [text for text in kept if text]
