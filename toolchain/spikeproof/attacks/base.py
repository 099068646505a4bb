"""Perturbations as value objects; what an attack proposes is projected again here.

torch is imported inside functions only, so that the core works without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeproof.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Attack(ABC):
    """A way to perturb images; ``strength`` is a radius or deviation, images in [0, 1]."""

    strength: float

    def __post_init__(self) -> None:
        """Check the strength."""
        if not 0 <= self.strength <= 1:
            raise InputError(
                f"strength is {self.strength}, must be in 0..1 (8/255 means 8 grey levels)"
            )

    @property
    @abstractmethod
    def name(self) -> str:
        """The kind and its parameters, without the strength: ``pgd-20``."""

    @property
    def bounded(self) -> bool:
        """Whether every pixel stays within ``strength`` of the original."""
        return True

    @property
    def label(self) -> str:
        """Name and strength in grey levels: ``pgd-20 8/255``."""
        return f"{self.name} {self.strength * 255:g}/255"

    def perturb(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return perturbed images, inside [0, 1] and (if bounded) inside the ball.

        Args:
            model: maps images (N, C, H, W) to logits (N, K); a torch module is put into
                evaluation mode for the duration.
            x: float images in [0, 1].
            y: labels (N,).
            generator: source of all randomness, on the CPU; required by random attacks.
        """
        with _evaluation_mode(model):
            found = self._propose(model, x.detach(), y, generator)
        return self._project(found.detach(), x)

    @abstractmethod
    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Return candidate images; the caller projects them."""

    def _project(self, found: Tensor, x: Tensor) -> Tensor:
        """Return the nearest images inside the ball and [0, 1]."""
        if self.bounded:
            found = found.clamp(x - self.strength, x + self.strength)
        return found.clamp(0, 1)


@dataclass(frozen=True)
class GaussianNoise(Attack):
    """x + strength * N(0, 1), clipped to [0, 1]."""

    @property
    def name(self) -> str:
        """The kind of perturbation."""
        return "gaussian"

    @property
    def bounded(self) -> bool:
        """Noise has no bound."""
        return False

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        import torch

        noise = torch.randn(x.shape, generator=_needed(generator), dtype=torch.float32)
        return x + self.strength * noise.to(x)


def uniform_start(x: Tensor, strength: float, generator: torch.Generator | None) -> Tensor:
    """Return x + U(-strength, strength) per pixel, clipped to [0, 1]."""
    import torch

    noise = torch.rand(x.shape, generator=_needed(generator), dtype=torch.float32).to(x)
    return (x + strength * (2 * noise - 1)).clamp(0, 1)


def _needed(generator: torch.Generator | None) -> torch.Generator:
    if generator is None:
        raise InputError("a random perturbation needs a generator", hint="Pass a seeded one.")
    return generator


@contextmanager
def _evaluation_mode(model: object) -> Iterator[None]:
    """Freeze batch statistics while attacking, and restore the mode afterwards."""
    from torch import nn

    training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module) and training:
        model.eval()
    try:
        yield
    finally:
        if isinstance(model, nn.Module) and training:
            model.train()
