"""What an attack does on its way: after how many steps it succeeds, which gradients are zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.grid import F64, Images, Labels, Oracle
from spikeproof.attacks.walks import TwinOracle

if TYPE_CHECKING:
    from spikeproof.attacks.twin import Twin


@dataclass
class Watch:
    """Watch one attack on images with labels ``y``; it makes the oracles of that attack.

    step: by image, after how many steps the twin was fooled, -1 never. asked, zero: by image, how
    many gradients were taken, and how many of them were zero everywhere.
    """

    twin: Twin
    estimator: Estimator
    y: Labels
    step: NDArray[np.int64] = field(init=False)
    asked: NDArray[np.int64] = field(init=False)
    zero: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing seen."""
        self.step = np.full(len(self.y), -1)
        self.asked, self.zero = np.zeros((2, len(self.y)), np.int64)

    def __call__(self) -> Oracle:
        """Return the oracle of a restart; images that fooled the twin before take no part."""
        left = np.flatnonzero(self.step < 0)
        return _Watched(TwinOracle(self.twin, self.estimator), self, left)


@dataclass
class _Watched:
    inner: TwinOracle
    watch: Watch
    rows: NDArray[np.int64]
    steps: int = 0

    def ask(self, x: Images) -> tuple[F64, Callable[[F64], NDArray[Any]]]:
        logits, back = self.inner.ask(x)
        rows, watch = self.rows, self.watch
        watch.step[rows[logits.argmax(axis=1) != watch.y[rows]]] = self.steps
        self.steps += 1

        def noted(of_logits: F64) -> NDArray[Any]:
            gradient = back(of_logits)
            watch.asked[rows] += 1
            watch.zero[rows] += ~gradient.reshape(len(rows), -1).any(axis=1)
            return gradient

        return logits, noted

    def keep(self, rows: NDArray[Any]) -> None:
        self.rows = self.rows[rows]
        self.inner.keep(rows)
