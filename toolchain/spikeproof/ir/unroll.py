"""Write a convolution as the sparse matrix it is: one row per output neuron.

On Lava's CPU backend this replaces Lava's own Conv, which ignores the weight exponent, does not
condition its weights and is several times slower. Source: docs/semantics.md, Lava traps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from spikeproof.ir.synapses import ConvSynapse


def unroll(conv: ConvSynapse) -> csr_matrix:
    """Unroll a cross-correlation with zero padding to a CSR matrix int32, both sides in C-order.

    It is built one output channel at a time and with 32-bit indices where they suffice, so that
    it takes little more memory than the result.
    """
    channels, rows, columns = conv.output_shape(conv.input_shape)
    (read_y, inside_y), (read_x, inside_x) = (
        _positions(conv, axis, outputs) for axis, outputs in enumerate((rows, columns))
    )
    _, height, width = conv.input_shape
    inputs, entries, places = int(np.prod(conv.input_shape)), count_taps(conv), rows * columns
    kind = np.int32 if max(inputs, entries) <= np.iinfo(np.int32).max else np.int64
    data, index = np.empty(entries, np.int32), np.empty(entries, kind)
    ends = np.zeros(channels * places + 1, kind)
    start = 0
    for out in range(channels):
        kernel_c, kernel_y, kernel_x = np.nonzero(conv.weight[out])
        inside = inside_y[kernel_y].T[:, None] & inside_x[kernel_x].T[None]  # rows, columns, taps
        y, x, tap = np.nonzero(inside)
        stop = start + len(tap)
        group = out // (channels // conv.groups)
        channel = (kernel_c + conv.weight.shape[1] * group)[tap]
        index[start:stop] = (channel * height + read_y[kernel_y[tap], y]) * width + read_x[
            kernel_x[tap], x
        ]
        data[start:stop] = conv.weight[out, kernel_c, kernel_y, kernel_x][tap]
        ends[out * places + 1 : (out + 1) * places + 1] = start + np.cumsum(inside.sum(axis=2))
        start = stop
    return csr_matrix((data, index, ends), shape=(channels * places, inputs))


def count_taps(conv: ConvSynapse) -> int:
    """Return the number of non-zero weights after unrolling."""
    _, *outputs = conv.output_shape(conv.input_shape)
    taps = np.count_nonzero(conv.weight, axis=(0, 1))
    rows, columns = (_positions(conv, axis, outputs[axis])[1].sum(axis=1) for axis in (0, 1))
    return int((taps * rows[:, None] * columns[None, :]).sum())


def _positions(
    conv: ConvSynapse, axis: int, outputs: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the input coordinate that each kernel tap reads for each output, and if it exists.

    Both (taps, outputs) along one axis of the image, 0 (rows) or 1 (columns).
    """
    taps = np.arange(conv.weight.shape[2 + axis])[:, None] * conv.dilation[axis]
    read = np.arange(outputs)[None, :] * conv.stride[axis] - conv.padding[axis] + taps
    return read, (read >= 0) & (read < conv.input_shape[1 + axis])
