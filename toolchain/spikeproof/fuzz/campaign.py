"""Differential testing: random networks, every engine against the reference, at tolerance zero.

A campaign is a seed and a number of networks. Which networks these are depends on nothing else:
not on the engines, not on the workers, not on the machine.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from spikeproof.engines.trace import Engine, Progress
from spikeproof.errors import InputError
from spikeproof.fuzz.case import check_engine, run_reference
from spikeproof.fuzz.document import FailureRow, FuzzReport, KindTally
from spikeproof.fuzz.draw.nasty import count_events, draw_case
from spikeproof.fuzz.shrink.search import SECONDS
from spikeproof.fuzz.tally import REPRODUCTIONS, Campaign, Row, Writer
from spikeproof.jobs.local import children_without_ctrl_c

BATCH = 40
"""Networks drawn, run and compared together; a target with a slow start starts once for them."""


def fuzz(
    nets: int,
    seed: int,
    engines: Sequence[Engine],
    *,
    first: int = 0,
    workers: int = 1,
    output: Path | None = None,
    reproductions: int = REPRODUCTIONS,
    shrink_seconds: float = SECONDS,
    progress: Progress | None = None,
    found: Callable[[FailureRow], None] | None = None,
) -> FuzzReport:
    """Compare engines with the reference on networks ``first`` .. ``first + nets - 1``.

    Args:
        nets: how many networks, >= 1.
        seed: which campaign, >= 0.
        engines: what to compare with the reference.
        first: the first network, so that one of a campaign can be had alone.
        workers: processes; the result is the same for any number.
        output: folder for reproductions, made when needed; None writes none.
        reproductions: failures of one engine that are shrunk and written; the rest are listed.
        shrink_seconds: limit for shrinking one failure.
        progress: called with (networks done, networks in all).
        found: called with each failure once it is shrunk and written.

    An interruption (Ctrl-C) ends the campaign; what was found until then is returned.

    Raises:
        InputError: a number is out of range, or no engine was given.
    """
    _check(nets, seed, engines, first, workers)
    start = time.monotonic()
    campaign = Campaign(seed, list(engines), found)
    if output is not None:
        campaign.writer = Writer(output, reproductions, shrink_seconds)
    interrupted = False
    try:
        with contextlib.closing(_rows(seed, range(first, first + nets), engines, workers)) as rows:
            for batch in rows:
                campaign.add(batch)
                if progress:
                    progress(campaign.done, nets)
    except KeyboardInterrupt:
        interrupted = True
    return FuzzReport(
        seed=seed,
        first=first,
        asked=nets,
        interrupted=interrupted,
        verdict=campaign.verdict(nets),
        done=campaign.done,
        nasty=sum(c["networks"] for c in campaign.kinds.values()),
        engines=campaign.engine_rows,
        kinds={
            kind: KindTally(networks=c["networks"], events=c["events"])
            for kind, c in campaign.kinds.items()
        },
        failures=campaign.failures,
        seconds=round(time.monotonic() - start, 3),
    )


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
