# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-call"
"""Process classes: a source, Lava's LIF with a recorder, and the same with tables.

Constructors take exact keywords only: Lava's own swallow unknown ones silently.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.proc.lif.process import LIFReset

from spikeproof.ir.chip import Ints
from spikeproof_lava.tape import TapeSpec


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
        size: number of neurons.
        du, dv, vth: decays 0..4095 / 0..4096 and threshold mantissa of the population.
        bias: (size,) mantissas; bias_exponent: 0..7.
        interval, offset: u and v are cleared at steps with step % interval == offset % interval.
        tape: where to record, or None.
        sample_bias: ``.npy`` file of mantissas (samples, size) that replace ``bias``, one row per
            sample (a current computed on the host), or None.
    """

    def __init__(
        self,
        *,
        size: int,
        du: int,
        dv: int,
        vth: int,
        bias: Ints,
        bias_exponent: int,
        interval: int,
        offset: int,
        tape: TapeSpec | None,
        sample_bias: Path | None,
    ) -> None:
        # One-element arrays: a plain int becomes a float on Var.set and hangs the next Var.get.
        super().__init__(
            shape=(size,),
            du=np.array([du]),
            dv=np.array([dv]),
            vth=np.array([vth]),
            bias_mant=np.asarray(bias, np.int16),
            bias_exp=np.full(size, bias_exponent, np.int16),
            reset_interval=interval,
            reset_offset=offset,
        )
        self.proc_params["tape"] = tape
        self.proc_params["sample_bias"] = sample_bias
        self.proc_params["first_step"] = offset


class TableLif(RecordedLif):
    """A LIF whose leak and threshold change with the step of the sample.

    Args:
        size: number of neurons.
        leak: (interval, size) numerators over 4096, 0..16383.
        threshold: (interval, size) in raw v-units.
        others: as in :class:`RecordedLif`.
    """

    def __init__(
        self,
        *,
        size: int,
        du: int,
        leak: Ints,
        threshold: Ints,
        bias: Ints,
        bias_exponent: int,
        interval: int,
        offset: int,
        tape: TapeSpec | None,
        sample_bias: Path | None,
    ) -> None:
        super().__init__(
            size=size,
            du=du,
            dv=0,
            vth=0,
            bias=bias,
            bias_exponent=bias_exponent,
            interval=interval,
            offset=offset,
            tape=tape,
            sample_bias=sample_bias,
        )
        self.leak = Var(shape=(interval, size), init=np.asarray(leak, np.int32))
        self.threshold = Var(shape=(interval, size), init=np.asarray(threshold, np.int32))
