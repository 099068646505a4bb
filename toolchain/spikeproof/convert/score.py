"""Measure rounded candidates of one layer against the float layer, on the float layer's inputs.

Inputs stay uint8 until a chunk is unfolded; the unfolded chunk is shared by all candidates, so a
candidate costs one matrix product and T passes over its states. Single precision is enough to
rank candidates; integer sums stay exact in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spikeproof import fixedpoint as fx
from spikeproof.convert.gain import float_dynamics
from spikeproof.convert.quantise import V_UNITS, Candidate, FloatLayer, held_weight
from spikeproof.engines.floats import answer
from spikeproof.ir.floats import Lif, Readout
from spikeproof.ir.neurons import Neuron
from spikeproof.numerics.affine import Parallel, bias_map, columns, product

F32 = NDArray[np.float32]
Inputs = NDArray[np.uint8]
_CHUNK_VALUES = 1 << 22
_LOWEST_V = np.float32(-fx.STATE_MAX)


@dataclass(frozen=True, order=True)
class Score:
    """How far a candidate is from the float layer; smaller is better.

    rate: share of spikes that differ (readout: share of samples with another argmax).
    error: mean squared difference of v before reset (readout: of the logits), float units.
    """

    rate: float
    error: float


def score(layer: FloatLayer, inputs: Inputs, candidates: list[Candidate]) -> list[Score]:
    """Score candidates of one layer on inputs (N, T or 1, *shape), N >= 1."""
    totals = np.zeros((len(candidates), 2))
    weight = 0
    for chunk in _chunks(layer, inputs):
        measure = _readout_chunk if isinstance(layer.end, Readout) else _spiking_chunk
        totals += len(chunk) * np.array(measure(layer, chunk, candidates))
        weight += len(chunk)
    return [Score(float(rate), float(error)) for rate, error in totals / weight]


def _chunks(layer: FloatLayer, inputs: Inputs) -> list[Inputs]:
    """Split samples so that unfolded inputs and states stay small."""
    fan_in = layer.linear.weight[0].size
    neurons = int(np.prod(layer.shape))
    spatial = int(np.prod(layer.shape[1:]))
    per_sample = max(
        inputs.shape[1] * spatial * fan_in * getattr(layer.linear, "groups", 1),
        layer.timesteps * neurons,
    )
    size = max(1, _CHUNK_VALUES // per_sample)
    return [inputs[i : i + size] for i in range(0, len(inputs), size)]


def _unfold(layer: FloatLayer, chunk: Inputs, kind: type[Any]) -> NDArray[Any]:
    return columns(layer.linear, chunk.reshape(-1, *chunk.shape[2:]).astype(kind))


def _rows(layer: FloatLayer, values: NDArray[Any]) -> NDArray[Any]:
    """Lay out a per-neuron array like the rows of a product: (positions, out)."""
    full = bias_map(values, layer.shape)
    return np.ascontiguousarray(full.reshape(layer.shape[0], -1).T)


def _arrange(layer: FloatLayer, rows: NDArray[Any], chunk: Inputs) -> NDArray[Any]:
    """Shape product rows as (N, T or 1, positions, out)."""
    positions = int(np.prod(layer.shape[1:]))
    return rows.reshape(len(chunk), chunk.shape[1], positions, layer.shape[0])


def _float_current(layer: FloatLayer, chunk: Inputs, unfolded: NDArray[Any] | None = None) -> F32:
    cols = _unfold(layer, chunk, np.float32) if unfolded is None else unfolded
    rows = product(layer.linear, cols, layer.weight.astype(np.float32))
    current: F32 = _arrange(layer, rows, chunk) + _rows(layer, layer.bias).astype(np.float32)
    return current


def chip_current(
    candidate: Candidate, layer: FloatLayer, chunk: Inputs, unfolded: NDArray[Any]
) -> F32:
    """Return what a candidate adds to v per step, in v-units: (N, T or 1, positions, out)."""
    weight, neuron = held_weight(layer, candidate.layer), candidate.layer.neuron
    host, exponent = candidate.layer.host, 2.0**neuron.bias_exponent
    if host and layer.mixed:
        return _mixed_current(candidate, layer, chunk, unfolded, weight)
    if host:
        exact = unfolded.astype(np.float64)  # host sums need more than 24 bits
        total = product(layer.linear, exact, weight.astype(np.float64))
        whole = _arrange(layer, total, chunk) + _rows(layer, host.offset)
        mantissa = fx.round_half_up_shift(whole.astype(np.int64), host.shift)
        return (mantissa * exponent).astype(np.float32)
    rows = product(layer.linear, unfolded, weight.astype(np.float32))
    rows *= np.float32(V_UNITS)
    bias = _rows(layer, neuron.bias * exponent).astype(np.float32)
    arranged: F32 = _arrange(layer, rows, chunk)
    if bias.any():
        arranged += bias
    return arranged


def _mixed_current(
    candidate: Candidate,
    layer: FloatLayer,
    chunk: Inputs,
    unfolded: NDArray[Any],
    weight: NDArray[Any],
) -> F32:
    """Return the current of a layer whose pixels the host weighs, and whose spikes the chip."""
    built, linear = candidate.layer, layer.linear
    assert built.host is not None and isinstance(linear, Parallel)
    grey = np.repeat([layer.is_pixels(wire) for wire in layer.wires], linear.widths)
    on_host = product(linear, unfolded.astype(np.float64), weight * grey)
    whole = _arrange(layer, on_host, chunk) + _rows(layer, built.host.offset)
    mantissa = fx.round_half_up_shift(whole.astype(np.int64), built.host.shift)
    on_chip = product(linear, unfolded, (weight * ~grey).astype(np.float32))
    total = _arrange(layer, on_chip, chunk) * np.float32(V_UNITS)
    return np.asarray(total + mantissa * 2.0**built.neuron.bias_exponent, np.float32)


class _Numbers(NamedTuple):
    """A population's numbers as (positions, out) rows, or single ones that all neurons share."""

    leak: list[Any]
    threshold: list[Any]
    initial: Any
    reset: Any
    """What a spike takes off; None: everything."""

    def after(self, v: F32, fired: NDArray[np.bool_]) -> F32:
        """Return v after the reset."""
        kept: F32 = v * ~fired if self.reset is None else v - self.reset * fired
        return kept


