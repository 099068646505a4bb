"""Which perturbed images a verification uses, and where they are kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.base import Attack
from spikeproof.attacks.images import perturb_images, perturb_worst
from spikeproof.attacks.registry import ATTACKS
from spikeproof.attacks.weak import WEAK
from spikeproof.attacks.worst_case import SIDES, WorstCase
from spikeproof.engines.floats import run_float
from spikeproof.errors import InputError
from spikeproof.io.files import sha256, write_atomic
from spikeproof.ir.floats import FloatNetwork
from spikeproof.jobs.threads import inner_threads
from spikeproof.verify.config import VerifyConfig

Images = NDArray[np.uint8]
CHUNK = 100
"""Images are crafted and shown in chunks of this many, so that a killed run loses little. Random
draws depend on it: who crafts in the same chunks with the same seed gets the same images."""


@dataclass(frozen=True)
class Perturbation:
    """An attack on the first ``samples`` images."""

    attack: Attack
    samples: int

    @property
    def kind(self) -> str:
        """The attack's kind, as suites name it."""
        return self.attack.kind

    @property
    def strength(self) -> float:
        """Its strength in grey levels."""
        return self.attack.strength

    @property
    def name(self) -> str:
        """Its name in results: ``pgd-20 8/255``."""
        return self.attack.label


@dataclass(frozen=True, eq=False)
class Crafted:
    """Perturbed images, and how the attack's first estimator compares with the control.

    ``right`` holds by name of either which images it leaves right, bool (N,); empty for noise and
    for images that were not compared.
    """

    images: Images
    right: dict[str, NDArray[np.bool_]] = field(default_factory=dict)


Perturb = Callable[..., Crafted]
"""Called as (perturbation, float network, x, y, seed=, compare=); returns uint8 images."""


def perturbations(config: VerifyConfig, available: int) -> list[Perturbation]:
    """List the perturbations of a suite that are made one by one, cut to the images there are."""
    return [
        Perturbation(WEAK.at(kind, strength), min(getattr(config.samples, kind), available))
        for kind in ATTACKS.names()
        for strength in getattr(config.perturbations, kind, ())
    ]


def worst_cases(config: VerifyConfig, available: int) -> list[Perturbation]:
    """List what the suite of attacks finds, by network and radius."""
    wanted = config.worst_case
    return [
        Perturbation(
            WorstCase(radius, wanted.suite, side), min(config.samples.worst_case, available)
        )
        for side in SIDES
        for radius in wanted.epsilons
    ]


def perturb_with_torch(
    perturbation: Perturbation,
    network: FloatNetwork,
    x: Images,
    y: NDArray[Any],
    *,
    seed: int,
    compare: bool = False,
) -> Crafted:
    """Craft perturbed images on the float network; an attack is tried as the shared weak one.

    ``compare`` runs the attack's control as well, from the same random starts.

    Raises:
        MissingExtraError: torch is not installed.
    """
    attack = perturbation.attack
    with inner_threads(1, load="torch"):
        if not attack.adversarial:
            return Crafted(perturb_images(attack, network, x, y, seed=seed))
        images, right = perturb_worst(attack, network, x, y, seed=seed, estimators=WEAK.members)
        if not compare:
            return Crafted(images)
        other = perturb_images(attack, network, x, y, seed=seed, estimator=WEAK.control)
    withstood = run_float(network, other).predictions == y
    return Crafted(images, {WEAK.members[0].name: right[0], WEAK.control.name: withstood})


def craft_chunk(
    perturbation: Perturbation,
    network: FloatNetwork,
    x: Images,
    y: NDArray[Any],
    start: int,
    *,
    seed: int,
    perturb: Perturb = perturb_with_torch,
) -> Crafted:
    """Craft the chunk that begins at image ``start`` of x and y; ``seed`` is that of the run.

    The first chunk is also attacked with the control, which costs as much as a member.
    """
    part = slice(start, min(start + CHUNK, perturbation.samples))
    chunk = chunk_seed(seed, perturbation, start)
    crafted = perturb(perturbation, network, x[part], y[part], seed=chunk, compare=start == 0)
    check_images(x[part], crafted.images, perturbation)
    return crafted


def chunk_seed(seed: int, perturbation: Perturbation, start: int) -> int:
    """Derive the seed of one chunk from everything that names it."""
    parts = [seed, perturbation.attack.stream(), round(perturbation.strength * 1000), start]
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def store_images(path: Path, images: Images) -> str:
    """Write images atomically as npy and return the SHA-256 of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = images_bytes(images)
    write_atomic(path, data)
    return sha256(data)


def images_bytes(images: Images) -> bytes:
    """Return the npy file of images."""
    buffer = io.BytesIO()
    np.save(buffer, images, allow_pickle=False)
    return buffer.getvalue()


def load_images(path: Path, expected_hash: str) -> Images | None:
    """Read stored images; None if the file is missing or not the one that was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if sha256(data) != expected_hash:
        return None
    images: Images = np.load(io.BytesIO(data), allow_pickle=False)
    return images


def check_images(original: Images, found: Images, perturbation: Perturbation) -> None:
    """Re-judge what an attack returned: same shape, 8 bits, inside its ball.

    Raises:
        InputError: it broke the threat model it is reported under.
    """
    if found.dtype != np.uint8 or found.shape != original.shape:
        raise InputError(
            f"returned {found.dtype} {found.shape}, expected uint8 {original.shape}",
            where=perturbation.name,
        )
    if perturbation.attack.bounded:
        distance = int(np.abs(found.astype(np.int16) - original).max(initial=0))
        if distance > perturbation.strength:
            raise InputError(
                f"changed a pixel by {distance} grey levels, at most {perturbation.strength:g} "
                "are allowed",
                where=perturbation.name,
            )
