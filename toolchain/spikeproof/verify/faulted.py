"""Strike both networks with the same faults, seed by seed: what each still gets right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikeproof.document.values import Interval, Json, Record, Text, dump
from spikeproof.engines.trace import Progress
from spikeproof.errors import InputError
from spikeproof.faults.base import Fault, IllegalFaultError, Images, Labels, Pair
from spikeproof.faults.registry import FAULTS
from spikeproof.faults.run import chip_predictions, trained_predictions
from spikeproof.io.files import canonical_json, write_atomic
from spikeproof.io.marks import GENERATOR
from spikeproof.jobs.items import Item
from spikeproof.jobs.journal import Journal
from spikeproof.jobs.origin import code_identity
from spikeproof.jobs.pool import Pool
from spikeproof.jobs.runner import Runner
from spikeproof.jobs.threads import inner_threads
from spikeproof.verify.given import data_hash
from spikeproof.verify.statistics import crossed_interval

Bools = NDArray[np.bool_]
NONE = "none"
"""The kind of the row without a fault."""


class Struck(Record):
    """What both networks get right under one kind of fault at one rate; shares are 0..1."""

    kind: Text
    rate: float
    shown: Text
    """The rate with its unit."""
    draws: int
    """Seeds that gave a legal network: means are over these. 0: none did."""
    trained: float | None
    """Accuracy of the trained network, mean over the draws."""
    chip: float | None
    trained_range: Interval | None
    """Least and largest accuracy of a draw."""
    chip_range: Interval | None
    difference: float | None
    """Chip less trained, both with the same fault."""
    interval: Interval | None
    """Of the difference, 95 %, over draws and images."""
    refused: list[Text]
    """Why the other seeds gave no legal network, each reason once."""


class FaultsDocument(Record):
    """What ``spikeproof faults --json`` prints and ``-o`` writes."""

    schema_version: ClassVar[int] = 1

    network: Text
    bundle: Text
    """Content hash."""
    checkpoint: Text
    """Content hash."""
    samples: int
    seeds: int
    clean: Struck
    faults: list[Struck]


@dataclass(frozen=True, eq=False)
class _Shared:
    pair: Pair
    x: Images
    y: Labels


def strike_networks(
    pair: Pair,
    faults: Sequence[Fault],
    seeds: int,
    x: Images,
    y: Labels,
    *,
    pool: Pool,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> tuple[Struck, list[Struck]]:
    """Return what both networks get right without a fault, and under each.

    It does not depend on workers, nor on interruptions.

    Args:
        pair: the trained and the chip network.
        faults: kinds at rates, each once.
        seeds: how many draws of each, 1 or more.
        x: uint8 images (N, C, H, W).
        y: labels (N,).
        pool: where draws are run.
        journal: makes it resumable; its base is :func:`faults_base`.
        progress: called with (runs done, runs in all).
    """
    drawn = [(fault, seed) for fault in faults for seed in range(seeds)]
    items = [Item("no fault", _run_clean)]
    items += [
        Item(f"{one.kind} {one.rate!r} seed {seed}", _run_fault, (one.kind, one.rate, seed))
        for one, seed in drawn
    ]
    runner = Runner(pool, journal, len(items), progress)
    clean, *results = runner.do(items, _Shared(pair, x, y))
    found = [results[k : k + seeds] for k in range(0, len(results), seeds)]
    return _struck(NONE, 0.0, NONE, [clean]), [
        _struck(one.kind, one.rate, one.text, part) for one, part in zip(faults, found, strict=True)
    ]


def faults_base(hashes: dict[str, str], x: Images, y: Labels) -> Json:
    """Return what the results of every draw depend on; ``hashes``: of bundle and checkpoint."""
    return {**hashes, "data": data_hash(x, y), "samples": len(x), "code": code_identity()}


def faults_of(kinds: Sequence[str], rates: Sequence[float]) -> list[Fault]:
    """Return kinds by name, each at these rates, or at its own where none is given.

    Raises:
        InputError: no such kind; a rate that is none of a kind.
    """
    found = [(FAULTS.get(kind), kind) for kind in dict.fromkeys(kinds)]
    if not found:
        raise InputError(
            "names no fault", where="--kind", hint=f"There are {', '.join(FAULTS.names())}."
        )
    return [made(rate) for made, _ in found for rate in dict.fromkeys(rates or made.rates)]


def write_faults(path: Path, document: FaultsDocument) -> None:
    """Write the document as JSON."""
    held = {"schema": document.schema_version, "generator": GENERATOR, **dump(document)}
    write_atomic(path, canonical_json(held))


def _run_clean(shared: _Shared) -> Json:
    with inner_threads(1):  # the last bit of a sum may depend on them
        return _right(
            shared.y,
            trained_predictions(shared.pair.trained, shared.x),
            chip_predictions(shared.pair.chip, shared.x),
        )


def _run_fault(shared: _Shared, kind: str, rate: float, seed: int) -> Json:
    with inner_threads(1):
        try:
            found = FAULTS.get(kind)(rate).applied(shared.pair, seed, shared.x, shared.y)
        except IllegalFaultError as error:
            return {"refused": error.what}
        return _right(
            shared.y,
            trained_predictions(found.trained, shared.x, found.channels),
            chip_predictions(found.chip, shared.x, found.channels),
        )


def _right(y: Labels, trained: Labels, chip: Labels) -> Json:
    """Tell image by image who is right, 0 or 1."""
    return {
        "trained": (trained == y).astype(int).tolist(),
        "chip": (chip == y).astype(int).tolist(),
    }


def _struck(kind: str, rate: float, shown: str, results: Sequence[Json]) -> Struck:
    run = [one for one in results if "refused" not in one]
    refused = dict.fromkeys(one["refused"] for one in results if "refused" in one)
    told: dict[str, Any] = dict.fromkeys(
        ("trained", "chip", "trained_range", "chip_range", "difference", "interval")
    )
    if run:
        trained, chip = (np.array([one[key] for one in run], bool) for key in ("trained", "chip"))
        told = {
            "trained": float(trained.mean()),
            "chip": float(chip.mean()),
            "trained_range": _range(trained),
            "chip_range": _range(chip),
            "difference": float(chip.mean() - trained.mean()),
            "interval": crossed_interval(chip, trained),
        }
    return Struck(kind=kind, rate=rate, shown=shown, draws=len(run), refused=list(refused), **told)


def _range(right: Bools) -> tuple[float, float]:
    shares = right.mean(axis=1)
    return float(shares.min()), float(shares.max())
