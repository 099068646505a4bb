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
GAUSSIAN = "pdsg"
"""A Gaussian as wide as the potentials of a channel (of all neurons, where a layer is flat) deviate
at that step in that image, centred half a deviation above the threshold; the width multiplies it.

Source: "Potential-dependent surrogate gradients", CVPR 2025.
"""
ADAPTIVE = "assg"
"""An arctangent of adaptive sharpness, by neuron, step and image: running means (by a tenth) of the
distance of v from the threshold and of its deviation say how wide. Its width is a share, below 0.5:
half of the slope's area that lies within mean + 1.5 deviations.

Source: "Towards reliable evaluation of adversarial robustness for spiking neural networks", 2025
(arXiv 2512.22522).
"""
STRAIGHT = "straight-through"
"""1 / width wherever v is."""
OF_TWINS = (GAUSSIAN, ADAPTIVE, STRAIGHT)
"""Surrogates that look at more than one v, or have no area of one: only the fast twins
(:mod:`spikeproof.attacks.twin`) have them."""


@dataclass(frozen=True)
class Estimator:
    """A stand-in for the spike's derivative; it changes the backward pass only.

    Args:
        width: half-width of the surrogate around the threshold, at least ``MIN_WIDTH``; a twin
            measures it in thresholds.
        reset: whether gradients flow through the spike that resets the membrane ("attached"), or
            that spike counts as a constant ("detached").
        surrogate: the slope's form, see :mod:`spikeproof.attacks.surrogates`, ``GAUSSIAN``,
            ``ADAPTIVE`` and ``STRAIGHT``.
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
        if self.surrogate not in SURROGATES and self.surrogate not in OF_TWINS:
            known = ", ".join([*SURROGATES.names(), *OF_TWINS])
            raise InputError(f"no surrogate {self.surrogate!r}", hint=f"Known: {known}.")
        if self.surrogate == ADAPTIVE and self.width >= 0.5:
            raise InputError(
                f"the share is {self.width:g}, expected less than 0.5",
                where="attack",
                hint="0.425 is what its authors use.",
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
