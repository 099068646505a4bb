"""How an attack takes the gradient of a spiking network, whose spikes have none of their own."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from spikeproof.attacks.surrogates import SURROGATES, TRIANGLE
from spikeproof.errors import InputError

Reset = Literal["attached", "detached"]
MIN_WIDTH = 0.01
"""With a narrower surrogate hardly any neuron passes a gradient: the attack would be off."""


@dataclass(frozen=True)
class Estimator:
    """A stand-in for the spike's derivative; it changes the backward pass only.

    Args:
        width: half-width of the surrogate around the threshold, at least ``MIN_WIDTH``.
        reset: whether gradients flow through the spike that resets the membrane ("attached"), or
            that spike counts as a constant ("detached").
        surrogate: the slope's form, see :mod:`spikeproof.attacks.surrogates`.
    """

    width: float = 1.0
    reset: Reset = "attached"
    surrogate: str = TRIANGLE

    def __post_init__(self) -> None:
        """Check all fields."""
        if not MIN_WIDTH <= self.width < math.inf:
            raise InputError(
                f"surrogate width is {self.width:g}, expected at least {MIN_WIDTH:g}",
                where="attack",
                hint="A narrower slope passes hardly any gradient, which switches the attack off.",
            )
        if self.reset not in ("attached", "detached"):
            raise InputError(f"reset is {self.reset!r}, expected 'attached' or 'detached'")
        if self.surrogate not in SURROGATES:
            raise InputError(
                f"no surrogate {self.surrogate!r}", hint=f"Known: {', '.join(SURROGATES.names())}."
            )

    @property
    def name(self) -> str:
        """Half-width, reset and any surrogate but the triangle: ``0.25 detached``."""
        return f"{self.width:g} {self.reset}{self._form}"

    @property
    def told(self) -> str:
        """Say it in words: ``slope half-width 0.25, gradient through the reset``."""
        through = "through" if self.reset == "attached" else "not through"
        return f"slope half-width {self.width:g}{self._form}, gradient {through} the reset"

    @property
    def _form(self) -> str:
        return "" if self.surrogate == TRIANGLE else f" {self.surrogate}"

    def describe(self) -> dict[str, Any]:
        """Return what defines it as plain JSON; as ever, a triangle goes without saying."""
        return {k: v for k, v in asdict(self).items() if v != TRIANGLE}
