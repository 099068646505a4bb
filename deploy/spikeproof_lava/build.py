# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-call"
"""Turn a chip network and its inputs into connected Lava processes (worker only).

All vectors are flat, in C-order of (C, H, W), so no port is ever reshaped. Every hop over a
Dense or Sparse process takes one step; a layer behind h hops starts h steps late and clears its
states at its own first step of each sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.dense.process import Dense
from lava.proc.sparse.models import PySparseModelBitAcc
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode, clip_weights, truncate_weights
from scipy.sparse import issparse

from spikeproof import fixedpoint as fx
from spikeproof.errors import TargetError
from spikeproof.ir import chip
from spikeproof_lava.jobs import Job
from spikeproof_lava.population import Population, Program
from spikeproof_lava.processes.models import FrameSourceModel, ProgramLifModel, RecordedLifModel
from spikeproof_lava.processes.process import FrameSource, ProgramLif, RecordedLif
from spikeproof_lava.tape import TapeSpec

TAG = "fixed_pt"
MODELS: dict[type[Any], type[Any]] = {
    FrameSource: FrameSourceModel,
    RecordedLif: RecordedLifModel,
    ProgramLif: ProgramLifModel,
    Dense: PyDenseModelBitAcc,
    Sparse: PySparseModelBitAcc,
}
"""The models the run configuration must choose; anything else is an error."""

_SIGNS = {
    "mixed": SignMode.MIXED,
    "excitatory": SignMode.EXCITATORY,
    "inhibitory": SignMode.INHIBITORY,
}
_WEIGHT_BITS = 8
_PIXEL_BITS = 8
_SPIKE_BITS = 1  # same sums as 0 ("binary") for 0/1 payloads, by a faster path


@dataclass(frozen=True, eq=False)
class Graph:
    """Connected processes, where the recorded layers write, and how many steps to run."""

    processes: tuple[AbstractProcess, ...]
    tapes: dict[str, TapeSpec]
    steps: int


def build(job: Job, progress_fd: int | None = None) -> Graph:
    """Build the processes of a job and connect them.

    Raises:
        TargetError: Lava would change a weight (a network that was not checked).
    """
    network, processes, tapes, hops = job.network, [], {}, 0
    payloads = _source(job)
    if payloads is not None:
        processes.append(payloads.process)
    for index, layer in enumerate(network.layers):
        current = None
        if not layer.host:
            bits = _PIXEL_BITS if index == 0 and network.coding == "pixels" else _SPIKE_BITS
            synapse = make_synapse(layer, bits)
            payloads.connect(synapse.s_in)
            processes.append(synapse)
            current, hops = synapse.a_out, hops + 1
        population = _population(job, index, hops, progress_fd, host=current is None)
        if population.tape is not None:
            tapes[layer.name] = population.tape
        neurons = make_neurons(layer, population)
        if current is not None:
            current.connect(neurons.a_in)
        processes.append(neurons)
        payloads = neurons.s_out
    return Graph(tuple(processes), tapes, job.samples * network.timesteps + hops)


def _population(
    job: Job, index: int, hops: int, progress_fd: int | None, *, host: bool
) -> Population:
    """Give a layer its clock, and a tape if it is the last or all layers are recorded."""
    network, layer = job.network, job.network.layers[index]
    last = index == len(network.layers) - 1
    tape = None
    if last or job.trace:
        rows, fd = job.samples * network.timesteps, progress_fd if last else None
        tape = TapeSpec(job.folder, index, hops, rows, layer.neurons, network.timesteps, fd)
    return Population(
        size=layer.neurons,
        bias=np.broadcast_to(layer.neuron.bias, layer.shape).reshape(-1),
        bias_exponent=layer.neuron.bias_exponent,
        interval=network.timesteps,
        offset=hops + 1,
        tape=tape,
        sample_bias=job.sample_bias if host else None,
    )


def compile_checked(graph: Graph) -> Any:
    """Compile with the fixed-point tag and make sure Lava chose the models we mean.

    Raises:
        TargetError: another model was selected, with all of them named.
    """
    config = Loihi2SimCfg(select_tag=TAG)
    executable = graph.processes[-1].compile(config)
    wrong = [
        f"{type(p).__name__} runs {p.model_class.__name__}, expected {MODELS[type(p)].__name__}"
        for p in graph.processes
        if p.model_class is not MODELS[type(p)]
    ]
    if wrong:
        raise TargetError(f"Lava selected other models than intended: {'; '.join(wrong)}")
    return executable


def make_synapse(layer: chip.ChipLayer, message_bits: int) -> AbstractProcess:
    """Build a Dense, or a Sparse for an unrolled convolution, with weights of 8 bits.

    Raises:
        TargetError: Lava's conditioning would change a weight.
    """
    synapse = layer.synapse
    sign = _SIGNS[synapse.sign]
    # Weight by weight it is the same for the kernel as for the far larger matrix made of it.
    weight = synapse.weight.astype(np.int32)
    conditioned = truncate_weights(clip_weights(weight, sign, num_bits=8), sign, _WEIGHT_BITS)
    changed = int(np.count_nonzero(conditioned != weight))
    if changed:
        raise TargetError(
            f"Lava would change {changed} weight(s) under the sign mode {synapse.sign!r}",
            where=layer.name,
            hint="Mixed weights must be even in -256..254, single-sign ones at most 255.",
        )
    matrix = synapse.matrix()
    return (Sparse if issparse(matrix) else Dense)(
        weights=matrix.astype(np.int32),
        weight_exp=synapse.exponent,
        num_weight_bits=_WEIGHT_BITS,
        sign_mode=sign,
        num_message_bits=message_bits,
    )


def make_neurons(layer: chip.ChipLayer, population: Population) -> AbstractProcess:
    """Build the process of a neuron population.

    A readout is a membrane under the highest threshold, which the range certificate keeps out of
    reach.
    """
    neuron = layer.neuron
    if neuron.program:
        return ProgramLif(population, _program(layer, population.interval))
    dv, threshold = fx.DECAY_ONE - int(neuron.leak_at(0)), int(neuron.threshold_at(0))
    return RecordedLif(population, du=int(neuron.du), dv=dv, vth=threshold // fx.CURRENT_UNIT)


def _program(layer: chip.ChipLayer, steps: int) -> Program:
    neuron = layer.neuron

    def each(values: Any) -> chip.Ints:
        return np.broadcast_to(values, layer.shape).reshape(-1).astype(np.int32)

    return Program(
        leak=np.stack([each(neuron.leak_at(t)) for t in range(steps)]),
        threshold=np.stack([each(neuron.threshold_at(t)) for t in range(steps)]),
        du=each(neuron.du),
        initial=each(neuron.initial),
        taken=None if neuron.reset is None else each(neuron.reset),
    )


def _source(job: Job) -> Any:
    """Return the port that sends the payloads, or None when the host writes currents."""
    network = job.network
    if network.layers[0].host:
        return None
    hold = network.timesteps if network.coding == "pixels" else 1
    width = int(np.prod(network.input_shape))
    return FrameSource(frames=job.frames, width=width, hold=hold).s_out
