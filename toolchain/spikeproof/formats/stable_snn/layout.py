"""What tensors the reference code's networks have: names, shapes, and how they are connected.

Widths, classes and input channels are read from the shapes; the rest of a network, kernels of 3x3
with a padding of 1, pools and batch norms with torch's epsilon, is what its name stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.formats.stable_snn.plans import ARCHITECTURES, PLANS, POOL, RESIDUAL
from spikeproof.text import counted

Array = NDArray[Any]
Size = int | str
"""A number, or a letter for one that the file may choose."""

BATCH_NORM_EPS = 1e-5
_GAIN = ".p"
_COUNTER = "num_batches_tracked"
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
NOT_THIS = "Give the state dict of the network that --architecture names."
_DIVERGED = (
    "Numbers that are none are what training leaves that diverged: take an earlier checkpoint."
)
_NOT_FLOATS = "Give the weights as they were trained, in floating point."
_SHOWN = 4
_LARGE_IMAGE = 32
"""Wide ResNets pool windows of 8x8 from this height on, and 4x4 below."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file or with what was said of it, and what to do about it."""

    what: str
    hint: str = ""


@dataclass(frozen=True)
class _Part:
    """A piece of a network; it is fed by ``sources``, or by the part before it if there are none.

    The input of the network feeds the first.
    """

    name: str
    sources: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Conv(_Part):
    """A convolution that keeps the size of the image, but for its stride."""

    width: Size
    kernel: int = 3
    stride: int = 1
    bias: bool = True


@dataclass(frozen=True)
class Norm(_Part):
    """A batch norm."""


@dataclass(frozen=True)
class Neuron(_Part):
    """A layer of neurons."""


@dataclass(frozen=True)
class Pool(_Part):
    """An average pool; the file holds nothing of it. ``small``: its window for small images."""

    window: int = 2
    small: int = 2

    def of(self, image_height: int) -> int:
        """Return the side of the window, which depends on the height of the network's input."""
        return self.window if image_height >= _LARGE_IMAGE else self.small


@dataclass(frozen=True)
class Dense(_Part):
    """A dense layer."""

    width: Size


@dataclass(frozen=True)
class Mix(_Part):
    """What its two sources send, each times a trained coefficient."""


Part = Conv | Norm | Neuron | Pool | Dense | Mix


def parts(architecture: str, state: dict[str, Array]) -> list[Part]:
    """Return the parts of a network in the order of application.

    Of a wide ResNet the file decides whether the first group begins with a shortcut convolution.
    """
    if architecture in RESIDUAL:
        return list(_wide_resnet(RESIDUAL[architecture], state))
    return list(_vgg(PLANS[architecture]))


def _vgg(plans: tuple[tuple[str, ...], ...]) -> Iterator[Part]:
    for block, plan in enumerate(plans, start=1):
        index = 0
        for kind in plan:
            names = [f"layer{block}.{index + i}" for i in range(3)]
            if kind == POOL:
                yield Pool(names[0])
            else:
                yield Conv(names[0], f"width of {names[0]}")
                yield Norm(names[1])
                yield Neuron(names[2])
            index += 1 if kind == POOL else 3
    for index in (0, 2):
        yield Dense(f"classifier.{index}", f"width of classifier.{index}")
        yield Neuron(f"classifier.{index + 1}")
    yield Dense("classifier.4", "K")


def _wide_resnet(blocks: int, state: dict[str, Array]) -> Iterator[Part]:
    """Yield pre-activation blocks; the stream between them is analog and its sums are mixed.

    Where the width changes the shortcut is a convolution of the spikes, elsewhere the stream.
    """
    inner = ".layer" if any(name.startswith("block1.layer.") for name in state) else ""
    yield Conv("conv1", "stem", bias=False)
    stream = "conv1"
    for group in (1, 2, 3):
        for index in range(blocks):
            at, width, stride = f"block{group}{inner}.{index}", f"group {group}", 1
            if index == 0 and group > 1:
                stride = 2
            yield Norm(f"{at}.bn1", sources=(stream,))
            yield Neuron(f"{at}.act1")
            yield Conv(f"{at}.conv1", width, stride=stride, bias=False)
            yield Norm(f"{at}.bn2")
            yield Neuron(f"{at}.act2")
            yield Conv(f"{at}.conv2", width, bias=False)
            if index == 0 and (group > 1 or _widens(state, at)):
                stream = f"{at}.convShortcut"
                yield Conv(stream, width, 1, stride, False, sources=(f"{at}.act1",))
            yield Mix(f"{at}.convex", sources=(stream, f"{at}.conv2"))
            stream = f"{at}.convex"
    yield Norm("bn1")
    yield Neuron("act")
    yield Pool("pool", 8, 4)
    yield Dense("fc", "K")


def _widens(state: dict[str, Array], block: str) -> bool:
    """Tell whether a block has more or fewer channels than what feeds it."""
    found = [state.get(f"{name}.weight") for name in ("conv1", f"{block}.conv1")]
    widths = [array.shape[0] for array in found if array is not None and array.ndim == 4]
    if len(widths) < 2:
        return f"{block}.convShortcut.weight" in state
    return bool(widths[0] != widths[1])


