"""What weighs payloads: each synapse knows its shapes, its sums and its limits.

A new kind is a frozen dataclass that inherits from :class:`Synapse`, under its own name in
:mod:`spikeproof.ir.registry`. Engines that have no way of their own for it multiply with its
matrix.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.ir.limits import WEIGHT_LIMITS, integer_problems
from spikeproof.ir.windows import Shape, conv_output, dense_output

Ints = NDArray[np.signedinteger[Any]]
Sign = Literal["mixed", "excitatory", "inhibitory"]
S = TypeVar("S", bound="Synapse")


class Synapse(ABC):
    """Weights from one source to one population.

    ``sign`` selects the legal 8-bit weights: mixed = even -256..254, excitatory = 0..255,
    inhibitory = -255..0. ``exponent`` shifts the finished sum (floor when negative).
    """

    title: ClassVar[str] = "synapse"
    """What tables call it."""
    weight: Ints
    sign: Sign
    exponent: int

    @abstractmethod
    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the sums over an input of ``shape``, or raise GraphError."""

    def matrix(self) -> Any:
        """Return the weights as a matrix (outputs, inputs), both flattened in C-order."""
        return self.weight

    @property
    def rows(self) -> Ints:
        """Return the weights that one sum has, one row for each; places share those of a kernel."""
        matrix: Ints = self.matrix()
        return matrix.reshape(len(matrix), -1)

    @property
    def fan_in(self) -> int:
        """Return how many weights one sum has, zeros included."""
        return int(np.prod(self.weight.shape[1:]))

    @property
    def stored(self) -> int:
        """Return how many weights are not zero, a kernel's once for each place they act at."""
        return int(np.count_nonzero(self.matrix()))

    def unfolded(self, neurons: int) -> int:
        """Return how many values the unfolded windows of one step hold, if it has windows."""
        return 0

    def largest_sum(self, payload: int) -> int:
        """Return the largest sum of |weight| times payload into one neuron, before the exponent."""
        rows = np.abs(self.rows.astype(np.int32))
        return int(rows.sum(axis=1, dtype=np.int64).max()) * payload

    def largest_shifted_sum(self, payload: int) -> int:
        """Return the largest magnitude of a sum after the exponent (a floor makes it larger)."""
        return shifted_magnitude(self.largest_sum(payload), self.exponent)

    def changed(self: S, **fields: Any) -> S:
        """Return a copy with other values in some fields."""
        return dataclasses.replace(self, **fields)  # type: ignore[type-var]

    def problems(self) -> list[str]:
        """List what the chip cannot hold."""
        problems = weight_problems("weight", self.weight, *WEIGHT_LIMITS[self.sign])
        if not problems and self.sign == "mixed" and (self.weight % 2).any():
            problems.append("mixed-sign weights must be even (the chip drops the lowest bit)")
        if not -8 <= self.exponent <= 7:
            problems.append(f"weight exponent {self.exponent} is outside -8..7")
        return problems

    def input_problems(self, shape: Shape) -> list[str]:
        """List how an input differs from the one that is declared, if one is."""
        return []


@dataclass(frozen=True, eq=False)
class DenseSynapse(Synapse):
    """a = W s on the input flattened in C-order; weight (out, in)."""

    title: ClassVar[str] = "dense"
    weight: Ints
    sign: Sign = "mixed"
    exponent: int = 0

    def output_shape(self, shape: Shape) -> Shape:
        """Return (out,), or raise GraphError."""
        return dense_output(self.weight.shape, shape)


@dataclass(frozen=True, eq=False)
class ConvSynapse(Synapse):
    """Cross-correlation with zero padding; weight (out, in/groups, kH, kW), input (C, H, W)."""

    title: ClassVar[str] = "conv"
    weight: Ints
    input_shape: tuple[int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    sign: Sign = "mixed"
    exponent: int = 0

    def output_shape(self, shape: Shape) -> Shape:
        """Return (out, H, W), or raise GraphError."""
        return conv_output(self, shape)

    def matrix(self) -> Any:
        """Return it unrolled, as a sparse matrix in rows without stored zeros."""
        from spikeproof.ir.unroll import unroll

        return unroll(self)

    @property
    def rows(self) -> Ints:
        """Return the kernel of each channel, flat."""
        return self.weight.reshape(len(self.weight), -1)

    @property
    def stored(self) -> int:
        """Return how many weights the matrix holds."""
        from spikeproof.ir.unroll import count_taps

        return count_taps(self)

    def unfolded(self, neurons: int) -> int:
        """Return how many values the unfolded windows of one step hold."""
        return neurons // len(self.weight) * self.groups * self.fan_in

    def input_problems(self, shape: Shape) -> list[str]:
        """Say that the image is not the one declared."""
        if shape == tuple(self.input_shape):
            return []
        return [f"declares inputs {tuple(self.input_shape)}, gets {shape}"]


def shifted_magnitude(worst: int, exponent: int) -> int:
    """Return the magnitude of a sum -worst after its exponent (the floor makes it the larger)."""
    return -int(fx.shift_sum(-worst, exponent))


def weight_problems(label: str, weight: Any, low: int, high: int) -> list[str]:
    """Say what is wrong with weights that must be integers in ``low..high``."""
    problems = integer_problems(label, weight, low, high)
    return problems or ([] if weight.ndim and weight.size else [f"{label} is empty"])
