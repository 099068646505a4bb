# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-call"
"""Process classes: a source, a delay line, Lava's LIF with a recorder or as a neuron program.

Constructors take exact arguments only: Lava's own swallow unknown keywords silently.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.proc.lif.process import LIFReset

from spikeproof_lava.population import Population, Program


class FrameSource(AbstractProcess):
    """Send the rows of a file as payloads, each for ``hold`` steps, then zeros.

    Args:
        frames: ``.npy`` file of non-negative integers (rows, width). Pixels: one row per
            sample and hold = timesteps. Spikes: one row per step and hold = 1.
        width: number of payloads per step.
        hold: steps per row.
    """

    def __init__(self, *, frames: Path, width: int, hold: int) -> None:
        super().__init__(frames=str(frames), hold=hold)
        self.s_out = OutPort(shape=(width,))


class DelayLine(AbstractProcess):
    """Hold payloads back, and keep those of one sample from reaching the next.

    Args:
        width: number of payloads per step.
        delay: steps by which each leaves later than it came, 0 or more.
        lag: steps at the target's start of a sample in which nothing may reach it, since what
            would arrive then was sent before.
        interval: steps per sample.
        start: steps before the target's clock starts; a synapse lies between, which takes one.
    """

    def __init__(self, *, width: int, delay: int, lag: int, interval: int, start: int) -> None:
        super().__init__(delay=delay, lag=lag, interval=interval, start=start)
        self.s_in = InPort(shape=(width,))
        self.s_out = OutPort(shape=(width,))


class RecordedLif(LIFReset):
    """Lava's ``LIFReset``, unchanged, plus a recorder and an optional bias per sample.

    Args:
        neurons: the population.
        du, dv, vth: decays 0..4095 and 0..4096 and threshold mantissa of all.
    """

    def __init__(self, neurons: Population, *, du: int, dv: int, vth: int) -> None:
        # One-element arrays: a plain int becomes a float on Var.set and hangs the next Var.get.
        super().__init__(
            shape=(neurons.size,),
            du=np.array([du]),
            dv=np.array([dv]),
            vth=np.array([vth]),
            bias_mant=np.asarray(neurons.bias, np.int16),
            bias_exp=np.full(neurons.size, neurons.bias_exponent, np.int16),
            reset_interval=neurons.interval,
            reset_offset=neurons.offset,
        )
        self.proc_params["tape"] = neurons.tape
        self.proc_params["sample_bias"] = neurons.sample_bias
        self.proc_params["first_step"] = neurons.offset


class ProgramLif(RecordedLif):
    """A LIF with numbers of each neuron and step of the sample, any reset and initial state."""

    def __init__(self, neurons: Population, program: Program) -> None:
        super().__init__(neurons, du=0, dv=0, vth=0)
        self.proc_params["soft"] = program.taken is not None
        taken = np.zeros(neurons.size, np.int32) if program.taken is None else program.taken
        self.leak = Var(shape=program.leak.shape, init=program.leak)
        self.threshold = Var(shape=program.threshold.shape, init=program.threshold)
        self.filter = Var(shape=program.du.shape, init=program.du)
        self.initial = Var(shape=program.initial.shape, init=program.initial)
        self.taken = Var(shape=taken.shape, init=taken)
