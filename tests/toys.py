"""What a line in a registry names: importable in processes of their own, as packages are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from spikeproof.attacks.pgd import PGD
from spikeproof.ir.chip import Ints, Neuron, Sign, Synapse


@dataclass(frozen=True, eq=False)
class TiringNeuron(Neuron):
    """A neuron whose threshold rises by ``tiring`` v-units in every step."""

    title: ClassVar[str] = "tiring"
    threshold: int
    tiring: int
    bias: Ints
    bias_exponent: int = 0
    du: int = 3000

    def leak_at(self, t: int) -> int:
        return 4000

    def threshold_at(self, t: int) -> int:
        return self.threshold + self.tiring * t


@dataclass(frozen=True, eq=False)
class OneToOne(Synapse):
    """Each neuron reads the input at its own place; weight (inputs,)."""

    weight: Ints
    sign: Sign = "mixed"
    exponent: int = 0

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def matrix(self) -> Any:
        return np.diag(self.weight)


@dataclass(frozen=True)
class MomentumPGD(PGD):
    """PGD whose direction remembers those before (Dong et al., CVPR 2018)."""

    kind = "mi-pgd"

    def optimiser(self) -> Callable[[Any], Any]:
        kept = [0.0]

        def direction(gradient: Any) -> Any:
            kept[0] = kept[0] + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
            return kept[0].sign()

        return direction
