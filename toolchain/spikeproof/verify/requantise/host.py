"""Compare the numbers by which the host computes a current of the pixels."""

from __future__ import annotations

import math

import numpy as np

from spikeproof.convert.options import ConvertOptions
from spikeproof.ir import chip
from spikeproof.verify.requantise.biases import bias_exponent
from spikeproof.verify.requantise.exact import Exact
from spikeproof.verify.requantise.findings import ROUNDOFF, Findings


def compare_host(
    layer: Exact,
    built: chip.ChipLayer,
    current: chip.HostCurrent,
    scale: float,
    options: ConvertOptions,
    found: Findings,
) -> None:
    """Compare 16-bit host weights, their shift and the offset."""
    found.rounding, found.clipped_share = "nearest", 0.0
    exponent, shift = built.neuron.bias_exponent, current.shift
    only = bias_exponent(options)
    if only is not None:
        found.equal("bias exponent", exponent, only)
    found.equal("sign mode", built.synapse.sign == "mixed", True)
    found.equal("bias beside a host current", built.neuron.bias, 0)
    units = 64 * scale
    largest = float(np.abs(layer.weight).max(initial=0.0)) * units
    # The finest weights that fit 16 bits; a layer without any gets 8 bits of fraction.
    finer = math.log2(32767 / largest) if largest else 8.0
    least, most = (min(max(math.floor(finer + e) + exponent, 0), 31) for e in (-1e-9, 1e-9))
    found.compare("host shift", shift, least, most)
    per_unit = units * 2.0 ** (shift - exponent)
    exact = layer.weight * per_unit
    weight = built.synapse.weight.astype(np.float64)
    found.near("host weight", exact, weight, 0.5)
    offset = layer.bias * per_unit
    if only is not None and options.search and not layer.above:
        # The profile may lift every current by one of these shares of a mantissa.
        lifts = offset + np.array([0.0, 0.125, 0.25]).reshape(-1, *(1,) * offset.ndim) * 2.0**shift
        offset = min(lifts, key=lambda lifted: float(np.abs(current.offset - lifted).max()))
    slack = ROUNDOFF * np.maximum(1.0, np.abs(offset))
    if not layer.above:
        found.compare(
            "host offset",
            current.offset,
            offset - 0.5 - slack,
            offset + 0.5 + slack,
            expected=offset,
        )
        return
    # Every image's mantissa must be strictly above its exact current: white pixels lose most.
    lost = np.maximum(exact - weight, 0).reshape(len(weight), -1).sum(axis=1) * 255
    lost = lost.reshape(-1, *(1,) * (offset.ndim - 1))
    least = offset + lost + (2.0 ** (shift - 1) if shift else 1.0)
    found.compare(
        "host offset", current.offset, least - 1e-6 - slack, least + 2 + slack, expected=least
    )
