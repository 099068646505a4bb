"""The float dialect: what was trained, before anything is changed.

A network is a chain of nodes applied at every timestep to the same image (direct coding).
Arrays follow torch's layout: images (C, H, W), convolution kernels (out, in/groups, kH, kW).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir.limits import LATER

FloatArray = NDArray[np.floating[Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class InputScale:
    """x -> (x - mean) / std per channel; x in [0, 1], mean and std of shape (C,)."""

    name: str
    mean: FloatArray
    std: FloatArray


@dataclass(frozen=True, eq=False)
class Conv2d:
    """Cross-correlation with zero padding; bias (O,), or (O, H, W) after folding, or None."""

    name: str
    weight: FloatArray
    bias: FloatArray | None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Linear:
    """y = W x + b on the input flattened in (C, H, W) order; weight (out, in), bias (out,)."""

    name: str
    weight: FloatArray
    bias: FloatArray | None


@dataclass(frozen=True, eq=False)
class BatchNorm2d:
    """y = gamma (x - mean) / sqrt(var + eps) + beta per channel, statistics frozen."""

    name: str
    gamma: FloatArray
    beta: FloatArray
    mean: FloatArray
    var: FloatArray
    eps: float = 1e-5


@dataclass(frozen=True, eq=False)
class AvgPool2d:
    """Mean over windows without padding; incomplete windows at the border are dropped."""

    name: str
    kernel: tuple[int, int]
    stride: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Flatten:
    """(C, H, W) -> (C*H*W,), C-order."""

    name: str


@dataclass(frozen=True, eq=False)
class Lif:
    """v[t] = leak v[t-1] + gain[t] I[t]; spike at v > threshold (>= if not strict); reset.

    A spike takes ``reset`` off v; None puts v to 0, and 0 leaves it alone. Before the first step v
    is ``initial``. Each number is one for all neurons or an array that broadcasts to them. ``gain``
    has one row per timestep, (T,) or (T, ...) (DLIF), or is None (LIF).

    A subtraction that is not leaked, as in snnTorch's default ``Leaky``, v[t] = leak v[t-1] + I[t]
    - theta s[t-1], is a reset of theta / leak.
    Source: "Robust Stable Spiking Neural Networks", ICML 2024; semantics of snnTorch 1.0.
    """

    name: str
    leak: float | FloatArray
    threshold: float | FloatArray
    strict: bool = True
    gain: FloatArray | None = None
    reset: float | FloatArray | None = field(default=None, metadata=LATER)
    initial: float | FloatArray = field(default=0.0, metadata=LATER)

    def __post_init__(self) -> None:
        """Take an array of one number for that number."""
        for key in ("leak", "threshold", "reset", "initial"):
            value = getattr(self, key)
            if isinstance(value, np.ndarray) and value.size == 1:
                object.__setattr__(self, key, float(value.item()))

    @property
    def general(self) -> bool:
        """Tell whether neurons differ, do not begin at 0 or are not reset to 0."""
        return (
            self.reset is not None
            or bool(np.any(self.initial))
            or any(np.size(number) > 1 for number in (self.leak, self.threshold))
            or (self.gain is not None and self.gain.ndim > 1)
        )


@dataclass(frozen=True, eq=False)
class Readout:
    """Non-spiking output: logits are the mean of the input current over the timesteps."""

    name: str


FloatNode = InputScale | Conv2d | Linear | BatchNorm2d | AvgPool2d | Flatten | Lif | Readout
FLOAT_NODES: tuple[type[FloatNode], ...] = (
    InputScale,
    Conv2d,
    Linear,
    BatchNorm2d,
    AvgPool2d,
    Flatten,
    Lif,
    Readout,
)


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A trained network: a chain of nodes that runs for ``timesteps`` steps.

    Args:
        input_shape: (C, H, W) of an image with values in [0, 1].
        nodes: in order of application; validated by :func:`spikeproof.ir.check_float.check_float`.
    """

    name: str
    input_shape: Shape
    timesteps: int
    nodes: tuple[FloatNode, ...]
