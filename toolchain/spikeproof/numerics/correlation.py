"""Batched cross-correlation: unfold the windows into rows, then one matrix product per group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
Pair = tuple[int, int]
_CHUNK_VALUES = 1 << 23
"""Unfolded windows are made for as many images at a time as fit in about this many values."""


def unfold(
    x: Array, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """Return the windows of images (M, C, H, W), zero-padded: (groups, M, H', W', fan-in).

    The fan-in runs over (C/groups, kH, kW), as the weights do. The caller guarantees that the
    shapes fit.
    """
    (p_h, p_w), (d_h, d_w), (s_h, s_w) = padding, dilation, stride
    padded = np.pad(x, ((0, 0), (0, 0), (p_h, p_h), (p_w, p_w))) if p_h or p_w else x
    reach = (d_h * (kernel[0] - 1) + 1, d_w * (kernel[1] - 1) + 1)
    # NumPy accepts a tuple of axes; its stubs know only one.
    windows: Array = sliding_window_view(padded, reach, (2, 3))  # type: ignore[call-overload]
    windows = windows[:, :, ::s_h, ::s_w, ::d_h, ::d_w]
    images, channels, out_h, out_w = windows.shape[:4]
    split = windows.reshape(images, groups, channels // groups, out_h, out_w, *kernel)
    return split.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, images, out_h, out_w, -1)


def correlate(
    x: Array, weight: Array, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Array:
    """Correlate images (M, C, H, W) with kernels (O, C/groups, kH, kW); zero padding.

    Returns (M, O, H', W') in the type of ``x``. The caller guarantees that the shapes fit.
    """
    kernel = (weight.shape[2], weight.shape[3])
    kernels = weight.reshape(groups, len(weight) // groups, -1)
    per_image = x[0].size * kernel[0] * kernel[1] // max(1, stride[0] * stride[1])
    step = max(1, _CHUNK_VALUES // max(1, per_image))
    parts = []
    for start in range(0, len(x), step):
        rows = unfold(x[start : start + step], kernel, stride, padding, dilation, groups)
        # As one large product each: with more than two axes it would be a small one per image row.
        found = [row.reshape(-1, row.shape[-1]) @ k.T for row, k in zip(rows, kernels, strict=True)]
        whole = np.concatenate(found, axis=-1).reshape(*rows.shape[1:4], -1)
        parts.append(np.moveaxis(whole, -1, 1))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
