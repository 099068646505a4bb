"""Run one or several networks on Lava, supervised, and collect what the tapes hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.trace import LayerTrace, Progress, RunResult, result_from_logits
from spikeproof.errors import InputError, RangeError
from spikeproof.io.files import temporary_folder
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_input import check_input
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.readouts import answers
from spikeproof.text import counted
from spikeproof_lava import compat
from spikeproof_lava.estimate import count_all_synapses, count_processes, memory_problem
from spikeproof_lava.jobs import Job, write_job
from spikeproof_lava.supervise import Message, supervise

_START_SECONDS = 60.0
_STEP_SECONDS = 0.02
_BUILD_SECONDS, _SYNAPSE_SECONDS = 2e-6, 1e-7
"""Of a connection: once, and in every step."""


@dataclass(frozen=True, eq=False)
class Task:
    """One network with its input; ``trace`` keeps u, v and s of every layer (backend "cpu")."""

    network: ChipNetwork
    x: NDArray[np.uint8]
    trace: bool = False
    backend: Literal["cpu", "loihi2", "portable"] = "cpu"


def run_many(
    tasks: Sequence[Task],
    *,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> list[RunResult]:
    """Run tasks one after another in one supervised process (Lava starts once).

    Args:
        tasks: networks and inputs, checked here before anything starts.
        timeout: seconds for all of them; None estimates generously from the work.
        progress: called with (samples done, samples in all).

    Raises:
        GraphError, InputError, RangeError: a network or input is not legal.
        TargetError: Lava failed or exceeded the limit. MissingExtraError: Lava is missing.
    """
    compat.check_installed()
    for task in tasks:
        check_chip(task.network)
        check_input(task.network, task.x)
        problem = memory_problem(task.network) if task.backend != "loihi2" else None
        if problem:
            raise InputError(problem, where=task.network.name)
    limit = sum(map(estimate_seconds, tasks)) + _START_SECONDS if timeout is None else timeout
    with temporary_folder("lava") as folder:
        jobs = []
        for number, task in enumerate(tasks):
            place = folder / f"job_{number:06d}"
            place.mkdir()
            job = write_job(place, task.network, task.x, trace=task.trace, backend=task.backend)
            jobs.append(job)
        supervise(folder, limit, _follow(jobs, progress))
        return [_collect(job) for job in jobs]


def estimate_seconds(task: Task) -> float:
    """Return a time that a run will not need even on a slow, busy machine."""
    network = task.network
    steps = len(task.x) * network.timesteps + len(network.layers)
    synapses = count_all_synapses(network)
    return (
        _START_SECONDS
        + _BUILD_SECONDS * synapses
        + steps * (_STEP_SECONDS * count_processes(network) + _SYNAPSE_SECONDS * synapses)
    )


def _follow(jobs: list[Job], progress: Progress | None) -> Callable[[Message], None]:
    """Translate the worker's messages into samples done over all jobs."""
    total = sum(job.samples for job in jobs)
    before = [0]

    def follow(message: Message) -> None:
        if "job" in message:
            before[0] = sum(job.samples for job in jobs[: message["job"]])
        if progress is not None and "samples" in message:
            progress(before[0] + int(message["samples"]), total)

    return follow


def _collect(job: Job) -> RunResult:
    """Read the tapes: traces on each layer's clock, and logits of the last layer."""
    network = job.network
    if job.backend != "cpu":
        return result_from_logits(np.load(job.logits))
    _refuse_firing_readout(job)
    traces = {}
    for index, layer in enumerate(network.layers):
        if job.trace:
            s = _field(job, index, "s") if layer.neuron.spiking else None
            traces[layer.name] = LayerTrace(_field(job, index, "u"), _field(job, index, "v"), s)
    last = len(network.layers) - 1
    spikes = _field(job, last, "s") if network.layers[last].neuron.spiking else None
    logits = answers(network.readout, _field(job, last, "v"), spikes)
    return result_from_logits(logits, traces if job.trace else None)


def _field(job: Job, index: int, field: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(job.folder / f"{index}_{field}.npy")
    return array.reshape(job.samples, job.network.timesteps, *job.network.layers[index].shape)


def _refuse_firing_readout(job: Job) -> None:
    """Raise RangeError if the readout's membrane reached the largest threshold and was reset."""
    layers = job.network.layers
    if layers[-1].neuron.spiking:
        return
    fired = np.argwhere(_field(job, len(layers) - 1, "s"))
    if len(fired):
        sample, step, *neuron = fired[0]
        raise RangeError(
            f"the readout fired {counted(len(fired), 'time')}, first at sample {sample}, "
            f"step {step}, neuron {tuple(int(n) for n in neuron)}: its v left "
            "the range below the threshold",
            where=f"{job.network.name}, layer {layers[-1].name}",
            hint="Convert with a smaller output scale; the range check should have refused this.",
        )
