"""Write a chip network as a lava-dl ``.net`` file, where that format can say what the network is.

Nothing is rounded: a network either is in the file exactly, or every reason why it cannot be is
named. Reading the file gives the network back in the form :func:`netx_form` describes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.errors import UnsupportedError, list_problems
from spikeproof.formats.netx.file import need_h5py
from spikeproof.formats.netx.form import FormProblem, netx_form, written_affine, written_weights
from spikeproof.formats.netx.host import host_entries
from spikeproof.formats.netx.pixels import RAW_PIXELS, PixelRange
from spikeproof.formats.netx.rules import PIXEL_BITS, SILENT_THRESHOLD
from spikeproof.io.files import write_atomic
from spikeproof.io.marks import GENERATOR
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    Neuron,
)
from spikeproof.ir.graph import chain_problems

Entries = dict[str, Any]


def netx_problems(network: ChipNetwork, pixel_range: PixelRange = RAW_PIXELS) -> list[str]:
    """Return every reason why a legal network cannot be written as a ``.net`` file."""
    try:
        netx_form(network, pixel_range)
    except FormProblem as found:
        return list(found.problems)
    return []


def save_netx(network: ChipNetwork, path: Path, *, pixel_range: PixelRange = RAW_PIXELS) -> bool:
    """Write a legal network atomically; the bytes depend on its content only.

    Args:
        network: the network.
        path: the file.
        pixel_range: the values pixel 0 and 255 stand for. The file does not hold them: whoever
            reads it must give the same range (a network read with one was trained for it).

    Returns:
        Whether the range matters to who reads the file: it holds a map of pixel values.

    Raises:
        UnsupportedError: the format cannot hold it, with all reasons. InputError: the file cannot
            be written. MissingExtraError: h5py is not installed.
    """
    try:
        form = netx_form(network, pixel_range)
    except FormProblem as found:
        raise UnsupportedError(
            list_problems(found.problems),
            where=f"{network.name} as .net",
            hint="Export to onnx, which holds every network."
            if chain_problems(network)
            else "Convert the checkpoint with --profile loihi: its bundles fit in a .net. Or "
            "export to onnx.",
        ) from found
    h5 = need_h5py(f"writing {path}")
    buffer = io.BytesIO()
    with h5.File(buffer, "w") as file:
        for index, entries in enumerate(_blocks(form, pixel_range)):
            for key, value in entries.items():
                file.create_dataset(f"layer/{index}/{key}", data=value)
        file.attrs["generator"] = GENERATOR
        file.create_dataset("simulation/Ts", data=np.int64(1))
        file.create_dataset("simulation/tSample", data=np.int64(form.timesteps))
    write_atomic(path, buffer.getvalue())
    return written_affine(form.layers[0], pixel_range) is not None


def _blocks(network: ChipNetwork, pixels: PixelRange) -> list[Entries]:
    """Return the entries of the file in order; a flatten stands between an image and a dense."""
    shape = network.input_shape
    first, rest = network.layers[0], network.layers
    blocks: list[Entries] = [{"type": _type("input"), "shape": _ints(shape)}]
    if first.host:
        block = _input_neurons(first, first.host, shape, pixels)
        blocks, shape, rest = [block], first.shape, rest[1:]
    elif network.coding == "pixels":
        blocks[0]["messageBits"] = np.int64(PIXEL_BITS)
    for layer in rest:
        if isinstance(layer.synapse, DenseSynapse) and len(shape) == 3:
            flat = _ints([int(np.prod(shape)), 1, 1])
            blocks.append({"type": _type("flatten"), "shape": flat})
        blocks.append(_block(layer))
        shape = layer.shape
    return blocks


def _input_neurons(
    layer: ChipLayer, host: HostCurrent, image: tuple[int, ...], pixels: PixelRange
) -> Entries:
    """Return an input block whose neurons get their bias from the host."""
    written = written_affine(layer, pixels)
    weight, bias = written or (1, 0)
    entries = {} if written else host_entries(layer.synapse, host, image)
    head = {"type": _type("input"), "shape": _ints(layer.shape)}
    head |= {"weight": _ints([weight]), "bias": _ints([bias])}
    return {**head, **_neuron(layer.neuron, layer.shape, bias=False), **entries}


def _block(layer: ChipLayer) -> Entries:
    synapse = layer.synapse
    if isinstance(synapse, ConvSynapse):
        kind, shape, weight = "conv", layer.shape, written_weights(synapse)
        sizes: Entries = {
            "inChannels": np.int64(synapse.input_shape[0]),
            "outChannels": np.int64(len(weight)),
            "kernelSize": _ints(weight.shape[2:]),
            "stride": _ints(synapse.stride),
            "padding": _ints(synapse.padding),
            "dilation": _ints(synapse.dilation),
            "groups": np.int64(synapse.groups),
        }
        weight = weight[..., None]
    else:
        kind, shape, weight = "dense", (*layer.shape, 1, 1), written_weights(synapse)
        sizes = {"inFeatures": np.int64(weight.shape[1]), "outFeatures": np.int64(len(weight))}
    head = {"type": _type(kind), "shape": _ints(shape), **sizes, "weight": weight}
    return {**head, **_neuron(layer.neuron, layer.shape, bias=True)}


def _neuron(neuron: Neuron, shape: tuple[int, ...], *, bias: bool) -> Entries:
    """Return the neuron's entries; one bias per channel, or one per neuron as (W, H, C)."""
    threshold = neuron.threshold_at(0) // fx.CURRENT_UNIT if neuron.spiking else SILENT_THRESHOLD
    found: Entries = {
        "neuron/type": np.bytes_(b"CUBA"),
        "neuron/iDecay": np.int64(neuron.du + 1),
        "neuron/vDecay": np.int64(fx.DECAY_ONE - neuron.leak_at(0)),
        "neuron/vThMant": np.int64(threshold),
        "neuron/refDelay": np.int64(1),
        "neuron/gradedSpike": np.bool_(False),
    }
    if bias:
        per_neuron = len(shape) == 3 and neuron.bias.shape == shape and shape[1:] != (1, 1)
        found["bias"] = neuron.bias.transpose(2, 1, 0) if per_neuron else neuron.bias.reshape(-1)
    return found


def _type(kind: str) -> NDArray[np.bytes_]:
    return np.array([kind], "S10")


def _ints(values: Any) -> NDArray[np.int64]:
    return np.array([int(v) for v in values], np.int64)
