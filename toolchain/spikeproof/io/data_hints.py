"""Say how to bring images of another shape, order or type into the form that is read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.text import counted

Shape = tuple[int, ...]
_IMAGES = ("samples", "channels", "height", "width")
_SPIKES = ("samples", "steps", "channels", "height", "width")


def shape_hint(found: Shape, expected: Shape) -> str:
    """Say how an array of shape ``found`` becomes (N, *expected).

    expected: (C, H, W) of images, (T, C, H, W) of spikes.
    """
    if found and found[0] == 0:
        return "It holds no samples: give at least one."
    if len(expected) == 4:
        return _spike_hint(found, expected)
    return (
        _order_hint(found, expected)
        or _size_hint(found, expected)
        or _axes_hint(_IMAGES, (None, *expected))
    )


def _order_hint(found: Shape, expected: Shape) -> str:
    """Name the numpy call where the values are all there, in another order."""
    channels, height, width = expected
    size, pixels = (height, width), math.prod(expected)
    unfolded = ", ".join(map(str, expected))
    if channels == 1 and found[1:] == size:
        return "The axis of channels is missing: x[:, None] adds it."
    if channels == 1 and found == size:
        return "This is one image without an axis of channels: x[None, None] adds both."
    if found[1:] == (*size, channels):
        return "The channels come last: x.transpose(0, 3, 1, 2) puts them before height and width."
    if found == expected:
        return "This is one image: x[None] makes it a set of one."
    if found == (*size, channels):
        return "This is one image, channels last: x.transpose(2, 0, 1)[None] makes it a set of one."
    if found[:3] == expected and len(found) == 4:
        return "The samples come last: x.transpose(3, 0, 1, 2) puts them first."
    if found[:3] == (*size, channels) and len(found) == 4:
        return "The samples come last, after the channels: x.transpose(3, 2, 0, 1) orders them."
    if found[1:] == (pixels,):
        return f"The images are flat: x.reshape(-1, {unfolded}) unfolds them."
    if found == (pixels,):
        return f"This is one flat image: x.reshape(1, {unfolded}) unfolds it."
    return ""


def _size_hint(found: Shape, expected: Shape) -> str:
    """Say what differs where no order of the values would do."""
    channels, *size = expected
    if len(found) == 5 and found[2:] == expected:
        return (
            f"This looks like {counted(found[1], 'step')} of spikes; this network takes images, "
            "without an axis of steps."
        )
    seen: int | None = None
    if len(found) == 4 and found[2:] == tuple(size):
        seen = found[1]
    elif len(found) == 4 and found[1:3] == tuple(size):
        seen = found[3]
    elif len(found) == 3 and found[1:] == tuple(size):
        seen = 1
    if seen is not None:
        return (
            f"The images have {counted(seen, 'channel')}, the network takes {channels}: bring "
            f"them to {'grey' if channels == 1 else 'colour' if channels == 3 else 'its channels'} "
            "as its training images were."
        )
    if len(found) == 4 and channels in (found[1], found[3]):
        height, width = found[2:] if found[1] == channels else found[1:3]
        return (
            f"The images are {height} x {width} pixels, the network takes {size[0]} x {size[1]}: "
            "scale or crop them as its training images were."
        )
    return ""


def _spike_hint(found: Shape, expected: Shape) -> str:
    steps = expected[0]
    if found[1:] == expected[1:]:
        return (
            "These look like images: this network takes spikes, 0 or 1, over "
            f"{counted(steps, 'step')} (a second axis)."
        )
    if len(found) == 5 and found[0] == steps and found[2:] == expected[1:]:
        return "The steps come first: x.swapaxes(0, 1) puts the samples there."
    if len(found) == 5 and found[2:] == expected[1:]:
        return f"It holds {counted(found[1], 'step')}; the network takes {steps}."
    if found == expected:
        return "This is one sample: x[None] makes it a set of one."
    return _axes_hint(_SPIKES, (None, *expected))


def _axes_hint(names: tuple[str, ...], sizes: tuple[int | None, ...]) -> str:
    axes = [name if n is None else f"{name} {n}" for name, n in zip(names, sizes, strict=True)]
    return f"The axes are {', '.join(axes)}, in this order."


def type_hint(x: NDArray[Any]) -> str:
    """Say how images of a type that is not read become uint8.

    x: some of the samples, of a type other than uint8 and floats.
    """
    if x.dtype.kind == "b":
        return "If True is white, x.astype(numpy.uint8) * 255 gives pixels."
    if x.dtype.kind not in "iu" or not x.size:
        return "Pixels are numbers: store them as uint8, 0 is black and 255 white."
    low, high = int(x.min()), int(x.max())
    if low < 0:
        return "Some are negative: undo the shift, so that 0 is black and 255 white."
    if high <= 1:
        return "If 1 is white, x.astype(numpy.uint8) * 255 gives pixels; else x.astype(numpy.uint8)"
    if high <= 255:
        return "Where all are in 0..255, x.astype(numpy.uint8) converts them without loss."
    if high < 1 << 16:
        return "If they have 16 bits, (x >> 8).astype(numpy.uint8) keeps the upper eight."
    return "Scale them to 0..255, or to floats in 0..1: 0 is black."


def range_hint(x: NDArray[Any]) -> str:
    """Say how floats come into 0..1; x: some of the samples, with finite values outside."""
    finite = x[np.isfinite(x)]
    if float(finite.min()) < 0:
        return "Undo a normalisation to a mean of 0: black is 0, white is 1."
    if float(finite.max()) <= 255:
        return "Divide 0..255 images by 255, or store them as uint8."
    return "Divide by the value that is white: black is 0, white is 1."


def value_range(x: NDArray[Any]) -> str:
    """Name the least and the greatest finite value: ``values from 0 to 255``."""
    finite = x[np.isfinite(x)] if x.dtype.kind == "f" else x
    if not finite.size or x.dtype.kind not in "biuf":
        return ""
    return f"values from {_number(finite.min())} to {_number(finite.max())}"


def _number(value: Any) -> str:
    return f"{int(value)}" if np.asarray(value).dtype.kind in "biu" else f"{float(value):g}"
