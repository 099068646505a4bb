"""Compare a layer's decays, thresholds, first states and resets with the checkpoint's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir import chip
from spikeproof.ir.floats import Lif, Readout
from spikeproof.ir.shapes import Shape
from spikeproof.verify.requantise.exact import F64, Exact
from spikeproof.verify.requantise.findings import ROUNDOFF, Findings


def compare_neuron(layer: Exact, neuron: chip.Neuron, scale: float, found: Findings) -> None:
    """Compare decays and thresholds."""
    end = layer.end
    if isinstance(end, Readout) or not neuron.spiking:
        return
    found.equal("du", neuron.du, 4095)
    if isinstance(neuron, chip.GeneralLifNeuron):
        _general(layer, end, neuron, 64 * scale, found)
        return
    if isinstance(neuron, chip.LifNeuron):
        # The decay register ends at 4095, so a leak is at least 1/4096.
        leak = max(1.0, 4096 * end.leak)
        found.near("dv", 4096 - leak, neuron.dv, 0.5)
        found.near("threshold", scale * end.threshold, neuron.threshold, 0.0)
        return
    gain = np.asarray(end.gain, np.float64)
    leaks = np.concatenate([[end.leak], end.leak * gain[:-1] / gain[1:]])
    found.near("leak table", 4096 * leaks, neuron.leaks(layer.timesteps), 0.5)
    # Rounded down: for whole v, v > x and v > floor(x) are the same.
    thresholds = 64 * scale * end.threshold / gain
    slack = ROUNDOFF * thresholds
    found.compare(
        "threshold table",
        neuron.thresholds(layer.timesteps),
        thresholds - 1 - slack,
        thresholds + slack,
        expected=thresholds,
    )


def _general(
    layer: Exact, end: Lif, neuron: chip.GeneralLifNeuron, units: float, found: Findings
) -> None:
    """Compare the numbers of neurons that are not all alike, or not reset to 0."""
    shape, steps = layer.shape, layer.timesteps
    exact = general_numbers(end, units, steps)
    threshold = _by_neuron(exact.pop("threshold"), steps, shape)
    slack = ROUNDOFF * threshold
    found.compare(
        "threshold",
        _by_neuron(neuron.threshold, steps, shape),
        threshold - 1 - slack,
        threshold + slack,
        expected=threshold,
    )
    leaks = _by_neuron(_leaks(end, steps), steps, shape)
    found.near("leak", 4096 * leaks, _by_neuron(neuron.leak, steps, shape), 0.5)
    if found.equal("a reset by subtraction", neuron.reset is not None, end.reset is not None):
        return
    for key, values in exact.items():
        held = np.broadcast_to(np.asarray(getattr(neuron, key)), shape)
        found.near(key, np.broadcast_to(values, shape), held, 0.5)


def _by_neuron(table: Any, steps: int, shape: Shape) -> NDArray[Any]:
    """Return a table of one row, or one for each step, as (T, *neurons)."""
    return np.stack([np.broadcast_to(table[t % len(table)], shape) for t in range(steps)])


def general_numbers(end: Lif, units: float, timesteps: int) -> dict[str, F64]:
    """Return threshold, initial state and reset in v-units, exact, thresholds by step."""
    gain = np.ones((timesteps, 1)) if end.gain is None else np.asarray(end.gain, np.float64)
    rows = [units * np.atleast_1d(end.threshold / row) for row in gain]
    numbers = {
        "threshold": np.array(rows),
        "initial": units * np.atleast_1d(end.initial / gain[0]),
    }
    if end.reset is not None:
        numbers["reset"] = units * np.atleast_1d(np.asarray(end.reset, np.float64))
    return numbers


def _leaks(end: Lif, timesteps: int) -> F64:
    """Return what w = v / a[t] keeps of itself, by step; the first acts on the initial state."""
    leak = np.atleast_1d(np.asarray(end.leak, np.float64))
    if end.gain is None:
        return np.stack([leak] * timesteps)
    gain = np.asarray(end.gain, np.float64)
    later = [leak * gain[t - 1] / gain[t] for t in range(1, timesteps)]
    return np.array(np.broadcast_arrays(leak, *later))
