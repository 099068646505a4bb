"""The fast gradient sign method: one step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spikeproof.attacks.gradient import GradientAttack

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spikeproof.attacks.base import Model


@dataclass(frozen=True)
class FGSM(GradientAttack):
    """One step (default: the radius) along the sign of the gradient; where it ends counts.

    Source: Goodfellow et al., ICLR 2015; random start: Wong et al., ICLR 2020.
    """

    steps: int = field(default=1, init=False)

    kind = "fgsm"

    @classmethod
    def stream(cls) -> int:
        """Return the number under which recorded figures were drawn."""
        return 1

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        start = self.start(x, generator)
        gradient, _, _ = self.gradient(model, start, y)
        return start + self.step_size() * self.optimiser()(gradient)
