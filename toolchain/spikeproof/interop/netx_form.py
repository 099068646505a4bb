"""The form a chip network has after it went through a ``.net`` file: equal in every u, v and s.

The format has one way to say things that the chip dialect says in several: weights without
exponent, biases with exponent 6, one bias per neuron or channel, layers named by their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.interop.netx_host import host_form
from spikeproof.interop.netx_rules import (
    BIAS_EXPONENT,
    Ints,
    chip_weights,
    dense_loads_unchanged,
)
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    ReadoutNeuron,
    Synapse,
)

_ONE = 1 << BIAS_EXPONENT


class FormProblem(Exception):
    """Carry every reason why a network has no such form."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def netx_form(network: ChipNetwork) -> ChipNetwork:
    """Return a legal network in the form the reader gives it, with the same u, v and s.

    Raises:
        FormProblem: the format cannot hold it; all reasons.
    """
    problems: list[str] = []
    layers = []
    place = 0 if isinstance(network.layers[0].synapse, HostCurrent) else 1
    shape = network.input_shape
    for layer in network.layers:
        place += isinstance(layer.synapse, DenseSynapse) and len(shape) == 3  # the flatten
        found: list[str] = []
        layers.append(_layer(layer, place, found))
        problems += [f"{layer.name}: {problem}" for problem in found]
        shape, place = layer.shape, place + 1
    if problems:
        raise FormProblem(problems)
    return replace(network, layers=tuple(layers))


def _layer(layer: ChipLayer, place: int, problems: list[str]) -> ChipLayer:
    synapse: Any = layer.synapse
    if isinstance(synapse, HostCurrent):
        kind, synapse = "input", _host(synapse, layer, problems)
    else:
        kind = "conv" if isinstance(synapse, ConvSynapse) else "dense"
        synapse = _synapse(synapse, problems)
    return ChipLayer(f"{kind}{place}", synapse, _neuron(layer, problems), layer.shape)


def written_weights(synapse: Synapse) -> NDArray[np.int16]:
    """Return the integers that stand in the file: the weights with their exponent applied."""
    weight = synapse.weight.astype(np.int64)
    return fx.shift_sum(weight, synapse.exponent).astype(np.int16)


def written_affine(host: HostCurrent) -> tuple[int, int]:
    """Return weight and bias of the input block, for a host current of the right form."""
    weight, offset = int(host.synapse.weight.flat[0]), int(host.offset.flat[0])
    return int(fx.shift_sum(weight, -host.shift)), int(fx.shift_sum(offset, -host.shift))


def _synapse(synapse: Synapse, problems: list[str]) -> Synapse:
    weight = synapse.weight.astype(np.int64)
    meant = fx.shift_sum(weight, synapse.exponent)
    if (fx.shift_sum(meant, -synapse.exponent) != weight).any():
        problems.append(
            f"weight exponent {synapse.exponent} cuts bits off the sums; a .net has no exponents"
        )
        return synapse
    found = chip_weights(meant)
    if not isinstance(found, str) and isinstance(synapse, DenseSynapse):
        found = dense_loads_unchanged(meant) or found
    if isinstance(found, str):
        shifted = f" (with exponent {synapse.exponent})" if synapse.exponent else ""
        problems.append(f"{found}{shifted}")
        return synapse
    return replace(synapse, weight=found[0], sign=found[1], exponent=found[2])


def is_affine(host: HostCurrent, layer: ChipLayer) -> bool:
    """Tell whether a host current is one affine map of each pixel: lava-dl's own input block."""
    inner, channels = host.synapse, layer.shape[0]
    per_pixel = (
        isinstance(inner, ConvSynapse)
        and inner.weight.shape[1:] == (1, 1, 1)
        and (inner.groups, inner.stride, inner.padding) == (channels, (1, 1), (0, 0))
    )
    return bool(per_pixel and not np.ptp(inner.weight) and not np.ptp(host.offset))


def _host(host: HostCurrent, layer: ChipLayer, problems: list[str]) -> HostCurrent:
    """Return the plain form of a host current."""
    if not is_affine(host, layer):
        return host_form(host, layer.shape)
    inner, channels = host.synapse, layer.shape[0]
    weight, offset = written_affine(host)
    step = 1 << host.shift
    if (weight * step, offset * step) != (int(inner.weight.flat[0]), int(host.offset.flat[0])):
        problems.append(
            f"the host's current has {host.shift} bits after the point; a .net has none"
        )
        return host
    kernel = np.full((channels, 1, 1, 1), weight, np.int16)
    plain = ConvSynapse(kernel, (channels, *layer.shape[1:]), groups=channels)  # type: ignore[arg-type]
    return HostCurrent(plain, np.full((1, 1, 1), offset, np.int64), 0)


def _neuron(layer: ChipLayer, problems: list[str]) -> Any:
    neuron = layer.neuron
    if not isinstance(neuron, LifNeuron | ReadoutNeuron):
        problems.append(
            "leak and threshold change with the step (a DLIF gain); a .net has one each"
        )
        return neuron
    if isinstance(layer.synapse, HostCurrent):
        if neuron.bias_exponent != BIAS_EXPONENT:
            problems.append(
                f"the host writes biases with exponent {neuron.bias_exponent}; in a .net it is "
                f"{BIAS_EXPONENT}"
            )
        return replace(neuron, bias=np.zeros((1,) * len(layer.shape), np.int32))
    raw = fx.shift_sum(neuron.bias.astype(np.int64), neuron.bias_exponent)
    bias = fx.shift_sum(raw, -BIAS_EXPONENT)
    if (bias * _ONE != raw).any():
        count = int((bias * _ONE != raw).sum())
        problems.append(f"{count} of {raw.size} biases are no multiples of {_ONE}, a .net's step")
    elif np.abs(bias).max(initial=0) > fx.BIAS_MANTISSA_MAX:
        problems.append(f"a bias reaches {np.abs(bias).max()}; a .net holds {fx.BIAS_MANTISSA_MAX}")
    return replace(neuron, bias=_bias(bias, layer.shape), bias_exponent=BIAS_EXPONENT)


def _bias(bias: Ints, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return one bias per channel if that says it all, else one per neuron."""
    full = np.broadcast_to(bias, shape)
    first = full[(slice(None),) + (slice(0, 1),) * (len(shape) - 1)]
    return np.ascontiguousarray(first if (full == first).all() else full).astype(np.int32)
