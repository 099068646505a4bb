"""What samples and labels must be, and what is said where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError, ShapeError
from spikeproof.io.data_hints import range_hint, shape_hint, type_hint, value_range
from spikeproof.text import counted

_SHOWN = 8
Array = NDArray[Any]


def check_names(names: Sequence[str], path: Path) -> None:
    """Raise InputError unless there is an array ``x`` among those of a file."""
    if "x" in names:
        return
    held = ", ".join(map(repr, sorted(names)[:_SHOWN])) or "nothing"
    if len(names) > _SHOWN:
        held += f" and {len(names) - _SHOWN} more"
    raise InputError(
        f"holds {held}, expected an array 'x'",
        where=str(path),
        hint="Write it with numpy.savez(path, x=images, y=labels).",
    )


def as_uint8(
    x: Array, expected: tuple[int, ...], path: Path, *, spikes: bool, which: str = ""
) -> NDArray[np.uint8]:
    """Check samples and return them as uint8; floats are rounded to the 8-bit grid.

    ``which`` says which samples of the file these are, where it is not all ("of the first image").

    Raises:
        InputError: wrong shape, type or range.
    """
    where = f"{path}: x"
    check_shape(x.shape, expected, path)
    if spikes:
        if x.dtype.kind not in "biuf" or not _is_binary(x):
            saw = value_range(x) or f"type {x.dtype}"
            raise InputError(
                f"holds values other than 0 and 1 ({saw}){which}",
                where=where,
                hint="This network takes spikes: 1 where there is one, else 0.",
            )
        return x.astype(np.uint8, copy=False)
    if x.dtype == np.uint8:
        return x
    if not np.issubdtype(x.dtype, np.floating):
        saw = value_range(x)
        raise InputError(
            f"has type {x.dtype}{f' ({saw}{which})' if saw else ''}, expected uint8 (0..255) or "
            "floats (0..1)",
            where=where,
            hint=type_hint(x),
        )
    if not ((x >= 0) & (x <= 1)).all():  # NaN is neither
        raise _out_of_range(x, where, which)
    return np.rint(x.astype(np.float64) * 255).astype(np.uint8)


def _out_of_range(x: Array, where: str, which: str) -> InputError:
    """Count what is no number apart from what is out of range: each has causes of its own."""
    finite = np.isfinite(x)
    outside = finite & ((x < 0) | (x > 1))
    odd, wrong = x.size - int(finite.sum()), int(outside.sum())
    found, hints = [], []
    if odd:
        found.append(f"{_share(odd, x.size, which)} NaN or infinite")
        hints.append("numpy.isfinite(x) is False there: leave these samples out, or mend them.")
    if wrong:
        found.append(f"{_share(wrong, x.size, which)} outside 0..1 ({value_range(x)})")
        hints.append(range_hint(x))
    return InputError(f"has {' and '.join(found)}", where=where, hint=" ".join(hints))


def _share(count: int, total: int, which: str) -> str:
    return f"{count:,} of {counted(total, 'value')}{which} that {'is' if count == 1 else 'are'}"


def check_shape(found: tuple[int, ...], expected: tuple[int, ...], path: Path) -> None:
    """Raise ShapeError unless this is the shape of at least one sample of the expected form."""
    if len(found) != 1 + len(expected) or found[1:] != expected or found[0] == 0:
        error = ShapeError(
            f"has shape {found}, expected (N, {str(expected)[1:]}",
            where=f"{path}: x",
            hint=shape_hint(found, expected),
        )
        error.found = found
        raise error


def _is_binary(x: Array) -> bool:
    """Tell whether all values are 0 or 1; one pass where the type has no other sign."""
    return bool(x.max() <= 1 if x.dtype.kind in "bu" else ((x == 0) | (x == 1)).all())


def as_labels(y: Array | None, samples: int, path: Path) -> NDArray[np.int64] | None:
    """Check labels, if there are any, and return them as int64.

    Raises:
        InputError: not one whole number >= 0 for each sample.
    """
    if y is None:
        return None
    problem = _label_problem(y, samples)
    if problem is not None:
        what, hint = problem
        raise InputError(what, where=f"{path}: y", hint=hint)
    return y.astype(np.int64)


def _label_problem(y: Array, samples: int) -> tuple[str, str] | None:
    """Say what is wrong with labels, and the way to right ones; None if nothing is."""
    if y.shape != (samples,):
        what = f"has shape {y.shape}, expected {counted(samples, 'label')}, shape ({samples},)"
        if y.ndim == 2 and len(y) == samples:
            one = "y[:, 0] takes the only column."
            many = "One-hot rows become integers with y.argmax(axis=1)."
            return what, one if y.shape[1] == 1 else many
        return what, "Give each sample of x one label, in the same order."
    if not np.issubdtype(y.dtype, np.integer):
        what = f"has type {y.dtype}, expected integers: labels are the numbers of classes"
        return what, _label_conversion(y)
    wrong = (y < 0) | (y >= 1 << 31)
    if wrong.any():
        first = int(wrong.argmax())
        what = (
            f"holds {y[first]} at index {first:,} ({int(wrong.sum()):,} such), expected labels >= 0"
        )
        return (
            f"{what} and below 2^31",
            "Classes are counted from 0: leave out samples without a class, or number them anew.",
        )
    return None


def _label_conversion(y: Array) -> str:
    """Say how labels of another type become integers."""
    if y.dtype.kind in "US":
        return (
            "Give the class's number, not its name: y = [names.index(name) for name in y], with "
            "names in the order of the network's outputs."
        )
    if y.dtype.kind == "b" or (y.dtype.kind == "f" and (y == np.rint(y)).all()):
        return "They are whole numbers: y.astype(numpy.int64) converts them."
    return "Give the number of the class of each sample; y.astype(numpy.int64) would cut fractions."
