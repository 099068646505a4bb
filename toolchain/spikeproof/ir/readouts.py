"""What of the last layer is the answer: one rule for every engine, ties included.

Each rule gives one whole number per neuron, and the prediction is the first of the largest.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

ReadoutRule = Literal["auto", "last", "mean", "max", "max-abs", "count", "first"]
"""auto: last where the last layer does not spike, else count.

last: v at the last step. mean: the sum of v over the steps, which is T times their mean.
max, max-abs: the largest v, or magnitude of v, of all steps. count: how often a neuron fired.
first: T for a neuron that fires at the first step, one less for each step later, 0 for never.
v is that before the reset, as traces hold it.
"""
FROM_SPIKES: tuple[ReadoutRule, ...] = ("count", "first")


def settled(rule: ReadoutRule, spiking: bool) -> ReadoutRule:
    """Return the rule that "auto" stands for, and any other as it is."""
    if rule != "auto":
        return rule
    return "count" if spiking else "last"


def answers(
    rule: ReadoutRule, v: NDArray[np.int32], s: NDArray[np.uint8] | None
) -> NDArray[np.int64]:
    """Return the logits (N, neurons) of traces v and s, (N, T, *neurons); s None: no spikes."""
    match settled(rule, s is not None):
        case "last":
            found = v[:, -1].astype(np.int64)
        case "mean":
            found = v.sum(axis=1, dtype=np.int64)
        case "max":
            found = v.max(axis=1).astype(np.int64)
        case "max-abs":
            found = np.abs(v.astype(np.int64)).max(axis=1)
        case "first":
            found = _first(_spikes(s))
        case _:
            found = _spikes(s).sum(axis=1, dtype=np.int64)
    return found.reshape(len(v), -1)


def _spikes(s: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    if s is None:
        raise ValueError("a layer that does not spike has no spikes to read")
    return s


def _first(s: NDArray[np.uint8]) -> NDArray[np.int64]:
    steps = s.shape[1]
    return np.where(s.any(axis=1), steps - s.argmax(axis=1), 0).astype(np.int64)
