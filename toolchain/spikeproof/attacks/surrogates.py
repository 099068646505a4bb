"""Stand-ins for the derivative of a spike, by name; they change the backward pass only."""

from __future__ import annotations

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


SURROGATES: Registry[Surrogate] = Registry(
    "surrogate", "spikeproof.surrogates", {TRIANGLE: "spikeproof.attacks.surrogates:triangle"}
)
