"""The float dialect: what was trained, before anything is changed.

A network is a graph of nodes applied at every timestep to the same image (direct coding); without
edges it is a chain.
Arrays follow torch's layout: images (C, H, W), convolution kernels (out, in/groups, kH, kW).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir.limits import INPUT, LATER
from spikeproof.ir.order import Order, run_order
from spikeproof.ir.readouts import ReadoutRule

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
    """y = gamma (x - mean) / sqrt(var + eps) + beta per channel, statistics frozen.

    Of flat data each number is a channel, as in torch's BatchNorm1d.
    """

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
class Add:
    """The sum of what its edges bring, coefficients applied: an analog residual stream."""

    name: str


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

    def arranged(self, flat: Shape, shape: Shape) -> Lif:
        """Return the same for flat neurons that are put into another shape, in C-order."""
        if flat == shape:
            return self
        numbers = {key: getattr(self, key) for key in ("leak", "threshold", "reset", "initial")}
        changes: dict[str, Any] = {
            key: value.reshape(shape)
            for key, value in numbers.items()
            if isinstance(value, np.ndarray)
        }
        if self.gain is not None and self.gain.shape[1:] == flat:
            changes["gain"] = self.gain.reshape(-1, *shape)
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class MaxPool2d:
    """Whether anything in a window spiked: maxima of binary spikes, windows as of AvgPool2d.

    On the chip it is a population of its own, which fires when at least one of its inputs does.
    """

    name: str
    kernel: tuple[int, int]
    stride: tuple[int, int]

    @property
    def neuron(self) -> Lif:
        """Return what fires if one of the spikes of a window, added up, is there."""
        return Lif(self.name, leak=0.0, threshold=0.5)


@dataclass(frozen=True, eq=False)
class Readout:
    """What is the answer.

    rule "auto": the mean of the input current over the timesteps. "last", "mean", "max", "max-abs":
    that of the membrane m[t] = m[t-1] + I[t], which neither leaks nor spikes. "count", "first": of
    the spikes of the Lif right before it, see :mod:`spikeproof.ir.readouts`.
    """

    name: str
    rule: ReadoutRule = field(default="auto", metadata=LATER)


FloatNode = (
    InputScale
    | Conv2d
    | Linear
    | BatchNorm2d
    | AvgPool2d
    | MaxPool2d
    | Add
    | Flatten
    | Lif
    | Readout
)
FLOAT_NODES: tuple[type[FloatNode], ...] = (
    InputScale,
    Conv2d,
    Linear,
    BatchNorm2d,
    AvgPool2d,
    MaxPool2d,
    Add,
    Flatten,
    Lif,
    Readout,
)


@dataclass(frozen=True)
class Edge:
    """What one node sends to another: ``coefficient`` times its output of ``lag`` steps before.

    source: a node or INPUT. Before the first step nothing is sent. All that reaches a node is added
    up. trained: whether the coefficient is a parameter also while it happens to be 1; any other one
    is in any case.
    """

    source: str
    target: str
    lag: int = 0
    coefficient: float = 1.0
    trained: bool = field(default=False, metadata=LATER)


class Incoming(NamedTuple):
    """An edge seen from its target: the position of its source (-1: the input)."""

    source: int
    lag: int
    coefficient: float
    trained: bool = False

    @property
    def weighted(self) -> bool:
        """Tell whether its coefficient is a parameter, or simply there."""
        return self.trained or self.coefficient != 1


@dataclass(frozen=True, eq=False)
class FloatNetwork:
    """A trained network: nodes that run for ``timesteps`` steps.

    Args:
        input_shape: (C, H, W) of an image with values in [0, 1].
        nodes: in order of application; validated by :func:`spikeproof.ir.check_float.check_float`.
        edges: who feeds whom; none: each node is fed by the one before, the first by the input.
    """

    name: str
    input_shape: Shape
    timesteps: int
    nodes: tuple[FloatNode, ...]
    edges: tuple[Edge, ...] = field(default=(), metadata=LATER)

    @cached_property
    def incoming(self) -> tuple[tuple[Incoming, ...], ...]:
        """Return what feeds each node.

        Raises:
            KeyError: an edge names a node that is not there.
        """
        if not self.edges:
            return tuple((Incoming(i - 1, 0, 1.0),) for i in range(len(self.nodes)))
        position = {INPUT: -1} | {node.name: i for i, node in enumerate(self.nodes)}
        found: list[list[Incoming]] = [[] for _ in self.nodes]
        for edge in self.edges:
            one = Incoming(position[edge.source], edge.lag, edge.coefficient, edge.trained)
            found[position[edge.target]].append(one)
        return tuple(map(tuple, found))

    @cached_property
    def order(self) -> Order:
        """Return what runs after what, and together."""
        return run_order([tuple(one.source for one in incoming) for incoming in self.incoming])
