"""Draw weights of any sign mode, size, type and memory order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir import chip
from spikeproof.ir.limits import WEIGHT_LIMITS

Rng = np.random.Generator
_TYPES: tuple[type[np.signedinteger[Any]], ...] = (np.int16, np.int16, np.int16, np.int32, np.int8)


def draw_weights(
    rng: Rng, shape: tuple[int, ...], sign: chip.Sign, limit: int, nasty: bool
) -> NDArray[Any]:
    """Draw legal weights of magnitude up to ``limit``; nasty ones hold many zeros and extremes."""
    low, high = (max(-limit, WEIGHT_LIMITS[sign][0]), min(limit, WEIGHT_LIMITS[sign][1]))
    weight = rng.integers(low, high + 1, shape)
    if rng.random() < 0.2:  # pruned
        weight = weight * (rng.random(shape) < rng.uniform(0.02, 0.5))
    if nasty:
        weight = np.where(rng.random(shape) < 0.3, rng.choice([0, low, high], shape), weight)
    if sign == "mixed":
        # Toward zero, so that rounding to the even grid cannot leave the range.
        weight = np.sign(weight) * (np.abs(weight) // 2 * 2)
    return in_random_form(rng, weight)


def in_random_form(rng: Rng, values: NDArray[Any]) -> NDArray[Any]:
    """Return the same integers in another type that holds them, at times in Fortran's order."""
    kind = _TYPES[int(rng.integers(len(_TYPES)))]
    order = rng.random() < 0.1
    limits = np.iinfo(kind)
    fits = values.size == 0 or (values.min() >= limits.min and values.max() <= limits.max)
    typed = values.astype(kind if fits else np.int32)
    return np.asfortranarray(typed) if order else typed
