"""What tensors the reference code's networks have: names, shapes, and how they are connected.

Widths, classes and input channels are read from the shapes; the rest of a network, kernels of 3x3
with a padding of 1, pools of 2x2 and batch norms with torch's epsilon, is what its name stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Size = int | str
"""A number, or a letter for one that the file may choose."""

POOL = "pool"
PLANS: dict[str, tuple[tuple[str, ...], ...]] = {
    "vgg5": (("conv", POOL), ("conv", "conv", POOL)),
    "vgg11": (
        ("conv", POOL),
        ("conv", "conv", POOL),
        ("conv", "conv", "conv", POOL),
        ("conv", "conv"),
    ),
}
"""The blocks ``layer1``, ``layer2``, ... of each architecture; three dense layers follow."""
GRAPHS = {
    "wrn16": "its residual additions make it a graph, and only chains can be written down yet",
}
"""Architectures of the reference code that are known and cannot be read, with the reason."""
BATCH_NORM_EPS = 1e-5
_COUNTER = "num_batches_tracked"
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Conv:
    """A convolution, its batch norm and its neurons: where they stand in the file."""

    conv: str
    norm: str
    neuron: str


@dataclass(frozen=True)
class Pool:
    """An average pool; the file holds nothing of it."""

    name: str


@dataclass(frozen=True)
class Dense:
    """A dense layer and its neurons (None: it is the readout)."""

    linear: str
    neuron: str | None


Part = Conv | Pool | Dense


def parts(architecture: str) -> list[Part]:
    """Return the parts of a network in the order of application."""
    found: list[Part] = []
    for block, plan in enumerate(PLANS[architecture], start=1):
        index = 0
        for kind in plan:
            names = [f"layer{block}.{index + i}" for i in range(3)]
            found.append(Pool(names[0]) if kind == POOL else Conv(*names))
            index += 1 if kind == POOL else 3
    return [
        *found,
        Dense("classifier.0", "classifier.1"),
        Dense("classifier.2", "classifier.3"),
        Dense("classifier.4", None),
    ]


def pools(architecture: str) -> int:
    """Count the pools: each halves the image."""
    return sum(isinstance(part, Pool) for part in parts(architecture))


def has_gains(state: dict[str, Array], architecture: str) -> bool:
    """Tell DLIF neurons from LIF neurons: they have a gain, some or all of which are there."""
    return any(_gain(neuron) in state for neuron in _neurons(architecture))


def gain_names(architecture: str) -> list[str]:
    """Return the names of the gains of DLIF neurons."""
    return [_gain(neuron) for neuron in _neurons(architecture)]


def problems(state: dict[str, Array], architecture: str) -> list[str]:
    """List all that is wrong with names, shapes and values (empty: nothing)."""
    expected = dict(_expected(state, architecture))
    counters = {f"{p.norm}.{_COUNTER}" for p in parts(architecture) if isinstance(p, Conv)}
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected and name not in counters]
    found = []
    if missing:
        found.append(f"not in the file, expected ({len(missing)}): {', '.join(missing)}")
    if unexpected:
        found.append(f"in the file, not expected ({len(unexpected)}): {', '.join(unexpected)}")
    sizes = _Sizes()
    for name, shape in expected.items():
        if name in state:
            found += _array_problems(name, state[name], sizes.misfit(state[name].shape, shape))
    return found


def better_name(state: dict[str, Array], architecture: str) -> str | None:
    """Return another architecture that has exactly these names, if one does."""
    for other in PLANS:
        expected = {name for name, _ in _expected(state, other)}
        if other != architecture and expected == {n for n in state if not n.endswith(_COUNTER)}:
            return other
    return None


@dataclass
class _Sizes:
    """Widths as they are met: a letter stands for what the first tensor that has it says."""

    known: dict[str, int] = field(default_factory=dict)

    def misfit(self, found: tuple[int, ...], expected: tuple[Size, ...]) -> str:
        """Say what shape was expected, "" if it is the one found."""
        wanted = [
            self.known.get(size, size) if isinstance(size, str) else size for size in expected
        ]
        fits = len(found) == len(wanted) and all(
            have >= 1 if isinstance(want, str) else have == want
            for have, want in zip(found, wanted, strict=True)
        )
        if not fits:
            shown = ["any" if isinstance(size, str) else str(size) for size in wanted]
            return f"({', '.join(shown)}{',' * (len(shown) == 1)})"
        for have, size in zip(found, expected, strict=True):
            if isinstance(size, str):
                self.known.setdefault(size, have)
        return ""


def _array_problems(name: str, array: Array, expected: str) -> list[str]:
    found = []
    if expected:
        found.append(f"{name} has shape {array.shape}, expected {expected}")
    if array.dtype not in (np.float32, np.float64):
        found.append(f"{name} holds {array.dtype}, expected floating point numbers")
    elif not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        found.append(f"{name} holds {bad:,} value(s) of {array.size:,} that are NaN or infinite")
    return found


def _expected(state: dict[str, Array], architecture: str) -> Iterator[tuple[str, tuple[Size, ...]]]:
    """Yield each tensor's name with its shape; a letter stands for a width the file chooses."""
    gains = has_gains(state, architecture)
    before: Size = "C"
    for number, part in enumerate(parts(architecture)):
        if isinstance(part, Pool):
            continue
        width = "K" if isinstance(part, Dense) and part.neuron is None else f"N{number}"
        if isinstance(part, Conv):
            yield f"{part.conv}.weight", (width, before, 3, 3)
            yield f"{part.conv}.bias", (width,)
            for name in _BATCH_NORM:
                yield f"{part.norm}.{name}", (width,)
        else:
            inputs = "F" if part.linear == "classifier.0" else before
            yield f"{part.linear}.weight", (width, inputs)
            yield f"{part.linear}.bias", (width,)
        if gains and part.neuron is not None:
            yield _gain(part.neuron), ("T",)
        before = width


def _neurons(architecture: str) -> list[str]:
    found = [part.neuron for part in parts(architecture) if not isinstance(part, Pool)]
    return [neuron for neuron in found if neuron is not None]


def _gain(neuron: str) -> str:
    return f"{neuron}.p"
