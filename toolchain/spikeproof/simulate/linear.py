"""Batched cross-correlation on floats: one matrix product per group (im2col)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Pair = tuple[int, int]
_CHUNK_VALUES = 1 << 23
"""Unfolded patches are made for as many images at a time as fit in about this many values."""


def correlate(
    x: Floats, weight: Floats, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Floats:
    """Correlate images (M, C, H, W) with kernels (O, C/groups, kH, kW); zero padding.

    Returns (M, O, H', W') in the type of ``x``. The caller guarantees that the shapes fit.
    """
    p_h, p_w = padding
    padded = np.pad(x, ((0, 0), (0, 0), (p_h, p_h), (p_w, p_w))) if p_h or p_w else x
    d_h, d_w = dilation
    reach = (d_h * (weight.shape[2] - 1) + 1, d_w * (weight.shape[3] - 1) + 1)
    windows: Floats = sliding_window_view(padded, reach, (2, 3))  # type: ignore[call-overload]
    windows = windows[:, :, :: stride[0], :: stride[1], ::d_h, ::d_w]
    per_image = int(np.prod(windows.shape[1:]))
    step = max(1, _CHUNK_VALUES // per_image)
    parts = [_product(windows[i : i + step], weight, groups) for i in range(0, len(x), step)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _product(windows: Floats, weight: Floats, groups: int) -> Floats:
    """Multiply patches (M, C, H', W', kH, kW) with the kernels, group by group."""
    images, channels, out_h, out_w = windows.shape[:4]
    out_channels = len(weight)
    result = np.empty((images, out_channels, out_h, out_w), windows.dtype)
    per_in, per_out = channels // groups, out_channels // groups
    for g in range(groups):
        patch = windows[:, g * per_in : (g + 1) * per_in].transpose(0, 2, 3, 1, 4, 5)
        kernel = weight[g * per_out : (g + 1) * per_out].reshape(per_out, -1)
        flat = np.ascontiguousarray(patch).reshape(images * out_h * out_w, -1) @ kernel.T
        result[:, g * per_out : (g + 1) * per_out] = flat.reshape(
            images, out_h, out_w, per_out
        ).transpose(0, 3, 1, 2)
    return result
