# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-call"
"""Process classes: a source, Lava's LIF with a recorder, and the same with tables.

Constructors take exact arguments only: Lava's own swallow unknown keywords silently.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.proc.lif.process import LIFReset

from spikeproof.ir.chip import Ints
from spikeproof_lava.population import Population


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


class RecordedLif(LIFReset):
    """Lava's ``LIFReset``, unchanged, plus a recorder and an optional bias per sample.

    Args:
        neurons: the population.
        dv, vth: decay 0..4096 and threshold mantissa of all.
    """

    def __init__(self, neurons: Population, *, dv: int, vth: int) -> None:
        # One-element arrays: a plain int becomes a float on Var.set and hangs the next Var.get.
        super().__init__(
            shape=(neurons.size,),
            du=np.array([neurons.du]),
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


class TableLif(RecordedLif):
    """A LIF whose leak and threshold change with the step of the sample.

    Args:
        neurons: the population.
        leak: (interval,) numerators over 4096, 0..16383.
        threshold: (interval,) in raw v-units.
    """

    def __init__(self, neurons: Population, *, leak: Ints, threshold: Ints) -> None:
        super().__init__(neurons, dv=0, vth=0)
        tables = np.stack([leak, threshold]).astype(np.int32)[:, :, None].repeat(neurons.size, 2)
        self.leak = Var(shape=tables[0].shape, init=tables[0])
        self.threshold = Var(shape=tables[1].shape, init=tables[1])
