# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-call,untyped-decorator"
"""Fixed-point process models of our processes.

What is Lava's and what is ours: :class:`RecordedLifModel` runs the arithmetic of Lava's
``PyLifResetModelBitAcc`` as it is. It only looks at u, v and the spikes at the moment Lava is
about to reset the voltage, and may write a new bias before a step (which Lava rescales every
step by itself). :class:`ProgramLifModel` additionally sets Lava's own decays and threshold before
a step (the chip has such programs in microcode, Lava has no process for them). So a comparison
with either is a comparison with Lava: this file does not import our arithmetic and computes no
state, but for the subtraction of a soft reset and the state a sample begins with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import PyLifResetModelBitAcc
from numpy.typing import NDArray

from spikeproof_lava.processes.process import DelayLine, FrameSource, ProgramLif, RecordedLif
from spikeproof_lava.tape import Tape


@implements(proc=FrameSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FrameSourceModel(PyLoihiProcessModel):
    """Send one row per step; zeros after the last row, while the layers drain."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=8)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._frames = np.load(proc_params["frames"], mmap_mode="r")
        self._hold = int(proc_params["hold"])

    def run_spk(self) -> None:
        """Send this step's payloads."""
        row = (self.time_step - 1) // self._hold
        if row < len(self._frames):
            self.s_out.send(self._frames[row].astype(np.int32))
        else:
            self.s_out.send(np.zeros(self._frames.shape[1], np.int32))


@implements(proc=DelayLine, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class DelayLineModel(PyLoihiProcessModel):
    """Receive, then send what came ``delay`` steps ago, or zeros while the gate is closed.

    With delay 0 that is what has just come. No cycle waits for itself: the synapse process behind
    sends the sums of the step before, and receives only then.
    """

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        names = ("delay", "lag", "interval", "start")
        self._delay, self._lag, self._interval, self._start = (int(proc_params[n]) for n in names)
        self._held: NDArray[np.int32] | None = None

    def run_spk(self) -> None:
        """Send what the target, one step later, gets in a step of its own clock."""
        arrived = self.s_in.recv()
        if self._held is None:
            self._held = np.zeros((self._delay + 1, *arrived.shape), np.int32)
        slots = len(self._held)
        self._held[self.time_step % slots] = arrived
        leaving = self._held[(self.time_step + 1) % slots]
        opened = (self.time_step - self._start) % self._interval >= self._lag
        self.s_out.send(leaving if opened else np.zeros_like(leaving))


class SampleBias:
    """The bias mantissas of the sample a layer is in, from a file with one row per sample."""

    def __init__(self, proc_params: Any, interval: int) -> None:
        """Open the file, if the process has one."""
        path = proc_params["sample_bias"]
        self._rows = None if path is None else np.load(path, mmap_mode="r")
        self._first, self._interval = int(proc_params["first_step"]), interval

    def write_to(self, bias: NDArray[Any], time_step: int) -> None:
        """Put the row of the current sample into ``bias`` (nothing without a file)."""
        if self._rows is None:
            return
        sample = (time_step - self._first) // self._interval
        bias[:] = self._rows[sample] if 0 <= sample < len(self._rows) else 0


class RecordedLifModel(PyLifResetModelBitAcc):
    """Lava's bit-accurate LIFReset, observed. No arithmetic of ours."""

    implements_process: type[Any] = RecordedLif

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        spec = proc_params["tape"]
        self._tape = None if spec is None else Tape(spec)
        self._sample_bias = SampleBias(proc_params, int(proc_params["reset_interval"]))

    def run_spk(self) -> None:
        """Choose the sample's bias, then run Lava's step."""
        self._sample_bias.write_to(self.bias_mant, self.time_step)
        super().run_spk()

    def reset_voltage(self, spike_vector: NDArray[np.bool_]) -> None:
        """Record the states Lava has just computed, then let Lava reset."""
        if self._tape is not None:
            self._tape.record(self.time_step, self.u, self.v, spike_vector)
        super().reset_voltage(spike_vector)


class ProgramLifModel(RecordedLifModel):
    """Lava's LIFReset whose decays and threshold are chosen anew before each step.

    dv = 4096 - leak is negative where a state grows: Lava multiplies v by 4096 - dv in 64 bits,
    and |v| < 2^23 times at most 16383/4096 still fits the 32 bits it continues with.
    """

    implements_process = ProgramLif

    leak: NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=14)
    threshold: NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)
    filter: NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=12)
    initial: NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)
    taken: NDArray[np.int32] = LavaPyType(np.ndarray, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._soft = bool(proc_params["soft"])
        self._index = 0

    def run_spk(self) -> None:
        """Take this step's entries (the index restarts with each sample), then run Lava's step."""
        self._index = (self.time_step - self.reset_offset) % self.reset_interval
        self.du = self.filter
        self.dv = self.decay_unity - self.leak[self._index]
        self.effective_vth = self.threshold[self._index]
        self.isthrscaled = True  # a table is in v-units: keep Lava from shifting vth over it
        super().run_spk()

    def subthr_dynamics(self, activation_in: NDArray[Any]) -> None:
        """Begin a sample, where Lava has just put v to 0, with the initial state."""
        if self._index == 0:
            self.v[:] = self.initial
        super().subthr_dynamics(activation_in)

    def reset_voltage(self, spike_vector: NDArray[np.bool_]) -> None:
        """Take the amount off what fired; Lava itself knows only the reset to 0."""
        left = self.v - self.taken
        super().reset_voltage(spike_vector)
        if self._soft:
            self.v[spike_vector] = left[spike_vector]
