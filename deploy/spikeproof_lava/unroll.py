"""Write a convolution as the sparse matrix it is: one row per output neuron.

On the CPU backend this replaces Lava's own Conv, which ignores the weight exponent, does not
condition its weights and is several times slower. Source: docs/semantics.md, Lava traps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from spikeproof.ir.chip import ConvSynapse, Synapse
from spikeproof.ir.shapes import output_shape


def as_matrix(synapse: Synapse, dtype: type[np.signedinteger[Any]]) -> NDArray[Any] | csr_matrix:
    """Return the weights as a matrix (outputs, inputs), both flattened in C-order.

    A dense synapse gives its array, a convolution a CSR matrix without stored zeros.
    """
    if isinstance(synapse, ConvSynapse):
        return unroll(synapse, dtype)
    return np.ascontiguousarray(synapse.weight, dtype)


def unroll(conv: ConvSynapse, dtype: type[np.signedinteger[Any]]) -> csr_matrix:
    """Unroll a cross-correlation with zero padding to a CSR matrix of type ``dtype``."""
    _, rows, columns = output_shape(conv, conv.input_shape)
    kernel_o, kernel_c, kernel_y, kernel_x = np.nonzero(conv.weight)
    out_y, out_x = np.arange(rows), np.arange(columns)
    in_y = _position(out_y, kernel_y, conv.stride[0], conv.padding[0], conv.dilation[0])
    in_x = _position(out_x, kernel_x, conv.stride[1], conv.padding[1], conv.dilation[1])
    _, height, width = conv.input_shape
    inside = _inside(in_y, height)[:, :, None] & _inside(in_x, width)[:, None, :]
    tap, y, x = np.nonzero(inside)
    per_group_out = conv.weight.shape[0] // conv.groups
    channel = kernel_c + conv.weight.shape[1] * (kernel_o // per_group_out)
    target = (kernel_o[tap] * rows + y) * columns + x
    source = (channel[tap] * height + in_y[tap, y]) * width + in_x[tap, x]
    values = conv.weight[kernel_o, kernel_c, kernel_y, kernel_x].astype(dtype)[tap]
    shape = (conv.weight.shape[0] * rows * columns, int(np.prod(conv.input_shape)))
    return csr_matrix((values, (target, source)), shape=shape, dtype=dtype)


def _position(
    out: NDArray[np.int64], tap: NDArray[np.int64], stride: int, padding: int, dilation: int
) -> NDArray[np.int64]:
    """Return the input coordinate (taps, outputs) that each tap reads for each output."""
    return np.asarray(out[None, :] * stride - padding + tap[:, None] * dilation, np.int64)


def _inside(position: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    return (position >= 0) & (position < size)
