"""V15: what was verified is what the hashes say; checked before anything ran."""

from __future__ import annotations

from spikeproof.document.values import Record, Text
from spikeproof.verify.checks.base import CheckKind, Findings, Nothing, Outcome
from spikeproof.verify.verdict import Verdict


class Hashes(Record):
    """What was verified, and on what; the calibration images where they are known."""

    bundle_hash: Text
    calibration_hash: Text | None = None
    checkpoint_hash: Text
    data_hash: Text


def identity_outcome(hashes: dict[str, str]) -> Outcome[Nothing]:
    """Record the hashes: other files stop a verification before anything runs."""
    return Outcome(
        Verdict.PASS,
        "The bundle has the content its hash says and was made from this checkpoint.",
        Hashes.model_validate(hashes),
        Nothing(),
    )


def _judge(found: Findings) -> Outcome[Nothing]:
    return identity_outcome(found.hashes)


CHECK = CheckKind(
    id="V15",
    title="The files are the ones named here",
    kind="tested",
    result=Nothing,
    judge=_judge,
    section="provenance",
    figures=Hashes,
)
