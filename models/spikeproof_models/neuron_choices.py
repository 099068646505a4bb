"""What a recipe may choose about its neurons; the neurons themselves need torch, this does not."""

from __future__ import annotations

from typing import Literal

from spikeproof.errors import InputError

NeuronKind = Literal["lif", "dlif"]
GainForm = Literal["positive", "free"]
LEAK_GRID = 4096
DEFAULT_LEAK = 1 - 41 / LEAK_GRID


def snap_leak(leak: float) -> float:
    """Return the leak of the chip's 1/4096 grid nearest to ``leak``.

    Raises:
        InputError: the leak is outside 0..1.
    """
    if not 0 <= leak <= 1:
        raise InputError(f"leak is {leak}, must be in 0..1")
    return round(leak * LEAK_GRID) / LEAK_GRID
