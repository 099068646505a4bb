"""V16: every item of work asked for is in the journal, whole; read again from the disk."""

from __future__ import annotations

from spikeproof.document.values import Record
from spikeproof.jobs.journal import Audit
from spikeproof.reasons import Reason
from spikeproof.verify.checks.base import CheckKind, Findings, Nothing, Outcome
from spikeproof.verify.verdict import Verdict


class Recorded(Record):
    """Items of work asked for, and those whose record is whole."""

    items: int
    recorded: int


def records_outcome(audit: Audit) -> Outcome[Nothing]:
    """Compare how many items were asked for with how many are recorded."""
    whole = audit.recorded == audit.asked > 0
    return Outcome(
        Verdict.PASS if whole else Verdict.FAIL,
        f"{audit.recorded:,} of {audit.asked:,} pieces of work are in the journal, each with the "
        "hash it was recorded under.",
        Recorded(items=audit.asked, recorded=audit.recorded),
        Nothing(),
        [] if whole else [_lost(audit)],
    )


def _lost(audit: Audit) -> Reason:
    return Reason(
        verdict="fail",
        criterion="items of work whose record is whole",
        value=audit.recorded,
        relation="exactly",
        limit=max(audit.asked, 1),
        try_="Run the same command again in a fresh folder (-o). If records are damaged again, "
        "check the disk, and whether something else writes into the folder.",
    )


def _judge(found: Findings) -> Outcome[Nothing]:
    return records_outcome(found.audit)


CHECK = CheckKind(
    id="V16",
    title="No result was lost or altered",
    kind="tested",
    result=Nothing,
    judge=_judge,
    section="provenance",
    figures=Recorded,
)
