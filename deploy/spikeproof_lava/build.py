# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-call"
"""Turn a chip network and its inputs into connected Lava processes (worker only).

All vectors are flat, in C-order of (C, H, W), so no port is ever reshaped. Every connection is a
Dense or Sparse process of its own, and ports that are connected to one port of a population add
up there, in 32 bits. A hop over such a process takes one step; what a connection needs beyond its
hop (``ir.graph.delays``) a delay line holds back. Each layer starts when its clock does
(``schedule.starts``) and clears its states at its own first step of each sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.sparse.models import PySparseModelBitAcc
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode, clip_weights, truncate_weights
from scipy.sparse import csr_matrix, issparse

from spikeproof import fixedpoint as fx
from spikeproof.errors import TargetError
from spikeproof.ir import chip
from spikeproof.ir.chip import INPUT_INDEX
from spikeproof.ir.graph import delays
from spikeproof.text import counted
from spikeproof_lava.jobs import Job
from spikeproof_lava.population import Population, Program
from spikeproof_lava.processes.models import (
    DelayLineModel,
    FrameSourceModel,
    ProgramLifModel,
    RecordedLifModel,
)
from spikeproof_lava.processes.process import DelayLine, FrameSource, ProgramLif, RecordedLif
from spikeproof_lava.schedule import run_steps, starts, takes_payloads
from spikeproof_lava.tape import TapeSpec

TAG = "fixed_pt"
MODELS: dict[type[Any], type[Any]] = {
    FrameSource: FrameSourceModel,
    DelayLine: DelayLineModel,
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
    network, first = job.network, starts(job.network)
    sending: dict[int, Any] = {}
    processes: list[AbstractProcess] = []
    if takes_payloads(network):
        processes.append(_source(job))
        sending[INPUT_INDEX] = processes[0].s_out
    neurons = [_population(job, index, first[index], progress_fd) for index in range(len(first))]
    populations = [make_neurons(*pair) for pair in zip(network.layers, neurons, strict=True)]
    sending |= {index: population.s_out for index, population in enumerate(populations)}
    for index, population in enumerate(populations):
        processes += _connect(network, index, first[index], sending, population)
        processes.append(population)
    processes += _tie(network, populations)
    tapes = zip(network.layers, neurons, strict=True)
    return Graph(
        (*processes,),
        {layer.name: one.tape for layer, one in tapes if one.tape is not None},
        run_steps(network, job.samples),
    )


def _connect(
    network: chip.ChipNetwork, index: int, first: int, sending: dict[int, Any], population: Any
) -> list[AbstractProcess]:
    """Connect a population with its sources and return the processes in between.

    A connection without a lag, however long its delay, needs no gate: what its source does in
    step t of a sample reaches step t of the same sample. With a lag the last steps of a sample
    would reach the first ones of the next.
    """
    layer, between = network.layers[index], list[AbstractProcess]()
    wired = zip(layer.inputs, network.sources[index], delays(network)[index], strict=True)
    for one, source, delay in wired:
        if one.host is not None:
            continue
        payloads, width = sending[source], int(np.prod(network.shape_of(source)))
        if delay or one.lag:
            line = DelayLine(
                width=width, delay=delay, lag=one.lag, interval=network.timesteps, start=first
            )
            payloads.connect(line.s_in)
            payloads = line.s_out
            between.append(line)
        # One bit gives the same sums as 0 ("binary") for 0/1 payloads, by a faster path.
        bits = network.payload_of(source).bit_length()
        synapse = make_synapse(one.synapse, bits, layer.name)
        payloads.connect(synapse.s_in)
        synapse.a_out.connect(population.a_in)
        between.append(synapse)
    return between


def _tie(network: chip.ChipNetwork, populations: list[Any]) -> list[AbstractProcess]:
    """Connect layers that no path joins with the last one, over synapses whose weights are 0.

    Lava compiles and runs only what hangs together.
    """
    last, ties = len(populations) - 1, list[AbstractProcess]()
    for apart in _islands(network):
        shape = (network.layers[last].neurons, network.layers[apart].neurons)
        tie = Sparse(
            weights=csr_matrix(([0], ([0], [0])), shape=shape, dtype=np.int32),
            sign_mode=SignMode.EXCITATORY,
            num_message_bits=1,
        )
        populations[apart].s_out.connect(tie.s_in)
        tie.a_out.connect(populations[last].a_in)
        ties.append(tie)
    return ties


def _islands(network: chip.ChipNetwork) -> list[int]:
    """Return a layer of each part that no path, of whatever direction, joins with the last."""
    parts: list[set[int]] = []
    for index, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        joined = {index} | {
            source for one, source in zip(layer.inputs, sources, strict=True) if one.host is None
        }
        for part in [part for part in parts if part & joined]:
            joined |= part
            parts.remove(part)
        parts.append(joined)
    last = len(network.layers) - 1
    return [max(part) for part in parts if last not in part]


def _population(job: Job, index: int, start: int, progress_fd: int | None) -> Population:
    """Give a layer its clock, and a tape if it is the last or all layers are recorded."""
    network, layer = job.network, job.network.layers[index]
    last = index == len(network.layers) - 1
    tape = None
    if last or job.trace:
        rows, fd = job.samples * network.timesteps, progress_fd if last else None
        tape = TapeSpec(job.folder, index, start, rows, layer.neurons, network.timesteps, fd)
    return Population(
        size=layer.neurons,
        bias=np.broadcast_to(layer.neuron.bias, layer.shape).reshape(-1),
        bias_exponent=layer.neuron.bias_exponent,
        interval=network.timesteps,
        offset=start + 1,
        tape=tape,
        sample_bias=job.sample_bias(index) if layer.host else None,
    )


def compile_checked(graph: Graph) -> Any:
    """Compile with the fixed-point tag and make sure Lava chose the models we mean.

    Raises:
        TargetError: another model was selected, with all of them named.
    """
    config = Loihi2SimCfg(select_tag=TAG)
    executable = graph.processes[-1].compile(config)
    wrong = [
        f"{type(p).__name__} runs {getattr(p.model_class, '__name__', 'nothing')}, expected "
        f"{MODELS[type(p)].__name__}"
        for p in graph.processes
        if p.model_class is not MODELS[type(p)]
    ]
    if wrong:
        raise TargetError(f"Lava selected other models than intended: {'; '.join(wrong)}")
    return executable


def make_synapse(
    synapse: chip.Synapse, message_bits: int, where: str, delay: int = 0
) -> AbstractProcess:
    """Build a Dense, or a Sparse for an unrolled convolution, with weights of 8 bits.

    With a ``delay`` it is Lava's own process that has one. Its CPU model makes the matrix of all
    weights once per delay, in every step, so it serves the chip's process graph only.

    Raises:
        TargetError: Lava's conditioning would change a weight.
    """
    sign = _SIGNS[synapse.sign]
    # Weight by weight it is the same for the kernel as for the far larger matrix made of it.
    weight = synapse.weight.astype(np.int32)
    conditioned = truncate_weights(clip_weights(weight, sign, num_bits=8), sign, _WEIGHT_BITS)
    changed = int(np.count_nonzero(conditioned != weight))
    if changed:
        raise TargetError(
            f"Lava would change {counted(changed, 'weight')} under the sign mode {synapse.sign!r}",
            where=where,
            hint="Mixed weights must be even in -256..254, single-sign ones at most 255.",
        )
    matrix = synapse.matrix().astype(np.int32)
    facts: dict[str, Any] = {
        "weights": matrix,
        "weight_exp": synapse.exponent,
        "num_weight_bits": _WEIGHT_BITS,
        "sign_mode": sign,
        "num_message_bits": message_bits,
    }
    if not delay:
        return (Sparse if issparse(matrix) else Dense)(**facts)
    if issparse(matrix):
        held = (np.full(matrix.nnz, delay), matrix.indices, matrix.indptr)
        return DelaySparse(delays=csr_matrix(held, shape=matrix.shape), **facts)
    return DelayDense(delays=np.full(matrix.shape, delay), **facts)


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


def _source(job: Job) -> AbstractProcess:
    """Return the process that sends the payloads."""
    network = job.network
    hold = network.timesteps if network.coding == "pixels" else 1
    width = int(np.prod(network.input_shape))
    return FrameSource(frames=job.frames, width=width, hold=hold)
