"""What sensors and mountings do to images, besides Gaussian noise: no attack, and no torch.

Strengths are parts of 255, as everywhere: of pixels, of the side of the image, of contrast.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.base import GREY_LEVELS, Attack, needed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from spikeproof.attacks.base import Model

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Corruption(Attack):
    """A change of 8-bit images that looks neither at the network nor at the label."""

    bounded = False

    @abstractmethod
    def corrupt(self, x: Images, rng: np.random.Generator) -> Images:
        """Return other images, uint8 (N, C, H, W)."""

    def _propose(
        self, model: Model, x: Tensor, y: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        import torch

        images = np.rint(x.cpu().double().numpy() * GREY_LEVELS).astype(np.uint8)
        seed = int(torch.randint(1 << 62, (), generator=needed(generator)))
        found = self.corrupt(images, np.random.default_rng(seed))
        return torch.from_numpy(found.astype(np.float64) / GREY_LEVELS).to(x)


@dataclass(frozen=True)
class ImpulseNoise(Corruption):
    """Salt and pepper: that share of the pixels, all channels of each, is white or black."""

    kind = "impulse"

    def corrupt(self, x: Images, rng: np.random.Generator) -> Images:
        """Return images with pixels replaced, half of them by 255 and half by 0."""
        drawn = rng.random((len(x), 1, *x.shape[2:]))
        new = np.where(drawn < self.radius / 2, np.uint8(0), np.uint8(255))
        return np.where(drawn < self.radius, new, x)


@dataclass(frozen=True)
class Shift(Corruption):
    """Move by whole pixels, that share of either side, at least one; edges are repeated.

    The direction is drawn for each image: left, right, up, down or a diagonal.
    """

    kind = "shift"

    def pixels(self, side: int) -> int:
        """Return by how many pixels an image of this side is moved."""
        return max(1, round(self.radius * side)) if self.strength else 0

    def corrupt(self, x: Images, rng: np.random.Generator) -> Images:
        """Return moved images."""
        height, width = x.shape[2:]
        ways = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
        way = np.array(ways)[rng.integers(0, len(ways), len(x))]
        rows = _source(height, way[:, 0] * self.pixels(height))
        columns = _source(width, way[:, 1] * self.pixels(width))
        images = np.arange(len(x))[:, None, None]
        moved = x.transpose(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None]]
        return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))


def _source(side: int, by: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each row comes from, (N, side), when images are moved by so many."""
    return np.clip(np.arange(side) - by[:, None], 0, side - 1)


@dataclass(frozen=True)
class Contrast(Corruption):
    """Less contrast: every value comes nearer to the mean of its image by that share."""

    kind = "contrast"

    def corrupt(self, x: Images, rng: np.random.Generator) -> Images:
        """Return paler images."""
        mean = x.mean(axis=(1, 2, 3), keepdims=True)
        return np.asarray(np.rint(mean + (1 - self.radius) * (x - mean)), np.uint8)
