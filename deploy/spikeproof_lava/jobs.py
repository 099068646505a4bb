"""One run as files in a private folder: what the worker needs, and what it leaves.

``network`` (the container format, no pickle), ``frames.npy`` (payloads) and ``LAYER_bias.npy``
(host currents), then ``LAYER_FIELD.npy`` written by the process models.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.errors import RangeError
from spikeproof.io import container
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.serial import network_from_parts, network_to_parts
from spikeproof_lava.schedule import takes_payloads

_KIND = "lava-job"
_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Job:
    """A network and the number of samples it runs; its arrays lie in ``folder``.

    trace: record every layer, not only the last. backend: "cpu" (recorded), "loihi2", or
    "portable": the chip's process graph, run on the CPU.
    """

    folder: Path
    network: ChipNetwork
    samples: int
    trace: bool
    backend: str = "cpu"

    @property
    def frames(self) -> Path:
        """File of payloads, one row per sample (pixels) or per step (spikes)."""
        return self.folder / "frames.npy"

    @property
    def logits(self) -> Path:
        """File of logits, written by the backends that record nothing else."""
        return self.folder / "logits.npy"

    def sample_bias(self, index: int) -> Path:
        """Return the file of a layer's bias mantissas, one row per sample."""
        return self.folder / f"{index}_bias.npy"


def write_job(
    folder: Path, network: ChipNetwork, x: NDArray[np.uint8], *, trace: bool, backend: str = "cpu"
) -> Job:
    """Write a run's description and inputs into the existing, private ``folder``.

    Raises:
        RangeError: a host current exceeds the bias mantissa for one of the samples.
    """
    job = Job(folder, network, len(x), trace, backend)
    for index, layer in enumerate(network.layers):
        if layer.host:
            np.save(job.sample_bias(index), host_mantissas(network, x, index))
    if takes_payloads(network):
        rows = len(x) if network.coding == "pixels" else len(x) * network.timesteps
        np.save(job.frames, np.ascontiguousarray(x).reshape(rows, -1))
    document, tensors = network_to_parts(network)
    parts: list[object] = [layer.neuron for layer in network.layers]
    parts += [one.synapse for layer in network.layers for one in layer.inputs]
    facts = {
        "network": document,
        "samples": len(x),
        "trace": trace,
        "backend": backend,
        "modules": sorted({type(part).__module__ for part in parts}),
    }
    (folder / "network").write_bytes(container.pack(_KIND, _SCHEMA, facts, tensors))
    return job


def read_job(folder: Path) -> Job:
    """Read what :func:`write_job` wrote."""
    path = folder / "network"
    facts, tensors = container.unpack(path.read_bytes(), _KIND, _SCHEMA, str(path))
    for module in facts["modules"]:  # defining a kind of neuron or synapse registers it
        import_module(module)
    network = network_from_parts(facts["network"], tensors, ChipNetwork)
    return Job(folder, network, int(facts["samples"]), bool(facts["trace"]), facts["backend"])


def host_mantissas(network: ChipNetwork, x: NDArray[np.uint8], index: int = 0) -> NDArray[np.int16]:
    """Return a layer's constant current, the first's, as bias mantissas (samples, neurons).

    mantissa = round_half_up((W x + offset) / 2**shift), computed on the host in 64 bits. This is
    a second implementation on purpose: a fault in the one the other engines share must show.

    Raises:
        RangeError: a mantissa does not fit 13 signed bits (Lava would wrap it silently).
    """
    layer = network.layers[index]
    one = next(one for one in layer.inputs if one.host is not None)
    host: Any = one.host
    sums = (one.synapse.matrix().astype(np.int64) @ x.reshape(len(x), -1).astype(np.int64).T).T
    offset = np.broadcast_to(host.offset, layer.shape).reshape(1, -1)
    unit = 2**host.shift
    mantissas: NDArray[np.int64] = (2 * (sums + offset) + unit) // (2 * unit)
    largest = int(np.abs(mantissas).max(initial=0))
    if largest > fx.BIAS_MANTISSA_MAX:
        sample, neuron = np.argwhere(np.abs(mantissas) == largest)[0]
        raise RangeError(
            f"host current of sample {sample}, neuron {neuron} has mantissa {largest}, the chip "
            f"takes at most {fx.BIAS_MANTISSA_MAX}",
            where=f"{network.name}, layer {layer.name}",
            hint="Convert with a larger shift or a smaller scale of the layer.",
        )
    return mantissas.astype(np.int16)