def way(found: list[Part]) -> list[Part]:
    """Return the parts from the input to the first dense layer, those of shortcuts left out."""
    before = {part.name: found[i - 1].name if i else "" for i, part in enumerate(found)}
    named = {part.name: part for part in found}
    steps: list[Part] = []
    at: Part = next(part for part in found if isinstance(part, Dense))
    while (name := at.sources[-1] if at.sources else before[at.name]) in named:
        at = named[name]
        steps.append(at)
    return steps[::-1]


def places(found: list[Part], height: int, width: int) -> int:
    """Count what is left of an image before the dense layers."""
    left = [height, width]
    for part in way(found):
        if isinstance(part, Conv):
            left = [-(-side // part.stride) for side in left]
        elif isinstance(part, Pool):
            left = [side // part.of(height) for side in left]
    return left[0] * left[1]


def reduction(found: list[Part]) -> int:
    """Return the side of the square of pixels that one place before the dense layers stands for."""
    steps = way(found)
    strides = [part.stride for part in steps if isinstance(part, Conv)]
    return prod([*strides, *(part.window for part in steps if isinstance(part, Pool))])


def has_gains(state: dict[str, Array], architecture: str) -> bool:
    """Tell DLIF neurons from LIF neurons: they have a gain, some or all of which are there."""
    return any(name in state for name in gain_names(state, architecture))


def gain_names(state: dict[str, Array], architecture: str) -> list[str]:
    """Return the names of the gains of DLIF neurons."""
    return [gain(part) for part in parts(architecture, state) if isinstance(part, Neuron)]


def gain(neuron: Neuron) -> str:
    """Return the name of the gain of DLIF neurons."""
    return f"{neuron.name}{_GAIN}"


def is_gain(name: str) -> bool:
    """Tell the name of a gain, whatever its neurons are called."""
    return name.endswith(_GAIN)


def coefficients(mix: Mix) -> str:
    """Return the name of a sum's coefficients."""
    return f"{mix.name}.comb"


def problems(state: dict[str, Array], architecture: str) -> list[Problem]:
    """List all that is wrong with names, shapes and values (empty: nothing)."""
    expected = dict(_expected(state, architecture))
    norms = [part for part in parts(architecture, state) if isinstance(part, Norm)]
    counters = {f"{part.name}.{_COUNTER}" for part in norms}
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected and name not in counters]
    told = []
    if missing:
        told.append(f"not in the file, expected ({len(missing)}): {_first(missing)}")
    if unexpected:
        told.append(f"in the file, not expected ({len(unexpected)}): {_names(unexpected)}")
    found = [Problem(what, NOT_THIS) for what in told]
    sizes = _Sizes()
    for name, shape in expected.items():
        if name in state:
            found += _array_problems(name, state[name], sizes.misfit(state[name].shape, shape))
    return found


def _names(unexpected: list[str]) -> str:
    """List names; counters, which say nothing of a network, as a number of them."""
    telling = [name for name in unexpected if not name.endswith(_COUNTER)]
    counters = len(unexpected) - len(telling)
    told = [_first(telling)] * bool(telling) + [f"{counters} {_COUNTER}"] * bool(counters)
    return ", ".join(told)


def _first(names: Sequence[str]) -> str:
    """List names, of many the first few: one that is wrong tells what the others do."""
    left = len(names) - _SHOWN
    return ", ".join(names) if left <= 1 else f"{', '.join(names[:_SHOWN])} and {left} more"


def named(state: dict[str, Array]) -> str | None:
    """Return the architecture that has exactly the names of a file, None if none does."""
    names = {name for name in state if not name.endswith(_COUNTER)}
    fits = (a for a in ARCHITECTURES if names == {name for name, _ in _expected(state, a)})
    return next(fits, None)


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


def _array_problems(name: str, array: Array, expected: str) -> list[Problem]:
    found = []
    if expected:
        found.append(Problem(f"{name} has shape {array.shape}, expected {expected}", NOT_THIS))
    if array.dtype not in (np.float32, np.float64):
        what = f"{name} holds {array.dtype}, expected floating point numbers"
        found.append(Problem(what, _NOT_FLOATS))
    elif not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        what = (
            f"{name}: {bad:,} of {counted(array.size, 'value')} "
            f"{'is' if bad == 1 else 'are'} NaN or infinite"
        )
        found.append(Problem(what, _DIVERGED))
    return found


def _expected(state: dict[str, Array], architecture: str) -> Iterator[tuple[str, tuple[Size, ...]]]:
    """Yield each tensor's name with its shape; a letter stands for a width the file chooses."""
    gains = has_gains(state, architecture)
    widths: dict[str, Size] = {}
    last: Size = "C"
    flat = False
    for part in parts(architecture, state):
        given = widths[part.sources[-1]] if part.sources else last
        last = given
        if isinstance(part, Conv):
            yield f"{part.name}.weight", (part.width, given, part.kernel, part.kernel)
            if part.bias:
                yield f"{part.name}.bias", (part.width,)
            last = part.width
        elif isinstance(part, Norm):
            for name in BATCH_NORM:
                yield f"{part.name}.{name}", (given,)
        elif isinstance(part, Dense):
            yield f"{part.name}.weight", (part.width, given if flat else "F")
            yield f"{part.name}.bias", (part.width,)
            last, flat = part.width, True
        elif isinstance(part, Neuron) and gains:
            yield gain(part), ("T",)
        elif isinstance(part, Mix):
            yield coefficients(part), (2,)
        widths[part.name] = last
