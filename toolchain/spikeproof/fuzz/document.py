"""The report of a campaign as one typed document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spikeproof.document.values import Json, Record, Text, dump
from spikeproof.verify.first_difference import FirstDifference

SCHEMA = 1


class EngineTally(Record):
    """What one engine did: values compared, networks that differ, why some were skipped."""

    name: Text
    compared: int
    nasty: int
    values: int
    mismatches: int
    skipped: int
    reasons: dict[Text, int]


class KindTally(Record):
    """One kind of nastiness: in how many networks, and how often it happened."""

    networks: int
    events: int


class FailureRow(Record):
    """One network on which an engine differs, and where it can be seen again."""

    engine: Text
    network: int
    nasty: Text | None
    kind: Text
    text: Text
    divergence: FirstDifference | None
    folder: Text | None
    """Of the reproduction, if one was written."""
    size: dict[Text, int] | None
    shrunk: bool | None = None
    """Whether it was shrunk as far as it goes."""


class FuzzReport(Record):
    """What a campaign asked for, did and found."""

    seed: int
    first: int
    asked: int
    interrupted: bool
    verdict: Literal["pass", "fail", "inconclusive"]
    done: int
    nasty: int
    engines: list[EngineTally]
    kinds: dict[Text, KindTally]
    failures: list[FailureRow]
    seconds: float
    absent: dict[Text, Text] = Field(default_factory=dict)
    """Engines that were left out, and why."""

    @property
    def json_document(self) -> Json:
        """Return the report as plain JSON."""
        return {"schema": SCHEMA, **dump(self)}
