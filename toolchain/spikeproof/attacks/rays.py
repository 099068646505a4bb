"""A decision-based attack: it sees only which class the exact network answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.grid import Asked, Draws, GridAttack, Images, Labels
from spikeproof.attacks.square import QUERIES_PER_GRADIENT, place, side
from spikeproof.errors import InputError

_WIDEST = 255.0
_PRECISION = 1 / 16
"""Grey levels; of a distance to the boundary along a ray."""


@dataclass(frozen=True)
class RayS(GridAttack):
    """Search the corner of a cube along which the boundary is nearest, by flipping blocks of signs.

    A ray is a sign for every value. A square of it is flipped, at random, as in the Square attack;
    the flip is kept if the network errs nearer than before, and then the distance is searched by
    halves. Distances are finer than grey levels: a fraction of a level moves that share of the
    values, always the same ones, so that a small gain shows.

    Source: Chen and Gu, "RayS: A ray searching method for hard-label adversarial attack", KDD 2020;
    there, blocks are rows of the image in a fixed order, and the boundary is not sought on the
    grid.

    Args:
        queries: images the network is asked about, per image that survives.
    """

    queries: int = 2000

    kind = "rays"

    def __post_init__(self) -> None:
        """Check the number."""
        super().__post_init__()
        if self.queries < 1:
            raise InputError(f"queries {self.queries} must be at least 1")

    @property
    def name(self) -> str:
        """Kind and queries: ``rays-2000``."""
        return f"{self.kind}-{self.queries}"

    @property
    def gradients(self) -> int:
        """What its queries cost, in gradients."""
        return -(-self.queries // QUERIES_PER_GRADIENT)

    def find(self, network: Asked, x: Images, y: Labels, draws: Draws) -> Images:
        """Return the nearest misclassified image of each, else a corner of the ball."""
        if not len(x):
            return x.copy()
        parts = (draws.uniform(np.arange(len(x))) + 1) / 2
        own = draws.generators(np.arange(len(x)))
        searches = [_Search(*one) for one in zip(x.astype(np.int16), parts, own, strict=True)]
        for query in range(self.queries):
            left = [n for n, s in enumerate(searches) if np.ceil(s.best) > self.strength]
            if not left:
                break
            asked = np.stack([searches[n].question() for n in left])
            wrong = network.logits(asked).argmax(axis=1) != y[left]
            size = side(query, self.queries, x.shape[2:])
            for n, erred in zip(left, wrong, strict=True):
                searches[n].answer(bool(erred), size)
        return np.stack([search.nearest(self.strength) for search in searches])


@dataclass
class _Search:
    """The search of one image: it asks about a flip, and halves its distance if it pays.

    part: below which fraction of a level each value moves. ray, tried: of signs. best: nearest
    distance at which the network erred along the ray. low, high: between which distances it starts
    to err along the ray that is tried; low is below 0 while nobody knows whether it pays.
    """

    x: NDArray[np.int16]
    part: NDArray[np.float64]
    own: np.random.Generator
    best: float = np.inf
    low: float = -1.0
    high: float = _WIDEST
    ray: NDArray[np.int8] = field(init=False)
    tried: NDArray[np.int8] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with stripes."""
        self.ray = self.tried = self._stripes()

    def question(self) -> Images:
        """Return the image to ask about next."""
        return self._image(self.tried, self._distance)

    def answer(self, wrong: bool, size: int) -> None:
        """Take whether the network erred; ``size``: of the next square that is flipped."""
        if self.low < 0 and not wrong:
            self._try_next(size)
            return
        distance, self.low = self._distance, max(self.low, 0.0)
        if wrong:
            self.high = distance
        else:
            self.low = distance
        if self.high - self.low <= _PRECISION:
            self.ray, self.best = self.tried, self.high
            self._try_next(size)

    @property
    def _distance(self) -> float:
        return self.high if self.low < 0 else (self.low + self.high) / 2

    def _try_next(self, size: int) -> None:
        self.low, self.high = -1.0, min(_WIDEST, self.best - _PRECISION)
        if self.best == np.inf:
            one_way = np.full(self.x.shape, self.own.integers(0, 2) * 2 - 1, np.int8)
            self.tried = one_way if self.own.random() < 0.5 else self._stripes()
            return
        at = place(self.x.shape, size, self.own)
        signs = (self.own.integers(0, 2, (len(self.x), 1, 1)) * 2 - 1).astype(np.int8)
        if (self.ray[at] == signs).all():
            signs = -signs
        self.tried = self.ray.copy()
        self.tried[at] = signs

    def _stripes(self) -> NDArray[np.int8]:
        signs = self.own.integers(0, 2, (len(self.x), 1, self.x.shape[2])) * 2 - 1
        return np.broadcast_to(signs, self.x.shape).astype(np.int8)

    def _image(self, ray: NDArray[np.int8], distance: float) -> Images:
        levels = np.floor(distance + self.part).astype(np.int16)
        return np.clip(self.x + ray * levels, 0, 255).astype(np.uint8)

    def nearest(self, radius: float) -> Images:
        """Return the nearest misclassified image; if there is none, one at this distance."""
        return self._image(self.ray, self.best if self.best < np.inf else radius)
