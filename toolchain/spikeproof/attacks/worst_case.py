"""The worst case as a perturbation: what a suite finds on the trained or on the chip network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeproof.attacks.base import Attack
from spikeproof.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spikeproof.attacks.base import Model

TRAINED, CHIP = "trained", "chip"
SIDES = (TRAINED, CHIP)
"""The networks that a suite of attacks is run on."""
WORST_CASE = "worst_case"
"""The part of the settings that names suite, radii, images and margin of these attacks."""


@dataclass(frozen=True)
class WorstCase(Attack):
    """What a suite of attacks finds inside a ball, as :mod:`spikeproof.verify.worst_case` runs it.

    Args:
        suite: its name and version.
        crafted_on: which network was attacked, one of ``SIDES``.
    """

    suite: str
    crafted_on: str

    kind = WORST_CASE
    adversarial = True

    @property
    def name(self) -> str:
        """Suite and network: ``sp-quick-1 on trained``."""
        return f"{self.suite} on {self.crafted_on}"

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        raise InputError("a suite attacks networks, not a torch module", where=self.name)
