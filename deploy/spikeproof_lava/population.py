"""What every neuron process is given (no part of ``processes``, whose files Lava executes)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spikeproof.ir.chip import Ints
from spikeproof_lava.tape import TapeSpec


@dataclass(frozen=True, eq=False)
class Population:
    """What every neuron process is given.

    size: neurons. bias: (size,) mantissas; bias_exponent: 0..7. interval, offset: u
    and v are cleared at steps with step % interval == offset % interval. tape: where to record, or
    None. sample_bias: ``.npy`` file of mantissas (samples, size) that replace ``bias``, one row per
    sample (a current computed on the host), or None.
    """

    size: int
    bias: Ints
    bias_exponent: int
    interval: int
    offset: int
    tape: TapeSpec | None
    sample_bias: Path | None


@dataclass(frozen=True, eq=False)
class Program:
    """The numbers of a neuron program, for each neuron.

    leak: (interval, size) numerators over 4096, 0..16383; threshold: (interval, size) in v-units;
    du: (size,), 0..4095; initial: (size,), v before a sample; taken: (size,), what a spike takes
    off v, or None where it puts v to 0.
    """

    leak: Ints
    threshold: Ints
    du: Ints
    initial: Ints
    taken: Ints | None
