"""A lava-dl ``.net`` file as a bundle: its integers as they are, with a stimulus and a record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from spikeproof import __version__
from spikeproof.certify.ranges import check_foreign_ranges
from spikeproof.formats.netx.file import FORMAT
from spikeproof.io.bundle import STIMULUS_SAMPLES
from spikeproof.io.data import load_data
from spikeproof.io.files import read_bytes, sha256

if TYPE_CHECKING:
    from spikeproof.io.bundle import Bundle
    from spikeproof.ir.chip import ChipNetwork

_SPIKE_RATE = 0.3

Row = dict[str, Any]


@dataclass(frozen=True)
class NetxOptions:
    """What a ``.net`` file leaves open (see :func:`spikeproof.formats.netx.read.load_netx`)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    timesteps: int | None = None
    pixel_range: tuple[float, float] | None = None
    skip_input: bool = False
    input_shape: tuple[int, int, int] | None = None

    def load(self, path: Path) -> ChipNetwork:
        """Read a file with these options (see ``load_netx`` for what is raised)."""
        from spikeproof.formats.netx.pixels import RAW_PIXELS
        from spikeproof.formats.netx.read import load_netx

        pixels = self.pixel_range or RAW_PIXELS
        return load_netx(
            path,
            self.timesteps,
            pixel_range=pixels,
            skip_input=self.skip_input,
            input_shape=self.input_shape,
        )


def netx_bundle(path: Path, options: NetxOptions, data: Path | None) -> Bundle:
    """Read a ``.net`` file and build its bundle (not yet written).

    Args:
        path: the file.
        options: what the file leaves open.
        data: npz whose first samples become the self-test; None draws a legal random input.

    Raises:
        RangeError: a host-written bias or a readout could overflow.
    """
    from spikeproof.engines.memory import check_analysis
    from spikeproof.engines.self_test import make_bundle

    network = options.load(path)
    check_analysis(network, STIMULUS_SAMPLES)
    check_foreign_ranges(network)
    stimulus = _random_input(network) if data is None else _first_samples(network, data)
    record = {
        "netx": {"name": path.name, "hash": sha256(read_bytes(path)), "format": FORMAT},
        "options": {
            "timesteps": network.timesteps,
            "pixel_range": None if options.pixel_range is None else list(options.pixel_range),
            "skip_input": options.skip_input,
            "input_shape": None if options.input_shape is None else list(options.input_shape),
        },
        "stimulus": "random, seed 0" if data is None else "given",
        "table": netx_table(network),
        "spikeproof": __version__,
    }
    return make_bundle(network, record, stimulus)


def _random_input(network: ChipNetwork) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    if network.coding == "pixels":
        shape = (STIMULUS_SAMPLES, *network.input_shape)
        return rng.integers(0, 256, shape, dtype=np.uint8)
    full = (STIMULUS_SAMPLES, network.timesteps, *network.input_shape)
    return (rng.random(full) < _SPIKE_RATE).astype(np.uint8)


def _first_samples(network: ChipNetwork, data: Path) -> NDArray[np.uint8]:
    steps = None if network.coding == "pixels" else network.timesteps
    return load_data(data, network.input_shape, steps=steps)[0][:STIMULUS_SAMPLES]


def netx_table(network: ChipNetwork) -> list[Row]:
    """Return one row per layer; parameters are called as in the file."""
    from spikeproof.certify.ranges import certify_ranges
    from spikeproof.ir.chip import LifNeuron

    rows: list[Row] = []
    for layer, found in zip(network.layers, certify_ranges(network), strict=True):
        weight, neuron = layer.synapse.weight, layer.neuron
        lif = neuron if isinstance(neuron, LifNeuron) else None
        rows.append(
            {
                "layer": layer.name,
                "kind": layer.kind,
                "neuron": neuron.title,
                "shape": list(layer.shape),
                "neurons": layer.neurons,
                "synapses": int(weight.size),
                "weights": f"{weight.min()}..{weight.max()}",
                "iDecay": None if lif is None else lif.du + 1,
                "vDecay": None if lif is None else lif.dv,
                "vThMant": None if lif is None else lif.threshold,
                "v_low": found.v_low,
                "v_high": found.v_high,
                "headroom_bits": found.headroom_bits,
            }
        )
    return rows
