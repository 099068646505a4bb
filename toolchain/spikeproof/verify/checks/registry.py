"""All checks, in the order of the report. A new check is its file and a line here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spikeproof.document.shown import Fact, Table
from spikeproof.verify.checks import (
    accuracy,
    bit_exact,
    errors,
    first_difference,
    identity,
    overflow,
    records,
    relations,
    response,
    threshold,
    validity,
)
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Job, plain_figures

CHECKS: tuple[CheckKind[Any], ...] = (
    bit_exact.CHECK,
    relations.CHECK,
    first_difference.CHECK,
    errors.CHECK,
    response.CHECK,
    validity.CHECK,
    accuracy.CHECK,
    overflow.CHECK,
    threshold.CHECK,
    identity.CHECK,
    records.CHECK,
)


def jobs() -> dict[str, Job[Any]]:
    """Return the work of all checks by name, each once."""
    return {job.name: job for kind in CHECKS for job in kind.jobs}


def known(identifier: str) -> CheckKind[Any] | None:
    """Return the check with this id; None if this version has none."""
    return next((kind for kind in CHECKS if kind.id == identifier), None)


def timed() -> dict[str, tuple[str, ...]]:
    """Return by check which work its time is counted from: what no check before it has."""
    seen: set[str] = set()
    found = {}
    for kind in CHECKS:
        names = [name for name in (*(j.name for j in kind.jobs), *kind.shares) if name not in seen]
        seen.update(names)
        if names:
            found[kind.id] = tuple(names)
    return found


def judge(found: Findings) -> list[Check]:
    """Let every check judge what was measured; cheap, so it is done anew each time."""
    return [kind.check(kind.judge(found)) for kind in CHECKS]


def facts(check: Check, silent: set[str]) -> list[Fact]:
    """Return the counts behind a check; ``silent``: layers that fire no spikes."""
    kind = known(check.id)
    told = kind is not None and isinstance(check.data, kind.result)
    found = kind.facts(check, check.data, silent) if kind is not None and told else []
    return found or plain_figures(check)


def headlines(checks: Sequence[Check]) -> list[Fact]:
    """Return the numbers of the first screen, from the left."""
    kinds = sorted(CHECKS, key=lambda kind: kind.lead)
    found = [
        kind.headline(check, check.data)
        for kind in kinds
        for check in checks
        if check.id == kind.id and isinstance(check.data, kind.result)
    ]
    return [fact for fact in found if fact is not None]


def clauses(checks: Sequence[Check]) -> list[str]:
    """Return what the checks add to the sentence of a verification that passed."""
    found = [
        kind.clause(check, check.data)
        for kind in CHECKS
        for check in checks
        if check.id == kind.id and isinstance(check.data, kind.result)
    ]
    return [text for text in found if text]


def tables(checks: Sequence[Check]) -> dict[str, dict[str, Table]]:
    """Return the tables of all checks by section and name; empty where a check did not run."""
    data = {check.id: check.data for check in checks}
    found: dict[str, dict[str, Table]] = {}
    for kind in CHECKS:
        result = data.get(kind.id)
        own = kind.tables(result if isinstance(result, kind.result) else kind.result())
        found.setdefault(kind.section, {}).update(own)
    return found
