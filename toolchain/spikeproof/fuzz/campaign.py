"""Differential testing: random networks, every engine against the reference, at tolerance zero.

A campaign is a seed and a number of networks. Which networks these are depends on nothing else:
not on the engines, not on the workers, not on the machine.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spikeproof.engines.trace import Engine, Progress
from spikeproof.errors import InputError
from spikeproof.fuzz.case import Mismatch, Outcome, check_engine, run_reference
from spikeproof.fuzz.document import EngineTally, FailureRow, FuzzReport, KindTally
from spikeproof.fuzz.draw.nasty import KINDS, count_events, draw_case
from spikeproof.fuzz.reproduce import Failure, write_reproduction
from spikeproof.fuzz.shrink.search import SECONDS
from spikeproof.jobs.local import children_without_ctrl_c

BATCH = 40
"""Networks drawn, run and compared together; a target with a slow start starts once for them."""
Found = Callable[[FailureRow], None]


@dataclass(frozen=True)
class Row:
    """One network of a campaign: what was nasty, how often it happened, what the engines did."""

    index: int
    kind: str | None
    events: int
    outcomes: dict[str, Outcome]


@dataclass(frozen=True)
class Writer:
    """Where reproductions go (a folder, made when needed), how many, and how they are shrunk.

    most: failures of one engine that are shrunk and written; the rest are listed. seconds: limit
    for shrinking one failure.
    """

    output: Path
    most: int = 5
    seconds: float = SECONDS


def fuzz(
    nets: int,
    seed: int,
    engines: Sequence[Engine],
    *,
    first: int = 0,
    workers: int = 1,
    writer: Writer | None = None,
    progress: Progress | None = None,
    found: Found | None = None,
) -> FuzzReport:
    """Compare engines with the reference on networks ``first`` .. ``first + nets - 1``.

    Args:
        nets: how many networks, >= 1.
        seed: which campaign, >= 0.
        engines: what to compare with the reference.
        first: the first network, so that one of a campaign can be had alone.
        workers: processes; the result is the same for any number.
        writer: where and how reproductions are written; None: failures are only listed.
        progress: called with (networks done, networks in all).
        found: called with each failure once it is shrunk and written.

    An interruption (Ctrl-C) ends the campaign; what was found until then is returned.

    Raises:
        InputError: a number is out of range, or no engine was given.
    """
    _check(nets, seed, engines, first, workers)
    start = time.monotonic()
    campaign = _Campaign(seed, engines, writer, found)
    interrupted = False
    try:
        with contextlib.closing(_rows(seed, range(first, first + nets), engines, workers)) as rows:
            for batch in rows:
                campaign.add(batch)
                if progress:
                    progress(len(campaign.rows), nets)
    except KeyboardInterrupt:
        interrupted = True
    tallies = [_engine_tally(engine.name, campaign.rows) for engine in engines]
    # Every network asked for must be accounted for.
    complete = all(row.compared + row.skipped == nets for row in tallies)
    passed = complete and any(row.compared for row in tallies)
    return FuzzReport(
        seed=seed,
        first=first,
        asked=nets,
        interrupted=interrupted,
        verdict="fail" if campaign.failures else "pass" if passed else "inconclusive",
        done=len(campaign.rows),
        nasty=sum(row.kind is not None for row in campaign.rows),
        engines=tallies,
        kinds={kind: _kind_tally(kind, campaign.rows) for kind in KINDS},
        failures=campaign.failures,
        seconds=round(time.monotonic() - start, 3),
    )


class _Campaign:
    """Collect rows, and make a reproduction of each failure as soon as it is known."""

    def __init__(
        self, seed: int, engines: Sequence[Engine], writer: Writer | None, found: Found | None
    ) -> None:
        self.seed, self.engines, self.writer, self.found = seed, engines, writer, found
        self.rows: list[Row] = []
        self.failures: list[FailureRow] = []

    def add(self, rows: list[Row]) -> None:
        """Keep a batch, then shrink and write its failures."""
        self.rows += rows
        start = len(self.failures)
        failed = [
            (row, engine, mismatch)
            for row in rows
            for engine in self.engines
            if (mismatch := row.outcomes[engine.name].mismatch) is not None
        ]
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


def _engine_tally(name: str, rows: list[Row]) -> EngineTally:
    ran = [row for row in rows if row.outcomes[name].skipped is None]
    outcomes = [row.outcomes[name] for row in ran]
    reasons = [reason for row in rows if (reason := row.outcomes[name].skipped) is not None]
    return EngineTally(
        name=name,
        compared=len(ran),
        nasty=sum(row.kind is not None for row in ran),
        values=sum(outcome.values for outcome in outcomes),
        mismatches=sum(outcome.mismatch is not None for outcome in outcomes),
        skipped=len(reasons),
        reasons=dict(Counter(reasons)),
    )


def _kind_tally(kind: str, rows: list[Row]) -> KindTally:
    events = [row.events for row in rows if row.kind == kind]
    return KindTally(networks=len(events), events=sum(events))


def _check(nets: int, seed: int, engines: Sequence[Engine], first: int, workers: int) -> None:
    limits = (("nets", nets, 1), ("seed", seed, 0), ("first", first, 0), ("workers", workers, 1))
    for name, value, least in limits:
        if value < least:
            raise InputError(f"is {value}, must be at least {least}", where=f"fuzz: {name}")
    names = [engine.name for engine in engines]
    if not names or len(set(names)) < len(names):
        raise InputError(f"needs engines of different names, found {names}", where="fuzz")


def _rows(
    seed: int, indices: range, engines: Sequence[Engine], workers: int
) -> Generator[list[Row], None, None]:
    """Run the campaign in batches, in order, in this process or in several."""
    batches = [indices[i : i + BATCH] for i in range(0, len(indices), BATCH)]
    if workers == 1:
        yield from (run_batch(seed, batch, engines) for batch in batches)
        return
    import joblib

    jobs = (joblib.delayed(run_batch)(seed, batch, engines) for batch in batches)
    with children_without_ctrl_c():
        results = joblib.Parallel(n_jobs=workers, return_as="generator")(jobs)
    yield from results


def run_batch(seed: int, indices: Sequence[int], engines: Sequence[Engine]) -> list[Row]:
    """Draw some networks of a campaign and compare all engines on them."""
    cases = [draw_case(seed, index) for index in indices]
    tasks = [(case.network, case.x) for case in cases]
    expected = [run_reference(task) for task in tasks]
    outcomes = {engine.name: check_engine(engine, tasks, expected) for engine in engines}
    return [
        Row(
            case.index,
            case.kind,
            count_events(case, expected[i].traces or {}),
            {name: found[i] for name, found in outcomes.items()},
        )
        for i, case in enumerate(cases)
    ]
