"""The fast gradient sign method: one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeproof.attacks.gradient import GradientAttack

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from typing_extensions import Self

    from spikeproof.attacks.base import Model


@dataclass(frozen=True)
class FGSM(GradientAttack):
    """One step (default: the radius) along the sign of the gradient; where it ends counts.

    Source: Goodfellow et al., ICLR 2015; random start: Wong et al., ICLR 2020.
    """

    kind = "fgsm"

    @classmethod
    def at(
        cls,
        strength: float,
        steps: int,
        *,
        step: float | None = None,
        random_start: bool | None = None,
    ) -> Self:
        """Return this attack, which is of one step whatever is asked for."""
        return super().at(strength, 1, step=step, random_start=random_start)

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
