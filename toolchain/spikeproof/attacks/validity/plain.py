"""Attacks that validity compares a suite with: one as papers quote it, one without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.losses import cross_entropy, margin
from spikeproof.attacks.victim import Victim, within
from spikeproof.attacks.walks import F64, Images, Labels
from spikeproof.ir.chip import ChipNetwork

if TYPE_CHECKING:
    from spikeproof.attacks.twin import Twin

NAIVE_STEPS = 7
NAIVE = Estimator(1.0, "attached")
"""What most papers train and attack with: one slope, as wide as the threshold."""


def naive_pgd(victim: Victim, x: Images, y: Labels, radius: int, seed: int) -> Images:
    """Return what PGD-7 makes of images, as papers quote it: the last point, good or bad.

    Cross-entropy of the logits as they are (in float32), a random start, steps of 2.5 radii / 7. A
    chip's logits are whole numbers of arbitrary size, so there they are scaled.
    """
    draw = np.random.default_rng([seed, radius, 7])
    point = x + draw.uniform(-radius, radius, x.shape)
    loss = _scaled if isinstance(victim.network, ChipNetwork) else _raw
    for _ in range(NAIVE_STEPS):
        run = victim.twin.forward(_rounded(point, x, radius))
        gradient = victim.twin.back(run, loss(run.logits, y), NAIVE)
        point = point + 2.5 * radius / NAIVE_STEPS * np.sign(gradient)
        point = np.clip(np.clip(point, x - float(radius), x + float(radius)), 0, 255)
    return _rounded(point, x, radius)


def _raw(logits: F64, y: Labels) -> F64:
    """Return the gradient of a cross-entropy as float32 has it: 0 where the softmax is certain."""
    shifted = (logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
    weights = np.exp(shifted)
    found = weights / weights.sum(axis=1, keepdims=True)
    found[np.arange(len(y)), y] -= 1
    return np.asarray(found, np.float64)


def _scaled(logits: F64, y: Labels) -> F64:
    return cross_entropy(logits, y)[1]


def _rounded(point: NDArray[np.float64], x: Images, radius: int) -> Images:
    return within(np.clip(np.rint(point), 0, 255).astype(np.uint8), x, radius)


def random_squares(
    twin: Twin, x: Images, y: Labels, radius: int, *, queries: int, seed: int
) -> Images:
    """Return what a random search without gradients finds: squares of one sign, kept if they help.

    It starts at vertical stripes; squares cover a tenth of the image at first, less later.

    Source: Andriushchenko et al., "Square attack", ECCV 2020, in own words.
    """
    rng = np.random.default_rng([seed, radius, 11])
    n, channels, height, width = x.shape
    stripes = radius * rng.choice([-1, 1], (n, channels, 1, width))
    best = _moved(x, np.broadcast_to(stripes, x.shape))
    score = margin(twin.logits(best), y)[0]
    left = np.flatnonzero(score <= 0)
    for query in range(queries):
        if not len(left):
            break
        share = 0.1 / 2 ** (8 * query / queries)
        side = max(1, min(round(np.sqrt(share * height * width)), height, width))
        tried = best[left].copy()
        for row, i in enumerate(left):
            top, start = rng.integers(height - side + 1), rng.integers(width - side + 1)
            part = (slice(None), slice(top, top + side), slice(start, start + side))
            tried[row][part] = _moved(x[i][part], radius * rng.choice([-1, 1], (channels, 1, 1)))
        values = margin(twin.logits(tried), y[left])[0]
        better = values > score[left]
        best[left[better]], score[left[better]] = tried[better], values[better]
        left = left[score[left] <= 0]
    return best


def _moved(x: Images, by: NDArray[np.int64]) -> Images:
    return np.clip(x.astype(np.int64) + by, 0, 255).astype(np.uint8)
