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
from spikeproof.ir.chip import ChipLayer, ChipNetwork, Connection

Tensor = Any
"""A torch.Tensor (its name is not imported, see above)."""
Put = Callable[[NDArray[Any]], Tensor]
"""Copy an array to the device."""
SINGLE_LIMIT = 1 << 24
"""Below this magnitude float32 holds every integer and every partial sum."""


@dataclass(frozen=True, eq=False)
class DeviceConnection:
    """A connection whose numbers lie on the device.

    source: the position of what feeds it. weight: (out, in), or (groups, out/groups, fan-in) for a
    convolution, in the type in which its sums are exact. offset: of a host current, float64.
    """

    connection: Connection
    source: int
    weight: Tensor
    offset: Tensor | None

    @property
    def lag(self) -> int:
        """Return by how many steps what is sent arrives later."""
        return self.connection.lag


@dataclass(frozen=True, eq=False)
class DeviceLayer:
    """A layer whose numbers lie on the device.

    single: whether float32 holds the sums over all connections together. bias: float64, << its
    exponent, or None where it is zero. wraps: a sum can leave 24 bits. leak, threshold: of each
    step, float64 where neurons differ; u_keep, initial, taken: likewise; taken is None for a reset
    to zero.
    """

    layer: ChipLayer
    inputs: tuple[DeviceConnection, ...]
    single: bool
    bias: Tensor | None
    wraps: bool
    leak: list[Tensor | int]
    threshold: list[Tensor | int]
    u_keep: Tensor | int
    initial: Tensor | int
    taken: Tensor | int | None


def load_layers(network: ChipNetwork, put: Put) -> list[DeviceLayer]:
    """Copy all layers to a device; a synapse that several connections share once."""
    weights = _Weights(put)
    return [_load(network, index, weights) for index in range(len(network.layers))]


class _Weights:
    """Weights on the device, by synapse and type."""

    def __init__(self, put: Put) -> None:
        self.put = put
        self._known: dict[tuple[int, bool], Tensor] = {}

    def of(self, synapse: chip.Synapse, payload: int) -> Tensor:
        """Return the weights in a type that holds every sum of theirs."""
        single = synapse.largest_sum(payload) < SINGLE_LIMIT
        key = id(synapse), single
        if key not in self._known:
            weight = synapse.rows.astype(np.float32 if single else np.float64)
            if isinstance(synapse, chip.ConvSynapse):
                weight = weight.reshape(synapse.groups, len(weight) // synapse.groups, -1)
            self._known[key] = self.put(weight)
        return self._known[key]


def _load(network: ChipNetwork, index: int, weights: _Weights) -> DeviceLayer:
    layer, steps, put = network.layers[index], network.timesteps, weights.put
    neuron, inputs, worst = layer.neuron, [], 0
    for one, source in zip(layer.inputs, network.sources[index], strict=True):
        payload, offset = network.payload_of(source), None
        if one.host:
            offset = put(np.broadcast_to(one.host.offset, layer.shape).astype(np.float64))
        else:
            worst += one.synapse.largest_shifted_sum(payload)
        inputs.append(DeviceConnection(one, source, weights.of(one.synapse, payload), offset))
    # |u| <= arriving + |u| (4095 - du) / 4096, so this is what it can add up to.
    reach = fx.CURRENT_UNIT * worst * fx.DECAY_ONE // (int(np.min(neuron.du)) + 1)
    bias = neuron.bias_units().astype(np.float64)

    def number(values: ArrayLike) -> Tensor | int:
        array = np.asarray(values)
        return int(array.flat[0]) if array.size == 1 else put(array.astype(np.float64))

    return DeviceLayer(
        layer,
        tuple(inputs),
        single=worst < SINGLE_LIMIT,
        bias=put(bias) if bias.any() else None,
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
