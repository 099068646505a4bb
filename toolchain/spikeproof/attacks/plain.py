"""FGSM, RFGSM, BIM and PGD on the grid: walks whose steps are all as long.

They are what papers quote and no evaluation: adaptive walks find more. The loss is the
cross-entropy; ``spikeproof.attacks.pgd`` and ``fgsm`` are the same attacks on a torch module.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.grid import Draws, Images
from spikeproof.attacks.pgd import default_step
from spikeproof.attacks.walks import F32, Walk, WalkState
from spikeproof.errors import InputError


@dataclass(frozen=True)
class PlainWalk(Walk):
    """Steps of one length along the sign of the gradient.

    Args:
        step: length of a step in grey levels; None: the attack's own.
    """

    loss: str = "ce"
    step: float | None = None

    halves = False

    def __post_init__(self) -> None:
        """Check the step, too."""
        super().__post_init__()
        if self.step is not None and not self.step > 0:
            raise InputError(f"step is {self.step:g} grey levels, must be more than 0")

    @property
    def name(self) -> str:
        """Kind, any loss but the cross-entropy, steps, and starts but the usual: ``pgd-7``."""
        loss = "" if self.loss == "ce" else f"-{self.loss}"
        return f"{self.kind}{loss}{self._count}{self._starts}"

    @property
    def _count(self) -> str:
        return f"-{self.steps}"

    def length(self) -> float:
        """Return how long a step is, in grey levels."""
        return self.strength if self.step is None else self.step

    def move(self, walk: WalkState, gradient: F32) -> F32:
        """Return the next points."""
        return np.asarray(walk.point + np.float32(self.length()) * np.sign(gradient), np.float32)


@dataclass(frozen=True)
class PlainFGSM(PlainWalk):
    """One step as long as the radius.

    Source: Goodfellow et al., ICLR 2015; random start: Wong et al., ICLR 2020.
    """

    steps: int = field(default=1, init=False)

    kind = "fgsm"

    @property
    def _count(self) -> str:
        return ""


@dataclass(frozen=True)
class RFGSM(PlainFGSM):
    """FGSM after a step of half the radius along random signs; the other half along the gradient.

    Source: Tramer et al., "Ensemble adversarial training", ICLR 2018.
    """

    random_start: bool = field(default=True, init=False)

    kind = "rfgsm"

    @property
    def _first_start(self) -> str:
        return ""

    def start(self, x: Images, rows: NDArray[np.int64], draws: Draws) -> F32:
        """Return the images, each pixel moved by half the radius up or down."""
        signs = np.sign(draws.uniform(rows)).astype(np.float32)
        return x.astype(np.float32) + np.float32(self.strength / 2) * signs

    def length(self) -> float:
        """Return how long the step is, in grey levels."""
        return self.strength / 2 if self.step is None else self.step


@dataclass(frozen=True)
class BIM(PlainWalk):
    """Steps of the radius over their number from the image itself, at least one grey level.

    Source: Kurakin et al., "Adversarial machine learning at scale", ICLR 2017.
    """

    steps: int = 10

    kind = "bim"

    def length(self) -> float:
        """Return how long a step is, in grey levels."""
        return max(self.strength / self.steps, 1) if self.step is None else self.step


@dataclass(frozen=True)
class PlainPGD(PlainWalk):
    """Steps of 2.5 radii over their number, at least one grey level, from a random start.

    Source: Madry et al., ICLR 2018.
    """

    steps: int = 20
    random_start: bool = True

    kind = "pgd"

    @property
    def _first_start(self) -> str:
        return "" if self.random_start else "-fixed"

    def length(self) -> float:
        """Return how long a step is, in grey levels."""
        return default_step(self.strength, self.steps) if self.step is None else self.step
