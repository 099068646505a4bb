"""An unrolled convolution is the convolution."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.ir import chip


def _direct(conv: chip.ConvSynapse, x: np.ndarray) -> np.ndarray:
    """Sum tap by tap with explicit loops over everything."""
    channels, height, width = conv.output_shape(conv.input_shape)
    (s_y, s_x), (p_y, p_x), (d_y, d_x) = conv.stride, conv.padding, conv.dilation
    out_per_group, in_per_group = channels // conv.groups, conv.weight.shape[1]
    out = np.zeros((channels, height, width), np.int64)
    for o, y, c in np.ndindex(channels, height, width):
        for k, i, j in np.ndindex(*conv.weight.shape[1:]):
            row, column = y * s_y - p_y + i * d_y, c * s_x - p_x + j * d_x
            if 0 <= row < conv.input_shape[1] and 0 <= column < conv.input_shape[2]:
                source = k + in_per_group * (o // out_per_group)
                out[o, y, c] += int(conv.weight[o, k, i, j]) * int(x[source, row, column])
    return out


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), (0, 0), (1, 1), 1),
        ((2, 1), (1, 2), (1, 1), 1),
        ((1, 2), (2, 0), (2, 1), 2),
        ((3, 3), (1, 1), (1, 2), 4),
        ((1, 1), (3, 3), (1, 1), 2),
    ],
)
def test_unrolled_equals_direct(
    stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int
) -> None:
    rng = np.random.default_rng(7)
    weight = rng.integers(-9, 10, (8, 4 // groups, 2, 3)).astype(np.int16)
    conv = chip.ConvSynapse(weight, (4, 6, 7), stride, padding, dilation, groups)
    x = rng.integers(0, 256, (4, 6, 7))
    matrix = conv.matrix()
    assert np.array_equal(matrix @ x.ravel(), _direct(conv, x).ravel())
    assert matrix.dtype == np.int32
    assert (matrix.data != 0).all()
    assert matrix.nnz == conv.stored


def test_dense_weights_are_their_matrix() -> None:
    dense = chip.DenseSynapse(np.array([[0, 2, 4], [6, 0, 0]], np.int16))
    assert dense.matrix() is dense.weight
    assert dense.stored == 3
