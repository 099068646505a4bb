"""What a chip network accepts as input: one check, the same words for every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError
from spikeproof.ir.chip import ChipNetwork


def check_input(network: ChipNetwork, x: NDArray[Any]) -> None:
    """Raise InputError unless x is a legal, non-empty input of the network.

    Pixels: uint8 (N, C, H, W). Spikes: uint8 0/1 (N, T, C, H, W).
    """
    pixels, per_sample = network.coding == "pixels", network.sample_shape
    form = "(N, C, H, W)" if pixels else "(N, T, C, H, W)"
    kind = getattr(x, "dtype", type(x).__name__)
    if kind != np.uint8:
        raise InputError(
            f"input has type {kind}, expected uint8",
            where=network.name,
            hint="Images on the 8-bit grid 0..255; spikes 0 or 1.",
        )
    if x.ndim != 1 + len(per_sample) or x.shape[1:] != per_sample:
        raise InputError(
            f"input has shape {x.shape}, expected {form} = (N, {str(per_sample)[1:]}",
            where=network.name,
        )
    if len(x) == 0:
        raise InputError("input holds no samples", where=network.name)
    if not pixels and x.max() > 1:
        raise InputError(f"spike input holds {x.max()}, expected 0 or 1", where=network.name)
