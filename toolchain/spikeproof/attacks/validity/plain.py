"""The attack that papers quote, as they make it: what a suite is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.grid import F64, Draws, Images, Labels
from spikeproof.attacks.losses import cross_entropy
from spikeproof.attacks.victim import Victim, within
from spikeproof.ir.chip import ChipNetwork

NAIVE_STEPS = 7
NAIVE_TITLE = f"PGD-{NAIVE_STEPS}"
NAIVE = Estimator(1.0, "attached")
"""What most papers train and attack with: one slope, as wide as the threshold."""


def naive_pgd(victim: Victim, x: Images, y: Labels, radius: int, draws: Draws) -> Images:
    """Return what PGD-7 makes of images, as papers quote it: the last point, good or bad.

    Cross-entropy of the logits as they are (in float32), a random start, steps of 2.5 radii / 7. A
    chip's logits are whole numbers of arbitrary size, so there they are scaled. It differs from
    :class:`spikeproof.attacks.plain.PlainPGD`, which keeps the worst point and scales all logits.
    """
    point = x + radius * draws.uniform(np.arange(len(x)))
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


def naive_draws(seed: int, radius: int, names: NDArray[np.int64], shape: tuple[int, ...]) -> Draws:
    """Return where the naive attack begins: the same for an image in V6, in V7 and on a card."""
    return Draws((seed, radius, NAIVE_STEPS), names, shape)
