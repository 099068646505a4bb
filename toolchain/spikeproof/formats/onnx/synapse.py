"""Synaptic sums in ONNX: exact by a bound that is computed from the weights, never assumed.

Sums do not depend on the neurons' state, so they stand outside the time loop: one operator makes
them for all steps at once, in float32 MatMul or Conv. Integers are exact in float32 as long as no
partial sum, in whatever order, can leave +-2^24. The largest row of |weight| times the largest
payload bounds them all. Weights that exceed it are cut into digits that do not, and the digits'
sums are put together in 64-bit integers.

MatMulInteger would be the natural operator and is not used: runtimes for CPUs without VNNI may add
pairs of 8-bit products in 16 bits, and ONNX Runtime 1.23.2, the last one for Python 3.10, returns
wrong sums for some shapes on CPUs with tile registers (AMX).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.formats.onnx.build import GraphBuilder
from spikeproof.ir import chip

FLOAT32_EXACT = 1 << 24
"""Up to this magnitude float32 holds every integer."""

_DIGITS = (8, 7, 6, 5, 4, 3, 2, 1)


@dataclass(frozen=True)
class Arriving:
    """What reaches a layer's neurons: names of values, int32, shaped (time, batch, *neurons).

    current: the synaptic sum << 6, None where nothing enters u. bias: what is added to v, None
    where it is zero. constant: the values hold for every step and have no time axis (the bias
    never has). worst: bound on the magnitude of the current.
    """

    current: str | None
    bias: str | None
    constant: bool
    worst: int


def float_parts(weight: NDArray[Any], payload: int) -> list[tuple[int, NDArray[np.int64]]]:
    """Cut weights into (shift, digits) so that each digit's sums are exact in float32.

    weight = sum of digits << shift, lowest first. Empty if no cut suffices (more than 2^24
    inputs times payload).
    """
    whole = weight.astype(np.int64)
    if _peak(whole, payload) < FLOAT32_EXACT:
        return [(0, whole)]
    for bits in _DIGITS:
        parts, rest, shift = [], whole, 0
        while int(rest.min()) < -1 or int(rest.max()) > 0:
            high = fx.shift_sum(rest, -bits)
            parts.append((shift, rest - fx.shift_sum(high, bits)))
            rest, shift = high, shift + bits
        if rest.any():
            parts.append((shift, rest))
        if all(_peak(part, payload) < FLOAT32_EXACT for _, part in parts):
            return parts
    return []


def _weights(synapse: chip.Synapse) -> NDArray[Any]:
    """Return what a model holds: kernels, or else a matrix."""
    convolves = isinstance(synapse, chip.ConvSynapse)
    return np.asarray(synapse.weight if convolves else synapse.matrix())


def stored_bytes(synapse: chip.Synapse, payload: int) -> int:
    """Return how many bytes a synapse's weights take in a model; 0 if it has no exact form."""
    return 4 * _weights(synapse).size * len(float_parts(_weights(synapse), payload))


def _peak(weight: NDArray[np.int64], payload: int) -> int:
    return int(np.abs(weight).reshape(len(weight), -1).sum(axis=1).max()) * payload


def add_current(
    g: GraphBuilder, label: str, synapse: chip.Synapse, source: str, payload: int
) -> str:
    """Add the nodes from the payloads to the current, the synaptic sum << 6.

    ``source`` is uint8 or bool, (samples, *inputs) for a convolution and (..., inputs) for a
    dense layer; the result, int32, keeps its leading axes. ``label`` begins all names.
    """
    floats = g.cast(source, "float32", f"{label}/input")
    return _float_current(g, label, synapse, floats, payload)


def add_host_bias(
    g: GraphBuilder, label: str, one: chip.Connection, source: str, payload: int, exponent: int
) -> str:
    """Add the nodes from pixels to what a host writes as bias, << its exponent; as above."""
    host: Any = one.host
    floats = g.cast(source, "float32", f"{label}/input")
    total = _wide_sum(g, label, one.synapse, floats, payload)
    half = 1 << (host.shift - 1) if host.shift else 0
    offset = g.constant(f"{label}/offset", host.offset.astype(np.int64) + half, "int64")
    total = g.op("Add", [total, offset], f"{label}/with_offset", doc="offset + half a unit")
    mantissa = _floor_shift(g, total, host.shift, f"{label}/mantissa")
    unit = g.number(1 << exponent, "int64")
    shifted = g.op("Mul", [mantissa, unit], f"{label}/bias_units", doc="<< the bias exponent")
    return g.cast(shifted, "int32", f"{label}/bias_int32")


