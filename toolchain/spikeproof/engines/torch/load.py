"""What a torch device is given: the numbers of all layers, and a test of its products.

Written with the methods of tensors alone, so that importing it loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeproof import fixedpoint as fx
from spikeproof.errors import TargetError
from spikeproof.ir import chip
from spikeproof.ir.chip import ChipLayer, ChipNetwork

Tensor = Any
"""A torch.Tensor (its name is not imported, see above)."""
Put = Callable[[NDArray[Any]], Tensor]
"""Copy an array to the device."""
_SINGLE_LIMIT = 1 << 24


@dataclass(frozen=True, eq=False)
class DeviceLayer:
    """A layer whose numbers lie on the device.

    weight: (out, in), or (groups, out/groups, fan-in) for a convolution, in the type in which its
    sums are exact. bias: float64, << its exponent, or None where it is zero. offset: of a host
    current, float64. wraps: a sum can leave 24 bits. leak, threshold: of each step, float64 where
    neurons differ; u_keep, initial, taken: likewise; taken is None for a reset to zero.
    """

    layer: ChipLayer
    weight: Tensor
    bias: Tensor | None
    offset: Tensor | None
    wraps: bool
    leak: list[Tensor | int]
    threshold: list[Tensor | int]
    u_keep: Tensor | int
    initial: Tensor | int
    taken: Tensor | int | None


def load_layers(network: ChipNetwork, put: Put) -> list[DeviceLayer]:
    """Copy all layers to a device."""
    steps = network.timesteps
    return [
        _load(layer, network.payload_of(i - 1), steps, put)
        for i, layer in enumerate(network.layers)
    ]


def _load(layer: ChipLayer, payload: int, steps: int, put: Put) -> DeviceLayer:
    synapse, neuron = layer.synapse, layer.neuron
    worst = synapse.largest_sum(payload)
    weight = synapse.rows.astype(np.float32 if worst < _SINGLE_LIMIT else np.float64)
    if isinstance(synapse, chip.ConvSynapse):
        weight = weight.reshape(synapse.groups, len(weight) // synapse.groups, -1)
    bias, offset, arriving = neuron.bias_units().astype(np.float64), None, 0
    if layer.host:
        offset = put(np.broadcast_to(layer.host.offset, layer.shape).astype(np.float64))
    else:
        arriving = fx.CURRENT_UNIT * synapse.largest_shifted_sum(payload)
    # |u| <= arriving + |u| (4095 - du) / 4096, so this is what it can add up to.
    reach = arriving * fx.DECAY_ONE // (int(np.min(neuron.du)) + 1)

    def number(values: ArrayLike) -> Tensor | int:
        array = np.asarray(values)
        return int(array.flat[0]) if array.size == 1 else put(array.astype(np.float64))

    return DeviceLayer(
        layer,
        put(weight),
        put(bias) if bias.any() else None,
        offset,
        wraps=reach >= fx.WRAP_LIMIT,
        leak=[number(neuron.leak_at(t)) for t in range(steps)],
        threshold=[number(neuron.threshold_at(t)) for t in range(steps)],
        u_keep=number(neuron.u_keep),
        initial=number(neuron.initial),
        taken=None if neuron.reset is None else number(neuron.reset),
    )


def prove_products(put: Put, device: str) -> None:
    """Multiply matrices in which every bit counts; raise TargetError if one was dropped."""
    rng = np.random.default_rng(0)
    for kind, left_bits, right_bits in ((np.float32, 12, 4), (np.float64, 27, 17)):
        left = rng.integers(0, 1 << left_bits, (128, 256))  # sums of 256 reach 2^24 and 2^52
        right = rng.integers(0, 1 << right_bits, (256, 128))
        found = put(left.astype(kind)).matmul(put(right.astype(kind)))
        if not np.array_equal(found.cpu().numpy(), left @ right):
            raise TargetError(
                f"matrix products on {device} lose bits of {np.dtype(kind)}, so sums would not "
                "be exact",
                where="engine torch",
                hint="Unset what makes the library emulate or shorten products "
                "(CUBLAS_*, NVIDIA_TF32_OVERRIDE, ONEDNN_*), or use --engine fast.",
            )