def _float_numbers(layer: FloatLayer) -> _Numbers:
    if not isinstance(layer.end, Lif):
        raise TypeError("a readout has no spikes")
    dynamics = float_dynamics(layer.end, layer.timesteps)
    return _Numbers(
        [_shared(layer, row) for row in dynamics.leak],
        [_shared(layer, row) for row in dynamics.threshold],
        _shared(layer, dynamics.initial),
        None if layer.end.reset is None else _shared(layer, layer.end.reset),
    )


def _chip_numbers(layer: FloatLayer, neuron: Neuron) -> _Numbers:
    steps = range(layer.timesteps)
    return _Numbers(
        [_shared(layer, np.asarray(neuron.leak_at(t)) / fx.DECAY_ONE) for t in steps],
        [_shared(layer, neuron.threshold_at(t)) for t in steps],
        _shared(layer, neuron.initial),
        None if neuron.reset is None else _shared(layer, neuron.reset),
    )


def _shared(layer: FloatLayer, values: ArrayLike) -> Any:
    """Return one number, or a row like those of a product where neurons differ."""
    array = np.asarray(values)
    if array.size == 1:
        return np.float32(array.flat[0])
    return _rows(layer, np.broadcast_to(array, layer.shape)).astype(np.float32)


def _states(
    current: F32, numbers: _Numbers, layer: FloatLayer
) -> tuple[list[F32], list[NDArray[np.bool_]]]:
    """Run a population on w = v / gain; one array (N, positions, out) per step."""
    at_equality = layer.fires_at_equality
    states: list[F32] = []
    spikes: list[NDArray[np.bool_]] = []
    kept: F32 | None = None
    for t, (leak, threshold) in enumerate(zip(numbers.leak, numbers.threshold, strict=True)):
        arriving = current[:, min(t, current.shape[1] - 1)]
        v = arriving + numbers.initial * leak if kept is None else kept * leak + arriving
        fired = v >= threshold if at_equality else v > threshold
        states.append(v)
        spikes.append(fired)
        kept = numbers.after(v, fired)
    return states, spikes


def _spiking_chunk(
    layer: FloatLayer, chunk: Inputs, candidates: list[Candidate]
) -> list[tuple[float, float]]:
    unfolded = _unfold(layer, chunk, np.float32)
    current = _float_current(layer, chunk, unfolded)
    states, spikes = _states(current, _float_numbers(layer), layer)
    results = []
    for candidate in candidates:
        arriving = chip_current(candidate, layer, chunk, unfolded)
        numbers = _chip_numbers(layer, candidate.layer.neuron)
        results.append(_compare(candidate, numbers, arriving, states, spikes))
    return results


def _compare(
    candidate: Candidate,
    numbers: _Numbers,
    current: F32,
    states: list[F32],
    spikes: list[NDArray[np.bool_]],
) -> tuple[float, float]:
    """Run a candidate next to the float states and count what differs."""
    flips, error, kept = 0, 0.0, None
    for t, (state, spike) in enumerate(zip(states, spikes, strict=True)):
        arriving = current[:, min(t, current.shape[1] - 1)]
        if kept is None:
            v = arriving + numbers.initial * numbers.leak[t]
        else:
            kept *= numbers.leak[t]
            v = kept + arriving
        v = np.maximum(v, _LOWEST_V)
        fired = v > numbers.threshold[t]
        flips += int(np.count_nonzero(fired != spike))
        difference = v * np.float32(1 / candidate.units)
        difference -= state
        error += float(np.vdot(difference, difference))
        kept = numbers.after(v, fired)
    count = sum(s.size for s in spikes)
    return flips / count, error / count


def _readout_chunk(
    layer: FloatLayer, chunk: Inputs, candidates: list[Candidate]
) -> list[tuple[float, float]]:
    unfolded = _unfold(layer, chunk, np.float32)
    target = _logits(layer, _float_current(layer, chunk, unfolded))
    chosen = target.argmax(axis=1)
    results = []
    for candidate in candidates:
        current = chip_current(candidate, layer, chunk, unfolded)
        logits = _logits(layer, current) / candidate.units
        differs = float(np.mean(logits.argmax(axis=1) != chosen))
        results.append((differs, float(np.mean((logits - target) ** 2))))
    return results


def _logits(layer: FloatLayer, current: F32) -> NDArray[Any]:
    """Read the answer, (N, neurons), off the currents of a readout, as its rule says."""
    if not isinstance(layer.end, Readout):
        raise TypeError("a layer of spiking neurons has no logits")
    if layer.end.rule != "auto":
        current = np.broadcast_to(current, (len(current), layer.timesteps, *current.shape[2:]))
    return answer(layer.end, current).reshape(len(current), -1)