def _float_current(
    g: GraphBuilder, name: str, synapse: chip.Synapse, floats: str, payload: int
) -> str:
    unit = fx.CURRENT_UNIT
    if len(float_parts(_weights(synapse), payload)) > 1:
        total = _wide_sum(g, name, synapse, floats, payload)
        if synapse.exponent < 0:
            total = _floor_shift(g, total, -synapse.exponent, f"{name}/shifted")
        else:
            unit = int(fx.shift_sum(unit, synapse.exponent))
        wide = g.op("Mul", [total, g.number(unit, "int64")], f"{name}/units")
        return g.cast(wide, "int32", f"{name}/current")
    # A power of two in the weights changes no mantissa, so the shift costs nothing.
    if synapse.exponent >= 0:
        weight = _weights(synapse) * float(fx.shift_sum(unit, synapse.exponent))
        told = "weights carry << (6 + weight exponent)"
    else:
        weight = _weights(synapse) / float(fx.shift_sum(1, -synapse.exponent))
        told = "weights carry the negative weight exponent"
    sums = _product(g, synapse, floats, weight, f"{name}/sum", told, None)
    if synapse.exponent < 0:
        floor = g.op("Floor", [sums], f"{name}/floor", doc="a right shift of the sum floors")
        sums = g.op("Mul", [floor, g.number(unit, "float32")], f"{name}/units")
    return g.cast(sums, "int32", f"{name}/current", doc="exact: the values are integers")


def _wide_sum(g: GraphBuilder, name: str, synapse: chip.Synapse, floats: str, payload: int) -> str:
    """Sum in 64 bits: one exact float product per digit of the weights."""
    total = ""
    for shift, digits in float_parts(_weights(synapse), payload):
        label = f"{name}/sum_{shift}"
        told = f"weight digits at bit {shift}"
        product = _product(g, synapse, floats, digits, label, told, (payload, shift))
        part = g.cast(product, "int64", f"{label}_int64")
        if shift:
            unit = g.number(int(fx.shift_sum(1, shift)), "int64")
            part = g.op("Mul", [part, unit], f"{label}_units")
        total = g.op("Add", [total, part], f"{label}_total") if total else part
    return total


def _floor_shift(g: GraphBuilder, value: str, shift: int, name: str) -> str:
    """Shift int64 right with a floor: Mod has the divisor's sign, so the division is exact."""
    if shift == 0:
        return value
    divisor = g.number(1 << shift, "int64")
    low = g.op("Mod", [value, divisor], f"{name}_low")
    high = g.op("Sub", [value, low], f"{name}_high")
    return g.op("Div", [high, divisor], name, doc=f"floor(sum / 2^{shift})")


def _product(
    g: GraphBuilder,
    synapse: chip.Synapse,
    floats: str,
    weight: NDArray[Any],
    name: str,
    doc: str,
    form: Hashable,
) -> str:
    """Multiply in float32 (exact, see above); ``form`` tells a synapse's weights apart."""
    convolves = isinstance(synapse, chip.ConvSynapse)
    # Connections that share a synapse share what is stored, if they need it in the same form.
    key = (id(synapse), form)
    stored = g.shared(key, f"{name}_weight", weight if convolves else weight.T, "float32")
    if not isinstance(synapse, chip.ConvSynapse):
        return g.op("MatMul", [floats, stored], name, doc=doc)
    return g.op(
        "Conv",
        [floats, stored],
        name,
        doc=doc,
        kernel_shape=weight.shape[2:],
        strides=synapse.stride,
        dilations=synapse.dilation,
        pads=[*synapse.padding, *synapse.padding],
        group=synapse.groups,
    )
