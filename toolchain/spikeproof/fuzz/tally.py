"""Add up a campaign: what each engine compared, which nasty kinds occurred, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spikeproof.engines.trace import Engine
from spikeproof.fuzz.case import Mismatch, Outcome
from spikeproof.fuzz.document import EngineTally, FailureRow
from spikeproof.fuzz.draw.nasty import KINDS, draw_case
from spikeproof.fuzz.reproduce import Failure, write_reproduction

REPRODUCTIONS = 5


@dataclass(frozen=True)
class Row:
    """One network of a campaign: what was nasty, how often it happened, what the engines did."""

    index: int
    kind: str | None
    events: int
    outcomes: dict[str, Outcome]


@dataclass
class Tally:
    """What one engine did so far."""

    compared: int = 0
    nasty: int = 0
    values: int = 0
    mismatches: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, outcome: Outcome) -> None:
        """Count one network."""
        if outcome.skipped is not None:
            self.skipped[outcome.skipped] += 1
            return
        self.compared += 1
        self.nasty += row.kind is not None
        self.values += outcome.values
        self.mismatches += outcome.mismatch is not None


@dataclass(frozen=True)
class Writer:
    """Where reproductions go, how many of one engine, and how long each may be shrunk."""

    output: Path
    most: int
    seconds: float


class Campaign:
    """Add up rows, and make a reproduction of each failure as soon as it is known."""

    def __init__(
        self, seed: int, engines: list[Engine], found: Callable[[FailureRow], None] | None = None
    ) -> None:
        """Start at nothing done; without a ``writer`` failures are only listed."""
        self.seed, self.engines, self.found = seed, engines, found
        self.writer: Writer | None = None
        self.done = 0
        self.tallies = {engine.name: Tally() for engine in engines}
        self.kinds: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self.failures: list[FailureRow] = []

    def add(self, rows: list[Row]) -> None:
        """Count a batch, then shrink and write its failures."""
        failed = []
        for row in rows:
            self.done += 1
            if row.kind is not None:
                self.kinds[row.kind].update(networks=1, events=row.events)
            for engine in self.engines:
                outcome = row.outcomes[engine.name]
                self.tallies[engine.name].add(row, outcome)
                if outcome.mismatch is not None:
                    failed.append((row, engine, outcome.mismatch))
        start = len(self.failures)
        for row, engine, mismatch in failed:  # at once: an interruption must not lose them
            entry = FailureRow(
                engine=engine.name,
                network=row.index,
                nasty=row.kind,
                kind=mismatch.kind,
                text=mismatch.text,
                divergence=mismatch.divergence,
                folder=None,
                size=None,
            )
            self.failures.append(entry)
        for place, (row, engine, mismatch) in enumerate(failed, start):
            self._reproduce(row, engine, mismatch, place)

    def _reproduce(self, row: Row, engine: Engine, mismatch: Mismatch, place: int) -> None:
        """Write the reproduction of one of the first failures of an engine."""
        written = sum(f.folder is not None for f in self.failures if f.engine == engine.name)
        if self.writer is not None and written < self.writer.most:
            failure = Failure(self.seed, draw_case(self.seed, row.index), engine, mismatch)
            for facts in write_reproduction(self.writer.output, failure, self.writer.seconds):
                self.failures[place] = self.failures[place].model_copy(update=facts)
        if self.found:
            self.found(self.failures[place])

    @property
    def engine_rows(self) -> list[EngineTally]:
        """What each engine did."""
        return [
            EngineTally(
                name=name,
                compared=tally.compared,
                nasty=tally.nasty,
                values=tally.values,
                mismatches=tally.mismatches,
                skipped=sum(tally.skipped.values()),
                reasons=dict(tally.skipped),
            )
            for name, tally in self.tallies.items()
        ]

    def verdict(self, asked: int) -> Literal["pass", "fail", "inconclusive"]:
        """Return the verdict; every network asked for must be accounted for."""
        rows = self.engine_rows
        complete = all(row.compared + row.skipped == asked for row in rows)
        compared = any(row.compared for row in rows)
        return "fail" if self.failures else "pass" if complete and compared else "inconclusive"
