"""Stand-ins for the derivative of a spike, by name; they change the backward pass only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from spikeproof.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    Surrogate = Callable[[Tensor, float, float], Tensor]
    """Called as (v, threshold, half-width) for the slope at each v; never alters v."""

TRIANGLE = "triangle"


def triangle(v: Tensor, threshold: float, width: float) -> Tensor:
    """Return max(0, width - |v - threshold|) / width^2: a triangle of unit area."""
    # In place on one fresh tensor: this is the largest cost of training on a CPU.
    slope = (v - threshold).abs_().neg_().add_(width).clamp_(min=0)
    return slope if width == 1 else slope.div_(width * width)


def arctangent(v: Tensor, threshold: float, width: float) -> Tensor:
    """Return 1 / width / (1 + (pi (v - threshold) / width)^2): unit area, as high as the triangle.

    Half of its area lies within width / pi.
    """
    return ((v - threshold) * (math.pi / width)).square_().add_(1).reciprocal_().div_(width)


def rectangular(v: Tensor, threshold: float, width: float) -> Tensor:
    """Return 1 / (2 width) where |v - threshold| < width, else 0."""
    return ((v - threshold).abs_() < width).to(v.dtype).div_(2 * width)


def exponential(v: Tensor, threshold: float, width: float) -> Tensor:
    """Return exp(-|v - threshold| / width) / (2 width)."""
    return (v - threshold).abs_().div_(-width).exp_().div_(2 * width)


SURROGATES: Registry[Surrogate] = Registry(
    "surrogate",
    "spikeproof.surrogates",
    {
        TRIANGLE: "spikeproof.attacks.surrogates:triangle",
        "arctangent": "spikeproof.attacks.surrogates:arctangent",
        "rectangular": "spikeproof.attacks.surrogates:rectangular",
        "exponential": "spikeproof.attacks.surrogates:exponential",
    },
)
