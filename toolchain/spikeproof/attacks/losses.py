"""What an attack makes grow, with its gradient: functions of logits, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError

F64 = NDArray[np.float64]
Loss = Callable[[F64, NDArray[np.int64]], tuple[F64, F64]]
"""Called as (logits (N, K), labels (N,)) for values (N,) and their gradients (N, K)."""
Targeted = Callable[[F64, NDArray[np.int64], NDArray[np.int64]], tuple[F64, F64]]
"""Called with the classes to reach, (N,), as well."""
_SPREAD = 3.0
"""Logits deviate so much before a cross-entropy: then neither the label nor the runner-up takes
all of the softmax, whatever factor a network puts before its logits."""


def cross_entropy(logits: F64, y: NDArray[np.int64]) -> tuple[F64, F64]:
    """Return the cross-entropy of logits that are first scaled to one deviation per image.

    The factor counts as a constant. Integers, and a network that hides behind large logits, would
    otherwise have no gradient: the softmax of such logits is 0 or 1. Of two classes it is the
    margin, with which it grows: two logits of one deviation are always as far apart.
    """
    if logits.shape[1] == 2:
        return margin(logits, y)
    factor = _SPREAD / np.maximum(logits.std(axis=1, keepdims=True), 1e-12)
    scaled = logits * factor
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    weights = np.exp(scaled)
    total = weights.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    gradient = weights / total
    gradient[rows, y] -= 1
    return np.log(total[:, 0]) - scaled[rows, y], gradient


def margin(logits: F64, y: NDArray[np.int64]) -> tuple[F64, F64]:
    """Return the largest other logit less the label's, in deviations of the image's logits.

    Of two classes as it is.
    """
    rows, other = np.arange(len(y)), _runner_up(logits, y)
    spread = _spread(logits)
    gradient = np.zeros_like(logits)
    gradient[rows, other] = 1
    gradient[rows, y] -= 1
    return (logits[rows, other] - logits[rows, y]) / spread, gradient


def dlr(logits: F64, y: NDArray[np.int64]) -> tuple[F64, F64]:
    """Return the difference of logits ratio: the margin over that of the first and third logit.

    It needs three classes; of fewer it is the margin, so that a suite fits every network.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness", ICML 2020.
    """
    if logits.shape[1] < 3:
        return margin(logits, y)
    rows, other = np.arange(len(y)), _runner_up(logits, y)
    order = np.argsort(-logits, axis=1, kind="stable")
    first, third = order[:, 0], order[:, 2]
    ratio = np.maximum(logits[rows, first] - logits[rows, third], 1e-12)
    above = logits[rows, other] - logits[rows, y]
    gradient = np.zeros_like(logits)
    gradient[rows, other] += 1 / ratio
    gradient[rows, y] -= 1 / ratio
    gradient[rows, first] -= above / ratio**2
    gradient[rows, third] += above / ratio**2
    return above / ratio, gradient


def targeted_margin(logits: F64, y: NDArray[np.int64], aim: NDArray[np.int64]) -> tuple[F64, F64]:
    """Return the logit of one other class less the label's, in deviations of the logits."""
    rows, spread = np.arange(len(y)), _spread(logits)
    gradient = np.zeros_like(logits)
    gradient[rows, aim] = 1
    gradient[rows, y] -= 1
    return (logits[rows, aim] - logits[rows, y]) / spread, gradient


def targeted_dlr(logits: F64, y: NDArray[np.int64], aim: NDArray[np.int64]) -> tuple[F64, F64]:
    """Return the same over the first logit less the mean of the third and fourth.

    It needs four classes; of fewer it is the targeted margin.

    Source: as :func:`dlr`; the loss of APGD-T.
    """
    if logits.shape[1] < 4:
        return targeted_margin(logits, y, aim)
    rows = np.arange(len(y))
    order = np.argsort(-logits, axis=1, kind="stable")
    first, third, fourth = order[:, 0], order[:, 2], order[:, 3]
    low = (logits[rows, third] + logits[rows, fourth]) / 2
    ratio = np.maximum(logits[rows, first] - low, 1e-12)
    above = logits[rows, aim] - logits[rows, y]
    gradient = np.zeros_like(logits)
    gradient[rows, aim] += 1 / ratio
    gradient[rows, y] -= 1 / ratio
    gradient[rows, first] -= above / ratio**2
    gradient[rows, third] += above / ratio**2 / 2
    gradient[rows, fourth] += above / ratio**2 / 2
    return above / ratio, gradient


def _spread(logits: F64) -> F64:
    """Return what a margin is measured in; two logits are always one deviation off their mean."""
    if logits.shape[1] == 2:
        return np.ones(len(logits))
    return np.asarray(np.maximum(logits.std(axis=1), 1e-12))


def _runner_up(logits: F64, y: NDArray[np.int64]) -> NDArray[np.int64]:
    others = logits.copy()
    others[np.arange(len(y)), y] = -np.inf
    return np.asarray(others.argmax(axis=1))


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
TARGETED: dict[str, Targeted] = {
    "targeted-margin": targeted_margin,
    "targeted-dlr": targeted_dlr,
}


def loss_of(name: Any) -> Loss:
    """Return a loss by name.

    Raises:
        InputError: there is none.
    """
    if name not in LOSSES:
        known = ", ".join([*LOSSES, *TARGETED])
        raise InputError(f"no loss {name!r}", where="attack", hint=f"Known: {known}.")
    return LOSSES[name]
