"""The form a chip network has after it went through a ``.net`` file: equal in every u, v and s.

The format has one way to say things that the chip dialect says in several: weights without
exponent, biases with exponent 6, one bias per neuron or channel, layers named by their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.formats.netx.host import host_form
from spikeproof.formats.netx.input import host_current
from spikeproof.formats.netx.pixels import (
    PIXELS,
    RAW_PIXELS,
    PixelRange,
    file_numbers,
    fixed_point,
)
from spikeproof.formats.netx.readout import with_proved_readout
from spikeproof.formats.netx.rules import (
    BIAS_EXPONENT,
    Ints,
    chip_weights,
    dense_loads_unchanged,
)
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    Neuron,
    Synapse,
)
from spikeproof.ir.graph import chain_problems

_ONE = 1 << BIAS_EXPONENT


class FormProblem(Exception):
    """Carry every reason why a network has no such form."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def netx_form(network: ChipNetwork, pixel_range: PixelRange = RAW_PIXELS) -> ChipNetwork:
    """Return a legal network in the form the reader gives it, with the same u, v and s.

    Args:
        network: the network.
        pixel_range: the values pixel 0 and 255 stand for, with which the file will be read.

    Raises:
        FormProblem: the format cannot hold it; all reasons.
    """
    problems = chain_problems(network)
    if problems:
        raise FormProblem([f"{problem}; a .net holds chains only" for problem in problems])
    network = with_proved_readout(network)
    layers = []
    place = 0 if network.layers[0].host else 1
    shape = network.input_shape
    for layer in network.layers:
        if not layer.host and isinstance(layer.synapse, DenseSynapse) and len(shape) == 3:
            place += 1  # the flatten
        found: list[str] = []
        layers.append(_layer(layer, place, pixel_range, found))
        problems += [f"{layer.name}: {problem}" for problem in found]
        shape, place = layer.shape, place + 1
    if problems:
        raise FormProblem(problems)
    return replace(network, layers=tuple(layers))


def _layer(layer: ChipLayer, place: int, pixels: PixelRange, problems: list[str]) -> ChipLayer:
    if not isinstance(layer.synapse, ConvSynapse | DenseSynapse):
        problems.append(f"a .net has no {type(layer.synapse).__name__}")
        return layer
    if layer.host:
        synapse, host = _host(layer, layer.host, pixels)
        neuron = _neuron(layer, problems)
        return ChipLayer(f"input{place}", (Connection(synapse, host=host),), neuron, layer.shape)
    kind = "conv" if isinstance(layer.synapse, ConvSynapse) else "dense"
    synapse = _synapse(layer.synapse, problems)
    return ChipLayer(
        f"{kind}{place}", (Connection(synapse),), _neuron(layer, problems), layer.shape
    )


def written_weights(synapse: Synapse) -> NDArray[np.int16]:
    """Return the integers that stand in the file: the weights with their exponent applied."""
    weight = synapse.weight.astype(np.int64)
    return fx.shift_sum(weight, synapse.exponent).astype(np.int16)


def written_affine(layer: ChipLayer, pixels: PixelRange) -> tuple[int, int] | None:
    """Return weight and bias of lava-dl's own input block, if a host current is one.

    Read with the same pixel range, they give every pixel the bias that this host current writes.
    None: it is no affine map of each pixel by itself, or no whole numbers say it for this range.
    """
    synapse, host, channels = layer.synapse, layer.host, layer.shape[0]
    per_pixel = (
        isinstance(synapse, ConvSynapse)
        and synapse.weight.shape[1:] == (1, 1, 1)
        and (synapse.groups, synapse.stride, synapse.padding) == (channels, (1, 1), (0, 0))
    )
    if not host or not per_pixel or np.ptp(synapse.weight) or np.ptp(host.offset):
        return None
    sums = int(synapse.weight.flat[0]) * np.arange(PIXELS, dtype=np.int64)
    currents = fx.round_half_up_shift(sums + int(host.offset.flat[0]), host.shift)
    return file_numbers(currents.tolist(), pixels)


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
    return synapse.changed(weight=found[0], sign=found[1], exponent=found[2])


def _host(layer: ChipLayer, host: HostCurrent, pixels: PixelRange) -> tuple[Synapse, HostCurrent]:
    """Return a host current in its plain form: lava-dl's map of each pixel, or our own entries."""
    written = written_affine(layer, pixels)
    found = None if written is None else fixed_point(*written, pixels)
    if found is None:
        return host_form(layer.synapse, host, layer.shape)
    return host_current(found, layer.shape)


def _neuron(layer: ChipLayer, problems: list[str]) -> Neuron:
    neuron = layer.neuron
    if neuron.program:
        problems.append(
            f"{neuron.title} neurons are a program (numbers that differ by step, as a DLIF gain's "
            "do, or by neuron; another reset); a .net has one leak and threshold, and resets to 0"
        )
        return neuron
    if layer.host:
        if neuron.bias_exponent != BIAS_EXPONENT:
            problems.append(
                f"the host writes biases with exponent {neuron.bias_exponent}; in a .net it is "
                f"{BIAS_EXPONENT}"
            )
        return neuron.changed(bias=np.zeros((1,) * len(layer.shape), np.int32))
    raw = neuron.bias_units()
    bias = fx.shift_sum(raw, -BIAS_EXPONENT)
    if (bias * _ONE != raw).any():
        count = int((bias * _ONE != raw).sum())
        problems.append(f"{count} of {raw.size} biases are no multiples of {_ONE}, a .net's step")
    elif np.abs(bias).max(initial=0) > fx.BIAS_MANTISSA_MAX:
        problems.append(f"a bias reaches {np.abs(bias).max()}; a .net holds {fx.BIAS_MANTISSA_MAX}")
    return neuron.changed(bias=_bias(bias, layer.shape), bias_exponent=BIAS_EXPONENT)


def _bias(bias: Ints, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return one bias per channel if that says it all, else one per neuron."""
    full = np.broadcast_to(bias, shape)
    first = full[(slice(None),) + (slice(0, 1),) * (len(shape) - 1)]
    return np.ascontiguousarray(first if (full == first).all() else full).astype(np.int32)
