"""Which perturbed images a verification uses, and where they are kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError
from spikeproof.io.files import sha256, write_atomic
from spikeproof.ir.floats import FloatNetwork
from spikeproof.simulate.trace import Progress
from spikeproof.verify.config import VerifyConfig
from spikeproof.work.threads import inner_threads

if TYPE_CHECKING:
    from spikeproof.attacks import Attack

Images = NDArray[np.uint8]
CHUNK = 100
"""Images are crafted and shown in chunks of this many, so that a killed run loses little."""


@dataclass(frozen=True)
class Perturbation:
    """One kind and strength (grey levels); applied to the first ``samples`` images."""

    kind: str
    strength: float
    samples: int
    steps: int = 0
    surrogate_widths: tuple[float, ...] = (1.0,)

    @property
    def row(self) -> str:
        """Name of the kind in reports: ``pgd-20``."""
        return f"{self.kind}-{self.steps}" if self.steps else self.kind

    @property
    def name(self) -> str:
        """Kind and strength: ``pgd-20 8/255``."""
        return f"{self.row} {self.strength:g}/255"


Perturb = Callable[..., Images]
"""Called as (perturbation, float network, x, y, seed=, progress=); returns uint8 images."""


def perturbations(config: VerifyConfig, available: int) -> list[Perturbation]:
    """List all perturbations of a suite, cut to the images there are."""
    found, strengths, counts = [], config.perturbations, config.samples
    for kind in ("gaussian", "fgsm", "pgd"):
        steps = strengths.pgd_steps if kind == "pgd" else 0
        samples = min(getattr(counts, kind), available)
        widths = strengths.surrogate_widths
        found += [Perturbation(kind, s, samples, steps, widths) for s in getattr(strengths, kind)]
    return found


def perturb_with_torch(
    perturbation: Perturbation,
    network: FloatNetwork,
    x: Images,
    y: NDArray[Any],
    *,
    seed: int,
    progress: Progress | None = None,
) -> Images:
    """Craft perturbed images on the float network with spikeproof.attacks.

    Raises:
        MissingExtraError: torch is not installed.
    """
    from spikeproof.attacks.images import perturb_images, perturb_worst

    attack = _attack(perturbation)
    with inner_threads(1, load="torch"):
        if perturbation.kind == "gaussian":
            return perturb_images(attack, network, x, y, seed=seed, progress=progress)
        return perturb_worst(
            attack, network, x, y,
            seed=seed, surrogate_widths=perturbation.surrogate_widths, progress=progress,
        )  # fmt: skip


def _attack(perturbation: Perturbation) -> Attack:
    from spikeproof.attacks import FGSM, PGD, GaussianNoise

    strength = perturbation.strength / 255
    if perturbation.kind == "gaussian":
        return GaussianNoise(strength)
    if perturbation.kind == "fgsm":
        return FGSM(strength)
    return PGD(strength, steps=perturbation.steps)


def chunk_seed(config: VerifyConfig, perturbation: Perturbation, start: int) -> int:
    """Derive the seed of one chunk from everything that names it."""
    kind = ("gaussian", "fgsm", "pgd").index(perturbation.kind)
    parts = [config.seed, kind, round(perturbation.strength * 1000), start]
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
    if perturbation.kind != "gaussian":
        distance = int(np.abs(found.astype(np.int16) - original).max(initial=0))
        if distance > perturbation.strength:
            raise InputError(
                f"changed a pixel by {distance} grey levels, at most {perturbation.strength:g} "
                "are allowed", where=perturbation.name,
            )  # fmt: skip
