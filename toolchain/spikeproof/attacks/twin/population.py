"""What a twin is made of: neurons of a layer, and what each source brings to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.twin.maps import Map, Shape

Array = NDArray[Any]
F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Feed:
    """What one source brings to a population.

    source: a population's position, -1: the input. factor: what a finished sum is multiplied with,
    a power of two; below 1 the product is floored. host: (offset (K,), divisor), if the sum is a
    current that a host computes and rounds half up.
    """

    source: int
    lag: int
    map: Map
    factor: float = 1.0
    host: tuple[F64, float] | None = None


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of a layer, flat, channels side by side.

    leak, gain, threshold, unit: (T, K); keep, taken, initial, bias: (K,). ``unit`` is what widths
    of slopes are measured in. drive: the type sums are exact in. chip: whether v is whole numbers
    in the chip's arithmetic; bias is then added to v, else to the sums. carried: leak in the type
    of gradients, and so on (``in_gradients``).
    """

    name: str
    shape: Shape
    feeds: tuple[Feed, ...]
    leak: Array
    gain: Array
    threshold: Array
    unit: Array
    keep: Array
    taken: Array
    initial: Array
    bias: Array
    drive: Any
    hard: bool
    strict: bool
    chip: bool
    spiking: bool
    bias_factor: float = 1.0
    """What a unit of the bias (or of the host's current) adds to v."""

    def __post_init__(self) -> None:
        """Keep what the way back needs in the type of gradients, once."""
        object.__setattr__(self, "_cast", {})

    def cast(self, kind: Any) -> dict[str, Array]:
        """Return leak, gain, threshold, unit, keep and taken in another type."""
        kept: dict[Any, dict[str, Array]] = getattr(self, "_cast")  # noqa: B009
        if kind not in kept:
            names = ("leak", "gain", "threshold", "unit", "keep", "taken")
            kept[kind] = {name: np.ascontiguousarray(getattr(self, name), kind) for name in names}
        return kept[kind]
