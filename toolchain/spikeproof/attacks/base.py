"""An attack as a value object; what it proposes is projected again here.

torch is imported inside functions only, so that the core works without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar
from zlib import crc32

from spikeproof.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from typing_extensions import Self

    Model = Callable[[Tensor], Tensor]

GREY_LEVELS = 255


@dataclass(frozen=True)
class Attack(ABC):
    """A way to perturb images; ``strength`` is a radius or deviation in grey levels, 0..255.

    A new one is a subclass with a ``kind``, registered in :mod:`spikeproof.attacks.registry`.
    """

    strength: float

    kind: ClassVar[str]
    """As suites and recipes name it."""
    adversarial: ClassVar[bool] = False
    """Whether images are crafted to be misclassified, so that accuracy is an upper bound."""
    bounded: ClassVar[bool] = True
    """Whether every pixel stays within ``strength`` of the original."""

    def __post_init__(self) -> None:
        """Check the strength."""
        if not 0 <= self.strength <= GREY_LEVELS:
            raise InputError(f"strength is {self.strength}, must be in 0..255 grey levels")

    @classmethod
    def at(
        cls,
        strength: float,
        steps: int,
        *,
        step: float | None = None,
        random_start: bool | None = None,
    ) -> Self:
        """Return this attack as a suite or recipe asks for it; what it has no use for is left out.

        None stands for the attack's own default.
        """
        asked = {"steps": steps, "step": step, "random_start": random_start}
        own = {field.name for field in fields(cls) if field.init}
        return cls(strength, **{k: v for k, v in asked.items() if k in own and v is not None})

    @classmethod
    def stream(cls) -> int:
        """Return the number that keeps the random draws of one kind apart from all others'."""
        return crc32(cls.kind.encode())

    @property
    def name(self) -> str:
        """The kind and its parameters, without the strength: ``pgd-20``."""
        return self.kind

    @property
    def label(self) -> str:
        """Name and strength: ``pgd-20 8/255``."""
        return f"{self.name} {self.strength:g}/{GREY_LEVELS}"

    @property
    def radius(self) -> float:
        """The strength where images are in [0, 1]."""
        return self.strength / GREY_LEVELS

    @property
    def gradients(self) -> int:
        """Gradients per image with one estimator: what it costs."""
        return 0

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
        return self.project(found.detach(), x)

    @abstractmethod
    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Return candidate images; the caller projects them."""

    def project(self, found: Tensor, x: Tensor) -> Tensor:
        """Return the nearest images inside the ball and [0, 1]."""
        if self.bounded:
            found = found.clamp(x - self.radius, x + self.radius)
        return found.clamp(0, 1)


@dataclass(frozen=True)
class Clean(Attack):
    """The images as they are."""

    strength: float = 0
    kind = "clean"

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        return x


def needed(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator that a random attack was given.

    Raises:
        InputError: none was.
    """
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
