"""Attack one network with a suite, part by part: what is left, image by image."""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.suites import Suite
from spikeproof.attacks.victim import Victim
from spikeproof.attacks.walks import Images, Labels
from spikeproof.document.values import Interval, Json, Record, Text
from spikeproof.engines.trace import Progress
from spikeproof.io.files import sha256, write_atomic
from spikeproof.jobs.items import Item
from spikeproof.jobs.journal import Journal
from spikeproof.jobs.origin import code_identity
from spikeproof.jobs.pool import Pool
from spikeproof.jobs.runner import Runner
from spikeproof.jobs.threads import inner_threads
from spikeproof.verify.statistics import exact_interval

PART = 50
"""Images that are attacked at a time: their states stay near the cache."""
CLEAN, SURVIVED = -2, -1
"""Stand in ``broken_by`` for images that were wrong unperturbed, and for those that withstood."""


class Left(Record):
    """What a network still gets right inside a ball."""

    epsilon: int
    """Radius in grey levels."""
    right: int
    accuracy: float
    interval: Interval
    """Exact (Clopper-Pearson), 95 %."""
    broken_by: list[int]
    """Images that each member of the suite broke first."""


class AttackDocument(Record):
    """What ``spikeproof attack --json`` prints."""

    schema_version: ClassVar[int] = 1

    network: Text
    attacked: Text
    """"trained network" or "chip network": whose gradients, and who judges."""
    hash: Text
    suite: Text
    """Name and version: they stand beside every figure."""
    members: list[Text]
    samples: int
    clean: Left
    epsilons: list[Left]


@dataclass(frozen=True, eq=False)
class Attacked:
    """A network under a suite. Rows are radii.

    found: uint8 (R, N, C, H, W), the images that fooled it, else the originals. by: (R, N), the
    member that did, ``CLEAN`` or ``SURVIVED``. predictions: (N,), of the unperturbed images.
    """

    suite: Suite
    radii: list[int]
    found: Images
    by: NDArray[np.int64]
    predictions: Labels

    def left(self) -> tuple[Left, list[Left]]:
        """Return what it gets right unperturbed, and at each radius."""
        return self._left(0, self.by[0] != CLEAN), [
            self._left(radius, row == SURVIVED, row)
            for radius, row in zip(self.radii, self.by, strict=True)
        ]

    def _left(
        self, radius: int, right: NDArray[np.bool_], row: NDArray[np.int64] | None = None
    ) -> Left:
        count, total = int(right.sum()), len(right)
        members = range(len(self.suite.members))
        return Left(
            epsilon=radius,
            right=count,
            accuracy=count / total,
            interval=exact_interval(count, total),
            broken_by=[] if row is None else [int((row == k).sum()) for k in members],
        )


@dataclass(frozen=True, eq=False)
class _Shared:
    victim: Victim
    suite: Suite
    radii: list[int]
    seed: int


def attack_network(
    victim: Victim,
    suite: Suite,
    x: Images,
    y: Labels,
    radii: list[int],
    *,
    seed: int = 0,
    pool: Pool,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Attacked:
    """Attack all images; what they give does not depend on workers, nor on interruptions.

    Args:
        victim: the network.
        suite: what to try.
        x: uint8 (N, C, H, W).
        y: labels (N,).
        radii: whole grey levels, ascending.
        seed: of all random draws.
        pool: where parts are done.
        journal: makes it resumable; its base is :func:`attack_base`.
        progress: called with (images done, images in all).
    """
    items = [_item(x, y, start) for start in range(0, len(x), PART)]
    runner = Runner(pool, journal, len(x), progress)
    results = runner.do(items, _Shared(victim, suite, radii, seed))
    found = np.concatenate(
        [_unpacked(r["found"], (len(radii), -1, *x.shape[1:])) for r in results], 1
    )
    by = np.concatenate([np.array(r["by"], np.int64).reshape(len(radii), -1) for r in results], 1)
    clean = np.array([p for r in results for p in r["predictions"]], np.int64)
    return Attacked(suite, radii, found, by, clean)


def attack_base(
    network_hash: str, x: Images, y: Labels, suite: Suite, radii: list[int], seed: int
) -> Json:
    """Return what the results of an attack depend on."""
    labels = np.ascontiguousarray(y, np.int64).tobytes()
    return {
        "network": network_hash,
        "data": sha256(np.ascontiguousarray(x).tobytes() + labels),
        "samples": len(x),
        "suite": suite.describe(),
        "epsilons": radii,
        "seed": seed,
        "code": code_identity(),
    }


def write_results(path: Path, attacked: Attacked, y: Labels, network_hash: str) -> None:
    """Write the results of every image to one npz, so that others can recheck them.

    x_adversarial: uint8 (R, N, C, H, W). broken_by: (R, N), an index into members, -2 for images
    wrong unperturbed, -1 for survivors. labels, predictions: (N,). epsilons: (R,) in grey levels.
    suite, members, network: text.
    """
    held = io.BytesIO()
    np.savez_compressed(
        held,
        x_adversarial=attacked.found,
        broken_by=attacked.by,
        labels=y,
        predictions=attacked.predictions,
        epsilons=np.array(attacked.radii),
        suite=np.array(attacked.suite.name),
        members=np.array([member.name for member in attacked.suite.members]),
        network=np.array(network_hash),
    )
    write_atomic(path, held.getvalue())


def _item(x: Images, y: Labels, start: int) -> Item:
    stop = min(start + PART, len(x))
    return Item(
        f"images {start} to {stop}",
        _attack_part,
        arguments=(start,),
        payload=lambda: (x[start:stop], y[start:stop]),
        cost=stop - start,
    )


def _attack_part(shared: _Shared, start: int, x: Images, y: Labels) -> Json:
    with inner_threads(1):  # the last bit of a product may depend on them
        names = range(start, start + len(x))
        found, by = shared.suite.run(
            shared.victim, x, y, shared.radii, seed=shared.seed, names=names
        )
        predictions = shared.victim.predictions(x)
    return {
        "predictions": predictions.tolist(),
        "by": by.tolist(),
        "found": base64.b64encode(zlib.compress(found.images.tobytes(), 1)).decode("ascii"),
    }


def _unpacked(text: str, shape: tuple[int, ...]) -> Images:
    raw: Any = zlib.decompress(base64.b64decode(text))
    return np.frombuffer(raw, np.uint8).reshape(shape)
