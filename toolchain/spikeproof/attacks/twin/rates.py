"""Slopes of firing rates: what takes the place of going back through the steps of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import FIRED, RAMP, Estimator
from spikeproof.engines.compiled import gradients as kernels

if TYPE_CHECKING:
    from spikeproof.attacks.twin.population import Population

Array = NDArray[Any]


def slopes(
    one: Population,
    v: Array,
    s: NDArray[np.uint8],
    form: int,
    estimator: Estimator,
    adapted: tuple[Array, Array, int],
) -> Array:
    """Return the slope of each neuron's rate by a drive that is the same at all steps, (N, 1, K).

    Args:
        one: the neurons.
        v: (N, T, K), before resets.
        s: spikes, (N, T, K).
        form: of the kernel's slopes.
        estimator: through rates.
        adapted: what an adaptive slope needs, see :func:`kernels.neurons_back`.
    """
    numbers = one.cast(v.dtype.type)
    nothing, out = np.zeros_like(numbers["leak"]), np.empty_like(v)
    kernels.neurons_back(  # without leak and reset each step stands alone
        v,
        s,
        np.ones_like(v),
        np.zeros((0, 0, 0), v.dtype),
        nothing,
        nothing[0],
        np.ones_like(nothing),
        numbers["threshold"],
        numbers["unit"],
        numbers["taken"],
        one.hard,
        False,
        form,
        estimator.width,
        *adapted,
        out,
    )
    found = out.mean(axis=1, keepdims=True)
    if estimator.surrogate == FIRED:
        found = found * s.any(axis=1, keepdims=True)
    if estimator.surrogate == RAMP:
        share = _mean_current(one, v, s) / numbers["threshold"].mean(axis=0)
        found = found * ((share > 0) & (share < estimator.width))
    return np.asarray(found, v.dtype)


def drive_gain(one: Population, kind: Any, *, host: bool) -> Array:
    """Return the mean over steps of what a constant drive of 1 adds to v at each, (K,).

    ``host``: it is added to v itself; else a current that u may keep a part of.
    """
    numbers = one.cast(kind)
    steps = len(numbers["gain"])
    keep = np.zeros_like(numbers["keep"]) if host else numbers["keep"]
    kept = np.cumsum(keep[None] ** np.arange(steps)[:, None], axis=0)
    return np.asarray((numbers["gain"] * kept).mean(axis=0), kind)


def _mean_current(one: Population, v: Array, s: NDArray[np.uint8]) -> Array:
    """Return the mean over steps of what was added to v, (N, 1, K)."""
    numbers = one.cast(v.dtype.type)
    after = np.where(s, 0 if one.hard else v - numbers["taken"], v)
    first = np.broadcast_to(np.asarray(one.initial, v.dtype), after[:, :1].shape)
    before = np.concatenate([first, after[:, :-1]], axis=1)
    return np.asarray((v - numbers["leak"] * before).mean(axis=1, keepdims=True))
