"""Gaussian noise: what a camera does, and what every attack must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeproof.attacks.base import Attack, needed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spikeproof.attacks.base import Model


@dataclass(frozen=True)
class GaussianNoise(Attack):
    """x + strength * N(0, 1), clipped to the range of images; noise has no bound."""

    kind = "gaussian"
    bounded = False

    @classmethod
    def stream(cls) -> int:
        """Return the number under which recorded figures were drawn."""
        return 0

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        import torch

        noise = torch.randn(x.shape, generator=needed(generator), dtype=torch.float32)
        return x + self.radius * noise.to(x)
