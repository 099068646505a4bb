"""The Square attack: random search by the logits alone, on the exact network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.grid import F64, Asked, Draws, GridAttack, Images, Labels
from spikeproof.errors import InputError

QUERIES_PER_GRADIENT = 3
"""What an attack costs is told in gradients; a query goes forward only."""
_SHRINKS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of ten thousand, after which a square's area is halved."""


@dataclass(frozen=True)
class Square(GridAttack):
    """Change a square of the image by the radius, up or down; keep what lowers the margin.

    Begins with vertical stripes; squares shrink as queries go on. It needs no gradient, so hiding
    the gradient does not help against it: where it finds more than walks, they were misled.

    Source: Andriushchenko et al., ECCV 2020.

    Args:
        queries: images the network is asked about, per image that survives.
        share: of the image's area that the first squares cover.
    """

    queries: int = 1000
    share: float = 0.8

    kind = "square"

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if self.queries < 1 or not 0 < self.share <= 1:
            raise InputError(
                f"queries {self.queries} must be at least 1, and the share {self.share:g} in (0, 1]"
            )

    @property
    def name(self) -> str:
        """Kind and queries: ``square-1000``."""
        return f"{self.kind}-{self.queries}"

    @property
    def gradients(self) -> int:
        """What its queries cost, in gradients."""
        return -(-self.queries // QUERIES_PER_GRADIENT)

    def find(self, network: Asked, x: Images, y: Labels, draws: Draws) -> Images:
        """Return one image for each: one that was misclassified, else that of the least margin."""
        if not len(x):
            return x.copy()
        radius = round(self.strength)
        low = np.maximum(x.astype(np.int16) - radius, 0).astype(np.uint8)
        high = np.minimum(x.astype(np.int16) + radius, 255).astype(np.uint8)
        own = draws.generators(np.arange(len(x)))
        _, channels, _, width = x.shape
        stripes = np.stack([g.integers(0, 2, (channels, 1, width)) for g in own])
        found = np.where(stripes == 1, high, low)
        least, wrong = _margins(network, found, y)
        left = np.flatnonzero(~wrong)
        for query in range(1, self.queries):
            if not len(left):
                break
            size = side(query, self.queries, x.shape[2:], self.share)
            tried = found[left]
            for k, n in enumerate(left):
                _change(tried[k], low[n], high[n], size, own[n])
            margin, wrong = _margins(network, tried, y[left])
            better = wrong | (margin < least[left])
            found[left[better]], least[left[better]] = tried[better], margin[better]
            left = left[~wrong]
        return found


def side(query: int, queries: int, image: tuple[int, ...], share: float = 0.8) -> int:
    """Return the side of the square that is changed next; ``share``: of the image, at first."""
    when = query * 10_000 / queries
    area = share / 2 ** sum(when > mark for mark in _SHRINKS) * image[0] * image[1]
    return int(np.clip(round(area**0.5), 1, min(image)))


def place(image: tuple[int, ...], size: int, own: np.random.Generator) -> tuple[slice, ...]:
    """Return a random square of an image (C, H, W), in all its channels."""
    top, left = (int(own.integers(0, length - size + 1)) for length in image[1:])
    return slice(None), slice(top, top + size), slice(left, left + size)


def _margins(network: Asked, x: Images, y: Labels) -> tuple[F64, NDArray[np.bool_]]:
    """Return the label's logit less the largest other one, and which images are misclassified."""
    logits = network.logits(x)
    wrong, rows = logits.argmax(axis=1) != y, np.arange(len(y))
    own = logits[rows, y]
    others = logits.copy()
    others[rows, y] = -np.inf
    return own - others.max(axis=1), wrong


def _change(image: Images, low: Images, high: Images, size: int, own: np.random.Generator) -> None:
    """Set a square of an image to its lowest or highest values, a sign for each channel."""
    at = place(image.shape, size, own)
    up = own.integers(0, 2, (len(image), 1, 1)) == 1
    new = np.where(up, high[at], low[at])
    if np.array_equal(new, image[at]):  # a question that was asked before teaches nothing
        new = np.where(up, low[at], high[at])
    image[at] = new
