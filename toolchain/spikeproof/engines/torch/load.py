"""What a torch device is given: the numbers of all layers, and a test of its products.

Written with the methods of tensors alone, so that importing it loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.errors import TargetError
from spikeproof.ir import chip
from spikeproof.ir.check_chip import largest_sum, shifted_magnitude
from spikeproof.ir.chip import ChipLayer, ChipNetwork
from spikeproof.ir.dynamics import neuron_step

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
    current, float64. filters: u has a memory. wraps: a sum can leave 24 bits.
    """

    layer: ChipLayer
    synapse: chip.Synapse
    weight: Tensor
    bias: Tensor | None
    offset: Tensor | None
    filters: bool
    wraps: bool


def load_layers(network: ChipNetwork, put: Put) -> list[DeviceLayer]:
    """Copy all layers to a device."""
    pixels = network.coding == "pixels"
    return [
        _load(layer, 255 if pixels and index == 0 else 1, put)
        for index, layer in enumerate(network.layers)
    ]


def _load(layer: ChipLayer, payload: int, put: Put) -> DeviceLayer:
    host = isinstance(layer.synapse, chip.HostCurrent)
    synapse = (
        layer.synapse.synapse if isinstance(layer.synapse, chip.HostCurrent) else layer.synapse
    )
    worst = largest_sum(synapse, payload)
    weight = synapse.weight.astype(np.float32 if worst < _SINGLE_LIMIT else np.float64)
    if isinstance(synapse, chip.ConvSynapse):
        weight = weight.reshape(synapse.groups, len(weight) // synapse.groups, -1)
    bias = fx.shift_sum(layer.neuron.bias, layer.neuron.bias_exponent).astype(np.float64)
    offset = None
    if isinstance(layer.synapse, chip.HostCurrent):
        offset = put(np.broadcast_to(layer.synapse.offset, layer.shape).astype(np.float64))
    du = neuron_step(layer.neuron, 0)[0]
    arriving = 0 if host else fx.CURRENT_UNIT * shifted_magnitude(worst, synapse.exponent)
    # |u| <= arriving + |u| (4095 - du) / 4096, so this is what it can add up to.
    reach = arriving * fx.DECAY_ONE // (du + 1)
    return DeviceLayer(
        layer,
        synapse,
        put(weight),
        put(bias) if bias.any() else None,
        offset,
        filters=du < fx.DECAY_ONE - 1,
        wraps=reach >= fx.WRAP_LIMIT,
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
