# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-call"
"""Build a network from Lava's own processes only, so that a chip can run it (worker only).

No recorder, no own models: logits come from reading the readout's v once per sample (a few
values), or from a sink that keeps the last layer's spikes. A current that the host computes
enters as graded spikes, one per neuron and step, over one weight each. What the host sends to a
layer deeper than the first it sends later; between layers, Lava's own processes hold spikes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg
from lava.proc.io import sink, source
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode
from numpy.typing import NDArray
from scipy.sparse import identity

from spikeproof import fixedpoint as fx
from spikeproof.errors import TargetError
from spikeproof.ir import chip
from spikeproof.ir.chip import INPUT_INDEX
from spikeproof.ir.graph import delays, depths
from spikeproof.ir.readouts import answers
from spikeproof_lava.build import TAG, make_synapse
from spikeproof_lava.jobs import Job

_CURRENT_BITS = 16
"""Payload that carries a bias mantissa: 13 bits and a sign."""


@dataclass(frozen=True, eq=False)
class PortableGraph:
    """Connected standard processes; ``spikes`` keeps the output of a spiking last layer.

    lead: steps before that layer's clock starts.
    """

    last: LIFReset
    spikes: sink.RingBuffer | None
    steps: int
    lead: int
    processes: tuple[AbstractProcess, ...]


def build_portable(job: Job) -> PortableGraph:
    """Build and connect sources, synapses, LIFReset populations and, if needed, a sink."""
    network, first = job.network, depths(job.network)
    steps = job.samples * network.timesteps + first[-1]
    neurons = [
        _lif(layer, network.timesteps, start + 1)
        for layer, start in zip(network.layers, first, strict=True)
    ]
    processes: list[Any] = [*neurons]
    for index, (layer, found) in enumerate(zip(network.layers, delays(network), strict=True)):
        for one, origin, delay in zip(layer.inputs, network.sources[index], found, strict=True):
            bits = network.payload_of(origin).bit_length()
            if origin != INPUT_INDEX:
                sender = neurons[origin]
                synapse = make_synapse(one.synapse, bits, layer.name, delay)
            elif one.host is None:
                sender = _sent(job, steps, delay, job.frames)
                synapse = make_synapse(one.synapse, bits, layer.name)
            else:
                sender = _sent(job, steps, delay, job.sample_bias(index))
                synapse = _carrier(layer)
            sender.s_out.connect(synapse.s_in)
            synapse.a_out.connect(neurons[index].a_in)
            processes += [synapse] if origin != INPUT_INDEX else [sender, synapse]
    last, spikes = neurons[-1], None
    if network.layers[-1].neuron.spiking:
        spikes = sink.RingBuffer(shape=last.s_out.shape, buffer=steps)
        last.s_out.connect(spikes.a_in)
        processes.append(spikes)
    return PortableGraph(last, spikes, steps, first[-1], tuple(processes))


def _sent(job: Job, steps: int, late: int, rows_of: Path) -> source.RingBuffer:
    """Return what sends the rows of a file, ``late`` steps after the run has begun."""
    rows = np.load(rows_of)
    if job.network.coding == "pixels":
        rows = np.repeat(rows, job.network.timesteps, axis=0)
    data = np.zeros((rows.shape[1], steps), np.int32)
    data[:, late : late + len(rows)] = rows[: steps - late].T
    return source.RingBuffer(data=data)


def run_portable(job: Job, *, hardware: bool) -> NDArray[np.int64]:
    """Run a job and return its logits (samples, classes)."""
    graph = build_portable(job)
    config = (Loihi2HwCfg if hardware else Loihi2SimCfg)(select_tag=TAG)
    try:
        if graph.spikes is None:
            return _membrane_per_sample(job, graph, config)
        graph.last.run(RunSteps(num_steps=graph.steps), run_cfg=config)
        fired = np.asarray(graph.spikes.data.get()).T[graph.lead :]
        per_sample = fired.reshape(job.samples, job.network.timesteps, -1).astype(np.uint8)
        return answers(job.network.readout, per_sample.astype(np.int32), per_sample)
    finally:
        graph.last.stop()


def _membrane_per_sample(job: Job, graph: PortableGraph, config: Any) -> NDArray[np.int64]:
    """Stop at the readout's last step of each sample and read its v."""
    logits = []
    for sample in range(job.samples):
        lead = graph.lead if sample == 0 else 0
        steps = RunSteps(num_steps=job.network.timesteps + lead)
        graph.last.run(steps, run_cfg=config)
        logits.append(np.asarray(graph.last.v.get()).reshape(-1))
    return np.stack(logits).astype(np.int64)


def _carrier(layer: chip.ChipLayer) -> Sparse:
    """Return one weight per neuron, so that a payload p adds ``p << bias_exponent`` to v."""
    unit = 1 << (layer.neuron.bias_exponent - fx.CURRENT_SHIFT)
    size = int(np.prod(layer.shape))
    return Sparse(
        weights=identity(size, dtype=np.int32, format="csr") * unit,
        weight_exp=0,
        num_weight_bits=8,
        sign_mode=SignMode.EXCITATORY,
        num_message_bits=_CURRENT_BITS,
    )


def _lif(layer: chip.ChipLayer, interval: int, offset: int) -> LIFReset:
    size, neuron = layer.neurons, layer.neuron
    if neuron.program:
        raise TargetError(f"no standard process for {type(neuron).__name__}", where=layer.name)
    return LIFReset(
        shape=(size,),
        du=np.array([neuron.du]),
        dv=np.array([fx.DECAY_ONE - int(neuron.leak_at(0))]),
        vth=np.array([int(neuron.threshold_at(0)) // fx.CURRENT_UNIT]),
        bias_mant=np.broadcast_to(neuron.bias, layer.shape).reshape(-1).astype(np.int16),
        bias_exp=np.full(size, neuron.bias_exponent, np.int16),
        reset_interval=interval,
        reset_offset=offset,
    )
