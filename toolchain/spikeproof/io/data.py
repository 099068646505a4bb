"""Images and spikes in memory: read from files within limits, and written."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError
from spikeproof.io.files import write_atomic
from spikeproof.io.slices import map_samples

_LIMIT_BYTES = 8 << 30
Array = NDArray[Any]


def load_data(
    path: Path | str, input_shape: tuple[int, ...], *, steps: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """Read ``x`` and, if present, labels ``y`` into memory.

    Args:
        path: npz with x, uint8 or float in [0, 1], (N, C, H, W); optional y, integers (N,). Or one
            of the other forms of :func:`spikeproof.io.slices.open_samples`.
        input_shape: expected (C, H, W).
        steps: expected number of steps for spike input (N, T, C, H, W), None for images.

    Returns:
        x as uint8 (floats are rounded to the 8-bit grid: a chip's input has 256 levels) and y.

    Raises:
        InputError: not such a file, x missing, wrong shape, type or range, y that does not match,
            more than fits in memory.
    """
    samples = map_samples(Path(path), input_shape, steps=steps)
    if samples.x.nbytes > _LIMIT_BYTES:
        raise InputError(
            f"holds {samples.x.nbytes:,} bytes; the limit is {_LIMIT_BYTES:,}", where=str(path)
        )
    return samples.read(0, len(samples)), samples.labels


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
