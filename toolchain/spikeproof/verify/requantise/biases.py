"""Compare a layer's biases with the checkpoint's."""

from __future__ import annotations

import numpy as np

from spikeproof.convert.options import ConvertOptions
from spikeproof.ir import chip
from spikeproof.verify.requantise.exact import F64
from spikeproof.verify.requantise.findings import ROUNDOFF, Findings


def bias_exponent(options: ConvertOptions) -> int | None:
    """Return the only exponent the profile allows a bias; None: the smallest that holds them.

    For hardware a bias counts whole units of weight times spike, 64 v-units.
    """
    return 6 if options.profile == "loihi" else None


def compare_bias(
    bias: F64,
    neuron: chip.Neuron,
    above: bool,
    only: int | None,
    found: Findings,
    uncertain: float = 0.0,
) -> int:
    """Compare mantissas << exponent with the exact bias; ``uncertain`` in weight units."""
    exact, unit = 64 * bias, 2.0**neuron.bias_exponent
    roundoff = ROUNDOFF * np.maximum(unit, np.abs(exact))
    slack = 64 * uncertain + roundoff
    least, most = exact - unit / 2, exact + unit / 2
    if above:
        least, most = exact, exact + unit
        if not uncertain:  # strictly above: a whole number of units becomes the next one
            nearest = unit * np.rint(exact / unit)
            least = np.where(np.abs(exact - nearest) <= roundoff, nearest + unit, exact)
    wrong = found.compare("bias", neuron.bias * unit, least - slack, most + slack, expected=exact)
    largest = float(np.abs(exact).max(initial=0.0)) + 64 * uncertain
    return wrong + _exponent(largest, neuron, only, found)


def _exponent(largest: float, neuron: chip.Neuron, only: int | None, found: Findings) -> int:
    """Require the smallest exponent whose 13-bit mantissas hold the largest bias, or the given."""
    if only is not None:
        return found.equal("bias exponent", neuron.bias_exponent, only)
    smallest = 0
    while smallest < 7 and largest / 2.0**smallest > 4094:
        smallest += 1
    return found.compare("bias exponent", neuron.bias_exponent, 0, smallest, expected=smallest)


def compare_likely_bias(
    bias: F64, taken: tuple[F64, F64], neuron: chip.Neuron, only: int | None, found: Findings
) -> None:
    """Compare biases that took up what compensated rounding left, on images not calibrated with.

    ``taken``: :func:`mean_error` of the weights in chip units, and how far it may be off.
    """
    mean, reach = (64 * x.reshape(-1, *(1,) * (bias.ndim - 1)) for x in taken)
    unit = 2.0**neuron.bias_exponent
    held = neuron.bias.astype(np.float64) * unit
    exact = 64 * bias + mean
    found.compare("bias", held, exact - reach - unit, exact + reach + unit, expected=exact)
    _exponent(float(np.abs(held).max(initial=0.0)) + unit, neuron, only, found)
