"""Attacks whose examples are 8-bit images, and what they may ask of the network they attack.

Some walk along gradients (:mod:`spikeproof.attacks.walks`), some need none
(:mod:`spikeproof.attacks.square`, :mod:`spikeproof.attacks.rays`): a suite holds both.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.base import GREY_LEVELS, Attack
from spikeproof.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spikeproof.attacks.base import Model

Images = NDArray[np.uint8]
F64 = NDArray[np.float64]
Labels = NDArray[np.int64]


class Oracle(Protocol):
    """What answers a walk: logits of images, and the way back from them."""

    def ask(self, x: Images) -> tuple[F64, Callable[[F64], NDArray[Any]]]:
        """Return logits (N, K), and a function from their gradient to that of the images."""
        ...

    def keep(self, rows: NDArray[Any]) -> None:
        """Go on with some of the images of the last question."""
        ...


class Asked(Protocol):
    """A network under attack, as far as an attack sees it."""

    def oracle(self) -> Oracle:
        """Return a source of gradients that remembers nothing yet; it may be another network."""
        ...

    def logits(self, x: Images) -> F64:
        """Return what the network itself says, (N, K)."""
        ...


@dataclass
class Draws:
    """Random numbers that belong to an image, whoever is attacked beside it.

    Args:
        seed: of all draws; None: nothing may be drawn.
        names: whole numbers that tell images apart.
        shape: of one image.
    """

    seed: tuple[int, ...] | None
    names: NDArray[np.int64]
    shape: tuple[int, ...]
    calls: int = 0

    def generators(self, rows: NDArray[np.int64]) -> list[np.random.Generator]:
        """Return a generator for each of the images of these positions, other ones every time.

        Raises:
            InputError: nothing may be drawn.
        """
        if self.seed is None:
            raise InputError("a random attack needs a generator", hint="Pass a seeded one.")
        self.calls += 1
        return [np.random.default_rng([*self.seed, self.calls, int(n)]) for n in self.names[rows]]

    def uniform(self, rows: NDArray[np.int64]) -> F64:
        """Return uniform numbers in [-1, 1), (n, C, H, W), for images of these positions."""
        return np.stack([g.uniform(-1, 1, self.shape) for g in self.generators(rows)])


@dataclass(frozen=True)
class GridAttack(Attack):
    """An attack that proposes 8-bit images; a new one says how they are found (:meth:`find`)."""

    adversarial = True
    white_box: ClassVar[bool] = False
    """Whether it takes gradients: then a network needs a twin, and a member an estimator."""

    @abstractmethod
    def find(self, network: Asked, x: Images, y: Labels, draws: Draws) -> Images:
        """Return one image for each; the caller brings them back into the ball and judges them.

        Args:
            network: what may be asked.
            x: uint8 (N, C, H, W).
            y: labels (N,).
            draws: the only source of randomness.
        """

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        import torch

        images = np.rint(x.cpu().double().numpy() * GREY_LEVELS).astype(np.uint8)
        seed = None
        if generator is not None:
            seed = (int(torch.randint(1 << 62, (), generator=generator)),)
        draws = Draws(seed, np.arange(len(images)), images.shape[1:])
        asked = _TorchModel(model, x.dtype)
        found = self.find(asked, images, y.cpu().numpy().astype(np.int64), draws)
        return torch.from_numpy(found.astype(np.float64) / GREY_LEVELS).to(x)


@dataclass
class _TorchModel:
    """A torch module; how its spikes pass gradients is its own matter."""

    model: Model
    kind: Any

    def oracle(self) -> Oracle:
        return self

    def logits(self, x: Images) -> F64:
        import torch

        with torch.no_grad():
            found = self.model(self._point(x))
        return np.asarray(found.cpu().double().numpy())

    def ask(self, x: Images) -> tuple[F64, Callable[[F64], NDArray[Any]]]:
        import torch

        point = self._point(x).requires_grad_()
        with torch.enable_grad():
            logits = self.model(point)

        def back(of_logits: F64) -> NDArray[Any]:
            of = torch.from_numpy(of_logits).to(logits)
            (found,) = torch.autograd.grad(logits, point, of)
            return np.asarray(found.cpu().numpy())

        return logits.detach().cpu().double().numpy(), back

    def keep(self, rows: NDArray[Any]) -> None:
        """Nothing is remembered."""

    def _point(self, x: Images) -> Tensor:
        import torch

        return torch.from_numpy(x.astype(np.float64) / GREY_LEVELS).to(self.kind)


def described(one: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, without those marked ``LATER`` that hold their default.

    A released suite is told by the same words after attacks and estimators were given new fields.
    """
    return {
        f.name: getattr(one, f.name)
        for f in fields(one)
        if not (f.metadata.get("later") and getattr(one, f.name) == f.default)
    }


LATER = {"later": True}
