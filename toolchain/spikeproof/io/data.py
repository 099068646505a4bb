"""Images and spikes in ``.npz`` files: read within limits, checked, never unpickled."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError
from spikeproof.io.data_hints import range_hint, shape_hint, type_hint, value_range
from spikeproof.io.files import read_bytes, write_atomic

_LIMIT_BYTES = 8 << 30
_SHOWN = 8
Array = NDArray[Any]


def load_data(
    path: Path | str, input_shape: tuple[int, ...], *, steps: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Read ``x`` and, if present, labels ``y`` from an npz file.

    Args:
        path: npz with x, uint8 or float in [0, 1], (N, C, H, W); optional y, integers (N,).
        input_shape: expected (C, H, W).
        steps: expected number of steps for spike input (N, T, C, H, W), None for images.

    Returns:
        x as uint8 (floats are rounded to the 8-bit grid: a chip's input has 256 levels) and y.

    Raises:
        InputError: not an npz, x missing, wrong shape, type or range, y that does not match.
    """
    path = Path(path)
    arrays = _read_arrays(path)
    expected = tuple(input_shape) if steps is None else (steps, *input_shape)
    x = as_uint8(arrays["x"], expected, path, spikes=steps is not None)
    return x, as_labels(arrays.get("y"), len(x), path)


def save_arrays(path: Path | str, arrays: dict[str, Array]) -> None:
    """Write a compressed npz atomically, with bytes that depend only on the content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            raw = io.BytesIO()
            np.save(raw, np.asanyarray(arrays[name]), allow_pickle=False)
            archive.writestr(entry, raw.getvalue())
    write_atomic(path, buffer.getvalue())


def _read_arrays(path: Path) -> dict[str, Array]:
    raw = read_bytes(path, _LIMIT_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
        if declared > _LIMIT_BYTES:
            raise InputError(
                f"unpacks to {declared:,} bytes; the limit is {_LIMIT_BYTES:,}", where=str(path)
            )
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive_arrays:
            check_names(archive_arrays.files, path)
            return {
                name: _as_array(archive_arrays[name])
                for name in archive_arrays.files
                if name in {"x", "y"}
            }
    except InputError:
        raise
    except Exception as error:
        # Nothing but the parsing of an untrusted file happens here, and zipfile and NumPy raise
        # a dozen kinds of errors (MemoryError, for a header that promises too much, is one).
        raise InputError(
            f"is not a usable .npz file: {error}",
            where=str(path),
            hint="Write it with numpy.savez(path, x=images, y=labels); objects are refused.",
        ) from error


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


def _as_array(member: Any) -> Array:
    """Pass an array on; NumPy returns the bare bytes of a member that is no npy file."""
    if not isinstance(member, np.ndarray):
        raise ValueError("a member is not an array")
    return member


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
        found.append(f"{odd:,} of {x.size:,} values{which} that are NaN or infinite")
        hints.append("numpy.isfinite(x) is False there: leave these samples out, or mend them.")
    if wrong:
        found.append(
            f"{wrong:,} of {x.size:,} values{which} that are outside 0..1 ({value_range(x)})"
        )
        hints.append(range_hint(x))
    return InputError(f"has {' and '.join(found)}", where=where, hint=" ".join(hints))


def check_shape(found: tuple[int, ...], expected: tuple[int, ...], path: Path) -> None:
    """Raise InputError unless this is the shape of at least one sample of the expected form."""
    if len(found) != 1 + len(expected) or found[1:] != expected or found[0] == 0:
        raise InputError(
            f"has shape {found}, expected (N, {str(expected)[1:]}",
            where=f"{path}: x",
            hint=shape_hint(found, expected),
        )


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
        what = f"has shape {y.shape}, expected {samples:,} labels, shape ({samples},)"
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
