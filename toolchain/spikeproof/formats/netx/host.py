"""Host-computed first layers in a ``.net`` file.

lava-dl feeds an input block with neurons through their biases. A first layer whose current the
host computes once per image is therefore an input block of that layer's shape with weight 1 and
bias 0: what is fed is the current itself, as mantissas of exponent 6. How the host gets it from
the pixels stands beside it, in ``host/...`` of the block; lava-dl ignores these entries.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikeproof.formats.netx.rules import Ints
from spikeproof.formats.netx.values import LayerValues
from spikeproof.ir.chip import ConvSynapse, DenseSynapse, HostCurrent, Shape, Synapse
from spikeproof.ir.limits import HOST_WEIGHT_MAX

_OFFSET_MAX = 1 << 40
_SHIFT_MAX = 31
_PREFIX = "host/"


def has_host(values: LayerValues) -> bool:
    """Tell whether an input block says how the host computes its current."""
    return any(key.startswith(_PREFIX) for key in values.raw.values)


def host_form(synapse: Synapse, host: HostCurrent, shape: Shape) -> tuple[Synapse, HostCurrent]:
    """Return a host current in the form the reader gives it: types, and offsets with all axes."""
    plain = synapse.changed(weight=synapse.weight.astype(np.int32), sign="mixed", exponent=0)
    axes = (1,) * (len(shape) - host.offset.ndim) + host.offset.shape
    return plain, HostCurrent(host.offset.astype(np.int64).reshape(axes), host.shift)


def host_entries(synapse: Synapse, host: HostCurrent, image: Shape) -> dict[str, Any]:
    """Return the entries ``host/...`` for a host current in its form."""
    entries: dict[str, Any] = {
        "inputShape": np.array(image, np.int64),
        "weight": synapse.weight,
        "offset": host.offset,
        "shift": np.int64(host.shift),
    }
    if isinstance(synapse, ConvSynapse):
        entries |= {
            "stride": np.array(synapse.stride, np.int64),
            "padding": np.array(synapse.padding, np.int64),
            "dilation": np.array(synapse.dilation, np.int64),
            "groups": np.int64(synapse.groups),
        }
    return {f"{_PREFIX}{key}": value for key, value in entries.items()}


def read_host(values: LayerValues) -> tuple[Synapse, HostCurrent, Shape] | None:
    """Return how the host computes the current of an input block, and the shape of its images."""
    for key, expected in (("weight", 1), ("bias", 0)):
        values.fixed(key, expected, "the host's current is fed as it is")
    image = _array(values, "inputShape", 1, 1 << 20)
    weight = _array(values, "weight", -HOST_WEIGHT_MAX, HOST_WEIGHT_MAX)
    offset = _array(values, "offset", -_OFFSET_MAX, _OFFSET_MAX)
    shift = values.whole(f"{_PREFIX}shift", 0, _SHIFT_MAX)
    if image is None or weight is None or offset is None or shift is None:
        values.skip_below(_PREFIX)
        return None
    if image.shape != (3,) or weight.ndim not in (2, 4):
        values.refuse(
            f"{_PREFIX}inputShape is {image.tolist()} and {_PREFIX}weight has shape "
            f"{weight.shape}, expected (C, H, W) and (out, in) or (out, in/groups, kH, kW)"
        )
        values.skip_below(_PREFIX)
        return None
    shape = (int(image[0]), int(image[1]), int(image[2]))
    synapse: Synapse
    if weight.ndim == 2:
        if weight.shape[1] != math.prod(shape):
            values.refuse(f"{_PREFIX}weight has shape {weight.shape}, its images {shape}")
            return None
        synapse = DenseSynapse(weight.astype(np.int32))
    else:
        synapse = ConvSynapse(
            weight.astype(np.int32),
            shape,
            values.pair(f"{_PREFIX}stride", 1),
            values.pair(f"{_PREFIX}padding", 0),
            values.pair(f"{_PREFIX}dilation", 1),
            values.whole(f"{_PREFIX}groups", 1, 1 << 20, 1) or 1,
        )
    return synapse, HostCurrent(offset, shift), shape


def _array(values: LayerValues, key: str, low: int, high: int) -> Ints | None:
    found = values.array(f"{_PREFIX}{key}")
    if found is None:
        if f"{_PREFIX}{key}" not in values:
            values.refuse(f"has no {_PREFIX}{key}")
        return None
    if found.min() < low or found.max() > high:
        values.refuse(f"{_PREFIX}{key} spans {found.min()}..{found.max()}, expected {low}..{high}")
        return None
    return found
