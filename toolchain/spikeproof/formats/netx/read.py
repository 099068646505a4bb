"""Read a lava-dl ``.net`` file into a chip network, or say everything that keeps it from being one.

Supported: input (with or without its own neuron), conv, dense and flatten with CUBA or LOIHI
neurons. Times, resets and pixel values are not in such a file; see docs/formats.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spikeproof.engines.memory import check_analysis
from spikeproof.errors import (
    GraphError,
    InputError,
    RangeError,
    UnsupportedError,
    list_problems,
)
from spikeproof.formats.netx.file import RawLayer, RawNet, read_raw
from spikeproof.formats.netx.host import has_host, read_host
from spikeproof.formats.netx.input import read_host_current, read_input_shape
from spikeproof.formats.netx.neuron import read_bias, read_neuron
from spikeproof.formats.netx.pixels import RAW_PIXELS, PixelRange
from spikeproof.formats.netx.readout import last_range, with_proved_readout
from spikeproof.formats.netx.rules import PIXEL_BITS, Ints
from spikeproof.formats.netx.synapse import read_conv, read_dense
from spikeproof.formats.netx.values import LayerValues
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    Synapse,
)
from spikeproof.ir.shapes import Shape, output_shape

SUPPORTED = "input, conv, dense, flatten"
_LIMIT_SIDE = 1 << 20
LIMIT_NEURONS = 1 << 24
"""A file of a few kilobytes can ask for any number; a Loihi 2 chip has 2^20 neurons."""


def load_netx(
    path: Path,
    timesteps: int | None = None,
    *,
    pixel_range: PixelRange = RAW_PIXELS,
    skip_input: bool = False,
    input_shape: Shape | None = None,
) -> ChipNetwork:
    """Read a ``.net`` file.

    Args:
        path: the file.
        timesteps: steps per sample (lava-dl's ``reset_interval``); None takes tSample / Ts of
            the file's ``/simulation``, if it has one.
        pixel_range: the values that pixel 0 and pixel 255 stand for; only an input block with
            its own neuron uses them.
        skip_input: leave out the input block's neuron; the network then takes its spikes.
        input_shape: (C, H, W) of the spikes, for a file that begins with a convolution or a dense
            layer and so does not say it (lava-dl's ``input_shape``, which counts W, H, C).

    Returns:
        A network of coding "pixels" if it begins with an input block that has a neuron, else
        "spikes". One that ends in a spiking layer is read by its spike counts; a last layer with
        the highest threshold that is proved never to fire is a readout.

    Raises:
        InputError: no such file, damaged, beyond a limit. UnsupportedError: something in it has
            no equal here; every such thing is named with its layer. GraphError: shapes do not
            fit, or a sum is too large. RangeError: the membrane of a layer without neuron could
            leave 24 bits. MissingExtraError: h5py is not installed.
    """
    if not (np.isfinite(pixel_range).all() and max(map(abs, pixel_range)) <= 1e6):
        raise InputError(
            f"is {pixel_range}, expected two finite numbers, at most 1,000,000 either way",
            where="pixel range",
            hint="Name what pixel 0 and pixel 255 stand for, such as --pixel-range 0 1.",
        )
    if pixel_range[0] == pixel_range[1]:
        raise InputError(
            f"is {pixel_range}: black and white are the same value",
            where="pixel range",
            hint="Name what pixel 0 and pixel 255 stand for, such as --pixel-range 0 1.",
        )
    raw = read_raw(path)
    chain = _Chain(pixel_range, skip_input, input_shape)
    for layer in raw.layers:
        chain.add(layer)
    steps = timesteps if timesteps is not None else _steps(raw)
    if steps is None:
        chain.problems.append(
            "the file does not say how many steps a sample has; give --timesteps N"
        )
    if chain.input_shape is None or not chain.layers:
        chain.problems += [] if chain.problems else ["no layer of it has neurons"]
    if chain.problems or steps is None or chain.input_shape is None:
        raise UnsupportedError(list_problems(chain.problems), where=str(path))
    network = ChipNetwork(
        _name(path),
        chain.input_shape,
        steps,
        tuple(chain.layers),
        "pixels" if chain.pixels else "spikes",
    )
    _check_size(network)
    check_analysis(network)
    check_chip(network)
    if not raw.layers[-1].has_neuron:
        _check_default_readout(network)
    return with_proved_readout(network)


def _check_size(network: ChipNetwork) -> None:
    neurons = sum(math.prod(layer.shape) for layer in network.layers)
    if neurons > LIMIT_NEURONS:
        raise InputError(
            f"describes {neurons:,} neurons; the limit is {LIMIT_NEURONS:,}, sixteen Loihi 2 chips",
            where=network.name,
            hint="Are the shapes in the file what they should be?",
        )


def _check_default_readout(network: ChipNetwork) -> None:
    """Check that a last layer without neuron says here what it says in lava-dl."""
    found = last_range(network, network.layers[-1])
    if not network.layers[-1].neuron.spiking and not found.ok:
        raise RangeError(
            f"{found.name}: has no neuron, and {'; '.join(found.problems)}; beyond it, lava-dl's "
            "default neuron wraps",
            where=network.name,
            hint="With fewer --timesteps the sum stays smaller.",
        )


def _steps(raw: RawNet) -> int | None:
    values = LayerValues(RawLayer(0, "simulation", raw.simulation), [])
    total, step = values.array("tSample"), values.array("Ts")
    if total is None or total.size != 1 or (step is not None and (step.size, step.min()) < (1, 1)):
        return None
    return int(total.flat[0]) // (1 if step is None else int(step.flat[0]))


def _name(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem)[:64].lstrip("_.-") or "net"


class _Chain:
    """Build the layers one after another; a layer that fails leaves its declared shape."""

    def __init__(
        self, pixel_range: PixelRange, skip_input: bool, input_shape: Shape | None
    ) -> None:
        self.pixel_range, self.skip_input, self._given = pixel_range, skip_input, input_shape
        self.problems: list[str] = []
        self.layers: list[ChipLayer] = []
        self.input_shape: Shape | None = None
        self.pixels = self._flat = self._needs_flatten = False
        self._shape: Shape | None = None
        self._makers: dict[str, Callable[[LayerValues], None]] = {
            "input": self._input,
            "conv": self._conv,
            "dense": self._dense,
            "flatten": self._flatten,
        }

    def add(self, raw: RawLayer) -> None:
        """Append one layer of the file, or note why that is impossible."""
        values = LayerValues(raw, self.problems)
        maker = self._makers.get(raw.kind)
        if maker is None:
            why = " (recurrent connections)" if raw.kind == "dense_rec" else ""
            values.refuse(f"layers of this type are not supported{why}; supported: {SUPPORTED}")
            self._shape = None
            return
        maker(values)
        values.refuse_rest()

    def _input(self, values: LayerValues) -> None:
        if values.raw.index != 0:
            values.refuse("an input can only be the first layer")
            values.skip(*values.raw.values)
            return
        self._shape, flat = read_input_shape(values)
        self.input_shape = self._shape
        if self._given is not None and self._shape not in (None, self._given):
            values.refuse(f"shape is {self._shape}, --input-shape says {self._given}")
        if not values.has_neuron:
            values.fixed("messageBits", PIXEL_BITS, "only pixels of 8 bits are supported")
            self.pixels = "messageBits" in values
            return
        self.pixels = not self.skip_input
        self._needs_flatten = not flat
        current = self._host(values)
        axes = (1,) * len(self._shape or ())
        neuron = read_neuron(values, np.zeros(axes, np.int32))
        if self.pixels and current is not None and neuron is not None and self._shape:
            synapse, host = current
            self.layers.append(
                ChipLayer("input0", (Connection(synapse, host=host),), neuron, self._shape)
            )

    def _host(self, values: LayerValues) -> tuple[Synapse, HostCurrent] | None:
        """Read what the host writes as bias: our own entries say it, or lava-dl's affine map."""
        if not has_host(values):
            return read_host_current(values, self._shape, self.pixel_range)
        if self.pixel_range != RAW_PIXELS:
            values.refuse("says itself what the host makes of pixels; leave --pixel-range out")
        found = read_host(values)
        if found is None:
            return None
        synapse, host, image = found
        if isinstance(synapse, DenseSynapse) and self._shape is not None:
            self._shape, self._needs_flatten = self._shape[:1], False
        if self.pixels:
            self.input_shape = image
        return synapse, host

    def _flatten(self, values: LayerValues) -> None:
        values.skip("shape")
        self._flat = True

    def _conv(self, values: LayerValues) -> None:
        if self._flat:
            values.refuse("a convolution after a flatten has no image to work on")
        if values.raw.index == 0 and self._given is None:
            values.refuse(
                "is the first entry, so the file does not say the shape of its input; give "
                "--input-shape C H W"
            )
        elif values.raw.index == 0:
            self._shape = self.input_shape = self._given
        self._append(values, read_conv(values, self._shape))
        self._needs_flatten = True

    def _dense(self, values: LayerValues) -> None:
        if self._needs_flatten and not self._flat:
            values.refuse("is fed by an image; lava-dl needs a flatten in between")
        synapse = read_dense(values)
        if values.raw.index == 0 and synapse is not None:
            self._shape = self.input_shape = self._given or (synapse.weight.shape[1], 1, 1)
        self._append(values, synapse)
        self._flat = self._needs_flatten = False

    def _append(self, values: LayerValues, synapse: ConvSynapse | DenseSynapse | None) -> None:
        if self.layers and not self.layers[-1].neuron.spiking:
            values.refuse("gets nothing: the layer before it never fires")
        declared = values.array("shape")
        shape = _declared(declared, isinstance(synapse, DenseSynapse))
        if synapse is not None and self._shape is not None:
            shape = _output(values, synapse, self._shape, shape)
        if shape is None:
            values.skip("bias")
            values.skip_below("neuron/")
        else:
            neuron = read_neuron(values, read_bias(values, shape))
            if neuron is not None and synapse is not None:
                name = f"{values.raw.kind}{values.raw.index}"
                self.layers.append(ChipLayer(name, (Connection(synapse),), neuron, shape))
        self._shape = shape


def _declared(found: Ints | None, dense: bool) -> Shape | None:
    """Return the shape a layer says it has; it stands in where the real one is not known."""
    if found is None or found.ndim != 1 or not 1 <= len(found) <= 3 or found.min() < 1:
        return None
    if found.max() > _LIMIT_SIDE:
        return None
    return (int(np.prod(found)),) if dense or len(found) != 3 else tuple(int(n) for n in found)


def _output(
    values: LayerValues, synapse: ConvSynapse | DenseSynapse, inputs: Shape, declared: Shape | None
) -> Shape | None:
    """Return the shape a synapse gives, after comparing it with the declared one."""
    try:
        shape = output_shape(synapse, inputs)
    except GraphError as error:
        values.refuse(error.what)
        return declared
    if declared is not None and declared != shape:
        values.refuse(f"shape is {declared}, its weight gives {shape}")
    return shape
