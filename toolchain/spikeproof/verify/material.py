"""What the work of a verification needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.victim import Victim
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.registry import get_engine
from spikeproof.engines.trace import Engine
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.effort import effort
from spikeproof.verify.perturbations import Perturb, Perturbation
from spikeproof.verify.stages import Stages

Images = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Material:
    """Everything the work needs; images and labels are already cut and checked.

    planned: perturbations that are made one by one. worst: what a suite of attacks finds on either
    network; empty where it is not run. victims: those networks.
    """

    stages: Stages
    x: Images
    y: NDArray[np.int64]
    config: VerifyConfig
    planned: list[Perturbation]
    worst: list[Perturbation]
    victims: dict[str, Victim]
    perturb: Perturb
    folder: Path
    engine: Engine | None = None
    calibration: Images | None = None

    @property
    def effort(self) -> float:
        """Return the products an image costs, in times those of the shipped networks."""
        return effort(self.stages.chip)

    @property
    def shown(self) -> list[Perturbation]:
        """Return all perturbations whose images both networks are shown."""
        return [*self.planned, *self.worst]

    def images(self, samples: int) -> int:
        """Return how many images there are, of so many wanted."""
        return min(samples, len(self.x))

    def engines(self) -> list[Engine]:
        """Return the fast engine and the target under test."""
        target = self.engine or get_engine(self.config.engine)
        return [target] if target.name == FastEngine.name else [FastEngine(), target]
