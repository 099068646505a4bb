"""How an attack takes the gradient of a spiking network, whose spikes have none of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from spikeproof.attacks.grid import LATER, described
from spikeproof.attacks.surrogates import SURROGATES, TRIANGLE
from spikeproof.errors import InputError

Reset = Literal["attached", "detached"]
Through = Literal["steps", "rates"]
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
FIRED = "fired"
"""Of rates only: 1 / width for neurons that fired at all (BPTR, backward pass through the rate).

Source: Ding et al., "SNN-RAT: Robustness-enhanced spiking neural network through regularized
adversarial training", NeurIPS 2022.
"""
RAMP = "ramp"
"""Of rates only: 1 / width for neurons whose mean current lies between 0 and width thresholds: the
slope of the clipped ramp that a rate would be of it (activation proxy, as in conversion)."""
OF_RATES = (FIRED, RAMP)
OF_TWINS = (GAUSSIAN, ADAPTIVE, STRAIGHT, *OF_RATES)
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
            ``ADAPTIVE`` and ``STRAIGHT``; through rates ``FIRED`` and ``RAMP``, too.
        leak: whether gradients flow from one step to the next through what the membrane keeps
            ("attached"), or only through spikes of the same step ("detached"; twins only). A
            readout's own membrane is always gone through.
        through: "steps": back through all steps; "rates": one step back through the network of
            firing rates, each layer's slope the mean over its steps (twins only; cheap). Reset and
            leak play no part in it.

            Source: Bu et al., "Rate gradient approximation attack threats deep spiking neural
            networks", CVPR 2023.
    """

    width: float = 1.0
    reset: Reset = "attached"
    surrogate: str = TRIANGLE
    leak: Reset = field(default="attached", metadata=LATER)
    through: Through = field(default="steps", metadata=LATER)

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
        self._check_ways()
        if self.surrogate not in SURROGATES and self.surrogate not in OF_TWINS:
            known = ", ".join([*SURROGATES.names(), *OF_TWINS])
            raise InputError(f"no surrogate {self.surrogate!r}", hint=f"Known: {known}.")
        if self.surrogate == ADAPTIVE and self.width >= 0.5:
            raise InputError(
                f"the share is {self.width:g}, expected less than 0.5",
                where="attack",
                hint="0.425 is what its authors use.",
            )

    def _check_ways(self) -> None:
        if self.leak not in ("attached", "detached"):
            raise InputError(f"leak is {self.leak!r}, expected 'attached' or 'detached'")
        if self.through not in ("steps", "rates"):
            raise InputError(f"through is {self.through!r}, expected 'steps' or 'rates'")
        if self.leak == "detached" and self.reset == "attached":
            raise InputError(
                "the leak is detached and the reset is not",
                where="attack",
                hint="A reset acts on the next step through the leak: detach both.",
            )
        if self.surrogate in OF_RATES and self.through != "rates":
            raise InputError(
                f"the surrogate {self.surrogate!r} is one of rates, not of steps",
                where="attack",
                hint='Add through="rates".',
            )

    @property
    def of_twins(self) -> bool:
        """Whether only twins take gradients in this way."""
        ways = self.leak == "detached" or self.through == "rates"
        return ways or self.surrogate in OF_TWINS

    @property
    def name(self) -> str:
        """Half-width, reset and any surrogate but the triangle: ``0.25 detached``."""
        if self.through == "rates":
            return f"{self.width:g} rates{self._form}"
        leak = "" if self.leak == "attached" else " no leak"
        return f"{self.width:g} {self.reset}{self._form}{leak}"

    @property
    def told(self) -> str:
        """Say it in words: ``slope half-width 0.25, gradient through the reset``."""
        if self.through == "rates":
            return f"slope half-width {self.width:g}{self._form}, gradient of the rates"
        through = "through" if self.reset == "attached" else "not through"
        leak = "" if self.leak == "attached" else ", not from step to step"
        return f"slope half-width {self.width:g}{self._form}, gradient {through} the reset{leak}"

    @property
    def _form(self) -> str:
        return "" if self.surrogate == TRIANGLE else f" {self.surrogate}"

    def describe(self) -> dict[str, Any]:
        """Return what defines it as plain JSON; as ever, a triangle goes without saying."""
        return {k: v for k, v in described(self).items() if v != TRIANGLE}
