"""Neuron populations: each answers for its own leak, threshold and limits at every step.

A new kind is a frozen dataclass that inherits from :class:`Neuron`, under its own name in
:mod:`spikeproof.ir.registry`. Engines, certificate, formats and report ask the methods below and
know no kind.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeproof import fixedpoint as fx
from spikeproof.ir.limits import (
    ACCUMULATOR_MAX,
    FILTERED_SUM_MAX,
    LEAK_MAX,
    Shape,
    broadcast_problems,
    integer_problems,
    range_problems,
)
from spikeproof.ir.synapses import Ints

NO_FILTER = fx.DECAY_ONE - 1
"""The du that leaves nothing of u from one step to the next."""
P = TypeVar("P", bound="Neuron")


class Neuron(ABC):
    """A population of integrate-and-fire neurons: docs/semantics.md, "Neuron".

    bias: 13-bit signed mantissas, broadcastable to the neurons' shape, added to v each step as
    ``bias << bias_exponent``. du: 12-bit decay of u, 4095 = no synaptic filter; one number, or an
    array that broadcasts to the neurons. reset: what a spike takes off v, in v-units, likewise;
    None puts v to 0. initial: v before the first step of a sample, likewise.
    """

    spiking: ClassVar[bool] = True
    stepwise: ClassVar[bool] = True
    """Whether leak or threshold may differ from step to step."""
    program: ClassVar[bool] = True
    """Whether a chip needs a neuron program for it (Loihi 2 microcode): registers do not say it."""
    title: ClassVar[str] = "neuron"
    """What tables call it."""
    v_limit: ClassVar[int] = fx.STATE_MAX
    """Largest magnitude v may reach without a change of what the population means."""
    bias: Ints
    bias_exponent: int
    du: Ints | int
    reset: Ints | None = None
    initial: Ints | int = 0

    @abstractmethod
    def leak_at(self, t: int) -> Ints | int:
        """Return what v keeps of itself at step t, a numerator over 4096.

        One number, or an array that broadcasts to the neurons.
        """

    @abstractmethod
    def threshold_at(self, t: int) -> Ints | int:
        """Return the threshold at step t in v-units: v fires strictly above. See ``leak_at``."""

    @property
    def u_keep(self) -> Ints | int:
        """Return what u keeps of itself from one step to the next, a numerator over 4096."""
        return NO_FILTER - self.du

    @property
    def filters(self) -> bool:
        """Tell whether u remembers anything of a step before."""
        return bool(np.any(np.asarray(self.u_keep) > 0))

    @property
    def uniform(self) -> bool:
        """Tell whether all neurons have the same numbers, begin at 0 and are reset to 0."""
        numbers = (self.leak_at(0), self.threshold_at(0), self.u_keep)
        return (
            self.reset is None
            and not np.any(self.initial)
            and all(np.size(number) == 1 for number in numbers)
        )

    def leaks(self, steps: int) -> NDArray[np.int64]:
        """Return the leak of each step, (T,), or (T, ...) where neurons differ."""
        return np.array([self.leak_at(t) for t in range(steps)], np.int64)

    def thresholds(self, steps: int) -> NDArray[np.int64]:
        """Return the threshold of each step in v-units, (T,), or (T, ...) where neurons differ."""
        return np.array([self.threshold_at(t) for t in range(steps)], np.int64)

    def after_spike(self, v: ArrayLike) -> NDArray[np.int64]:
        """Return what a v that fired becomes; it stays in range, v being above 0."""
        taken = v if self.reset is None else self.reset
        return np.asarray(v, np.int64) - np.asarray(taken, np.int64)

    def of_one(self: P, place: tuple[int, ...], shape: Shape) -> P:
        """Return neurons that all have the leak, threshold, filter, reset and start of one.

        Kinds whose numbers differ between neurons say it themselves.
        """
        return self

    def bias_units(self, host: ArrayLike = 0) -> NDArray[np.int64]:
        """Return what a step adds to v, with the mantissas a host adds to the biases."""
        mantissa = self.bias.astype(np.int64) + np.asarray(host, np.int64)
        return fx.shift_sum(mantissa, self.bias_exponent)

    @property
    def sum_limit(self) -> int:
        """Return the largest legal synaptic sum, exponent applied."""
        return FILTERED_SUM_MAX if self.filters else ACCUMULATOR_MAX

    def figures(self, steps: int) -> tuple[Any, Any]:
        """Return threshold and decay as tables show them, plain JSON values."""
        return self.thresholds(steps).tolist(), (fx.DECAY_ONE - self.leaks(steps)).tolist()

    def changed(self: P, **fields: Any) -> P:
        """Return a copy with other values in some fields."""
        return dataclasses.replace(self, **fields)  # type: ignore[type-var]

    def problems(self, timesteps: int, shape: Shape) -> list[str]:
        """List what the chip cannot hold."""
        limit = fx.BIAS_MANTISSA_MAX
        problems = integer_problems("bias mantissa", self.bias, -limit, limit)
        problems += range_problems("bias exponent", self.bias_exponent, 0, fx.BIAS_EXPONENT_MAX)
        problems += broadcast_problems("bias", self.bias.shape, shape)
        if isinstance(self.du, int):
            return problems + range_problems("du", self.du, 0, NO_FILTER)
        return problems + integer_problems("du", self.du, 0, NO_FILTER)

    def step_problems(self, timesteps: int) -> list[str]:
        """List what no target holds of the leak and the threshold over all steps, of any kind."""
        leaks = np.array([self.leak_at(t) for t in range(timesteps)])
        thresholds = np.array([self.threshold_at(t) for t in range(timesteps)])
        problems = integer_problems("leak over the steps", leaks, 0, LEAK_MAX)
        return problems + integer_problems("threshold over the steps", thresholds, 0, fx.STATE_MAX)


@dataclass(frozen=True, eq=False)
class LifNeuron(Neuron):
    """CUBA-LIF with one decay and threshold per population.

    threshold: 17-bit mantissa, compared as ``v > threshold << 6``; dv, du: 12-bit decays
    (dv 0..4096; du 0..4095).
    """

    title: ClassVar[str] = "LIF"
    stepwise: ClassVar[bool] = False
    program: ClassVar[bool] = False
    threshold: int
    dv: int
    bias: Ints
    bias_exponent: int = 0
    du: int = NO_FILTER

    def leak_at(self, t: int) -> int:
        """Return 4096 - dv."""
        return fx.DECAY_ONE - self.dv

    def threshold_at(self, t: int) -> int:
        """Return the mantissa << 6."""
        return int(fx.shift_sum(self.threshold, fx.CURRENT_SHIFT))

    def figures(self, steps: int) -> tuple[Any, Any]:
        """Return both registers."""
        return self.threshold, self.dv

    def problems(self, timesteps: int, shape: Shape) -> list[str]:
        """List what the chip cannot hold."""
        problems = super().problems(timesteps, shape)
        problems += range_problems("dv", self.dv, 0, fx.DECAY_ONE)
        return problems + range_problems("threshold", self.threshold, 0, fx.THRESHOLD_MAX)


@dataclass(frozen=True, eq=False)
class TableLifNeuron(Neuron):
    """LIF whose leak and threshold change with the step: a lowered DLIF gain.

    leak: (T,) numerators over 4096, 0..16383 (above 4096 the state grows);
    threshold: (T,) in raw v-units, compared as ``v > threshold[t]``. The index runs on the
    layer's own clock and restarts with each sample.
    """

    title: ClassVar[str] = "DLIF table"
    leak: Ints
    threshold: Ints
    bias: Ints
    bias_exponent: int = 0
    du: int = NO_FILTER

    def leak_at(self, t: int) -> int:
        """Return the entry of the table."""
        return int(self.leak[t])

    def threshold_at(self, t: int) -> int:
        """Return the entry of the table."""
        return int(self.threshold[t])

    def problems(self, timesteps: int, shape: Shape) -> list[str]:
        """List what the chip cannot hold."""
        problems = super().problems(timesteps, shape)
        for key, table, high in (
            ("leak", self.leak, LEAK_MAX),
            ("threshold", self.threshold, fx.STATE_MAX),
        ):
            problems += integer_problems(f"{key} table", table, 0, high)
            if table.shape != (timesteps,):
                problems.append(f"{key} table has shape {table.shape}, expected ({timesteps},)")
        return problems


@dataclass(frozen=True, eq=False)
class GeneralLifNeuron(Neuron):
    """LIF whose numbers belong to each neuron and step, with any reset and initial state.

    leak: numerators over 4096, 0..16383; threshold: in v-units, 0..2^23 - 1, compared as
    ``v > threshold``. Both are (T, ...) or (1, ...), and what follows the first axis broadcasts to
    the neurons: (1, C, 1, 1) is one number per channel at all steps. du: 0..4095; reset: None or
    0..2^23 - 1, 0 for a neuron that no spike changes; initial: within ±(2^23 - 1). Each of them
    broadcasts to the neurons.
    """

    title: ClassVar[str] = "general LIF"
    leak: Ints
    threshold: Ints
    bias: Ints
    du: Ints
    initial: Ints
    reset: Ints | None = None
    bias_exponent: int = 0

    def leak_at(self, t: int) -> Ints:
        """Return the row of the table; one row is that of every step."""
        row: Ints = self.leak[t if len(self.leak) > 1 else 0]
        return row

    def threshold_at(self, t: int) -> Ints:
        """Return the row of the table; one row is that of every step."""
        row: Ints = self.threshold[t if len(self.threshold) > 1 else 0]
        return row

    def of_one(self, place: tuple[int, ...], shape: Shape) -> GeneralLifNeuron:
        """Return neurons that all have the numbers of the one at ``place``."""

        def one(values: Ints) -> Ints:
            return np.asarray(np.broadcast_to(values, shape)[place]).reshape(1)

        def rows(table: Ints) -> Ints:
            return np.stack([one(row) for row in table])

        return self.changed(
            leak=rows(self.leak),
            threshold=rows(self.threshold),
            du=one(self.du),
            initial=one(self.initial),
            reset=None if self.reset is None else one(self.reset),
        )

    def figures(self, steps: int) -> tuple[Any, Any]:
        """Return the smallest and the largest of both over steps and neurons."""
        decay = fx.DECAY_ONE - self.leak.astype(np.int64)
        return _span(self.threshold), _span(decay)

    def problems(self, timesteps: int, shape: Shape) -> list[str]:
        """List what the chip cannot hold."""
        problems = super().problems(timesteps, shape)
        for key, table, high in (
            ("leak", self.leak, LEAK_MAX),
            ("threshold", self.threshold, fx.STATE_MAX),
        ):
            problems += integer_problems(key, table, 0, high)
            if not table.ndim or len(table) not in (1, timesteps):
                problems.append(f"{key} has shape {table.shape}, expected 1 or {timesteps} rows")
            else:
                problems += broadcast_problems(f"a row of {key}", table.shape[1:], shape)
        for key, values, low in (
            ("du", self.du, 0),
            ("initial", self.initial, -fx.STATE_MAX),
            ("reset", self.reset, 0),
        ):
            if values is not None:
                problems += broadcast_problems(key, values.shape, shape)
                if key != "du":  # whose range is every neuron's
                    problems += integer_problems(key, values, low, fx.STATE_MAX)
        return problems


def _span(values: NDArray[Any]) -> Any:
    low, high = int(values.min()), int(values.max())
    return low if low == high else [low, high]


@dataclass(frozen=True, eq=False)
class ReadoutNeuron(Neuron):
    """Non-spiking integrator: v accumulates without decay; logits are v at the last step.

    Targets realise it as a neuron with the highest threshold; below it, it cannot fire.
    """

    title: ClassVar[str] = "readout"
    spiking: ClassVar[bool] = False
    stepwise: ClassVar[bool] = False
    program: ClassVar[bool] = False
    v_limit: ClassVar[int] = fx.SUM_MAX << fx.CURRENT_SHIFT
    du = NO_FILTER  # no field: u has no memory
    bias: Ints
    bias_exponent: int = 0

    def leak_at(self, t: int) -> int:
        """Return 4096: nothing leaks."""
        return fx.DECAY_ONE

    def threshold_at(self, t: int) -> int:
        """Return the largest v, which no v exceeds."""
        return fx.STATE_MAX

    def figures(self, steps: int) -> tuple[Any, Any]:
        """Return None for both: there is neither."""
        return None, None
