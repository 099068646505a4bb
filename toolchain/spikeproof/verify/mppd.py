"""Membrane-potential perturbation dynamics: what a perturbed input does to each membrane.

For a clean and a perturbed run, epsilon is the reset-free filter of the difference of the input
currents: the membrane a neuron would have if it were fed only that difference and never fired.
Float: e[t] = leak e[t-1] + gain[t] (I'[t] - I[t]). Chip, in integers:
e[t] = trunc0(e[t-1] leak / 4096) + (drive'[t] - drive[t]), drive being what enters v each step.
Both are divided by the threshold of the step, so that they can be compared.
Source: docs/semantics.md; "Robust Stable Spiking Neural Networks", ICML 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import run_float
from spikeproof.ir.chip import ChipLayer, ChipNetwork
from spikeproof.ir.floats import FloatNetwork, Lif
from spikeproof.ir.shapes import arranged_neurons

F64 = NDArray[np.float64]
Epsilons = dict[str, F64]
"""epsilon / threshold of each layer, (N, T, *neurons)."""


@dataclass(frozen=True, eq=False)
class Drives:
    """What enters the neurons of each spiking layer, (N, T, *neurons), and the predictions."""

    layers: dict[str, NDArray[Any]]
    predictions: NDArray[np.int64]

    def of(self, rows: NDArray[np.int64]) -> Drives:
        """Keep those of some images only."""
        layers = {name: array[rows] for name, array in self.layers.items()}
        return Drives(layers, self.predictions[rows])


def float_epsilon(node: Lif, difference: F64) -> F64:
    """Filter current differences (N, T, *neurons); the result is in units of the threshold."""
    steps = difference.shape[1]
    gain = np.ones(steps) if node.gain is None else node.gain.astype(np.float64)
    result = np.empty_like(difference)
    state = np.zeros_like(difference[:, 0])
    for t in range(steps):
        state = node.leak * state + gain[t] * difference[:, t]
        result[:, t] = state / node.threshold
    return result


def chip_epsilon(layer: ChipLayer, difference: NDArray[np.int64]) -> F64:
    """Filter drive differences in integers (N, T, *neurons); in units of the step's threshold."""
    result = np.empty(difference.shape)
    state = np.zeros_like(difference[:, 0])
    for t in range(difference.shape[1]):
        state = fx.scale_toward_zero(state, layer.neuron.leak_at(t)) + difference[:, t]
        result[:, t] = state / np.maximum(layer.neuron.threshold_at(t), 1)
    return result


def float_drives(network: FloatNetwork, x: NDArray[np.uint8]) -> Drives:
    """Run images through a float network and keep the current of every Lif."""
    run = run_float(network, x, trace=True)
    drives = {name: run.traces[name].current for name in arranged_neurons(network)}
    return Drives(drives, run.predictions)


def chip_drives(network: ChipNetwork, x: NDArray[np.uint8]) -> Drives:
    """Run images through a chip network and keep what enters v of every spiking layer.

    Up to the bias, which cancels in differences, that is u; a host current bypasses u, but is
    constant, and the rest of v at the first step is nothing else.
    """
    run = FastEngine().run(network, x, trace=True)
    traces = run.traces or {}
    drives: dict[str, NDArray[Any]] = {}
    for layer in network.layers:
        if layer.neuron.spiking:
            trace = traces[layer.name]
            drives[layer.name] = trace.u
            if layer.host:
                drives[layer.name] = trace.u + (trace.v[:, :1] - trace.u[:, :1])
    return Drives(drives, run.predictions)


def float_epsilons(network: FloatNetwork, clean: Drives, perturbed: Drives) -> Epsilons:
    """Return the membrane perturbation of every Lif of a float network."""
    return {
        name: float_epsilon(node, perturbed.layers[name] - clean.layers[name])
        for name, node in arranged_neurons(network).items()
    }


def chip_epsilons(network: ChipNetwork, clean: Drives, perturbed: Drives) -> Epsilons:
    """Return the membrane perturbation of every spiking layer of a chip network."""
    found = {}
    for layer in network.layers:
        if layer.name in clean.layers:
            difference = perturbed.layers[layer.name].astype(np.int64) - clean.layers[layer.name]
            found[layer.name] = chip_epsilon(layer, difference)
    return found


def energy(epsilon: F64) -> F64:
    """Return the mean square over the neurons, (N, T)."""
    result: F64 = (epsilon * epsilon).reshape(*epsilon.shape[:2], -1).mean(axis=2)
    return result


def direction(first: F64, second: F64) -> F64:
    """Return per sample the cosine of two perturbations over steps and neurons, (N,).

    NaN where one of them is zero: it then has no direction.
    """
    left, right = (array.reshape(len(array), -1) for array in (first, second))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    result = np.full(len(left), np.nan)
    np.divide((left * right).sum(axis=1), norms, out=result, where=norms > 0)
    return result
