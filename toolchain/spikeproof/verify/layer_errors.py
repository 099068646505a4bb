"""Split the error of the integers into what each layer adds and what adds up (V4)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikeproof.verify.stages import Membrane, StageRuns

Json = dict[str, Any]


def layer_errors(runs: StageRuns) -> list[Json]:
    """Return per layer the error on the float network's own spikes, and end to end."""
    return [
        {
            "name": real.name,
            "local": error_figures(real, local),
            "accumulated": error_figures(real, whole),
        }
        for real, local, whole in zip(runs.folded, runs.local_folded, runs.chip, strict=True)
    ]


def error_figures(real: Membrane, found: Membrane) -> Json:
    """Compare one layer: flip rate, SQNR of v in dB, quantiles of |dv|.

    dv is in units of the threshold; for a readout in units of the root mean square of its final
    membrane, and its flip rate is the share of samples whose largest output changes.
    """
    if real.s is not None and found.s is not None:
        flip_rate, unit = float((real.s != found.s).mean()), 1.0
    else:
        flip_rate = float((_winner(real) != _winner(found)).mean())
        unit = float(np.sqrt(np.mean(np.square(real.v[:, -1])))) or 1.0
    error = np.abs(found.v - real.v).ravel() / unit
    middle, high = np.quantile(error, [0.5, 0.99], method="inverted_cdf")
    return {
        "flip_rate": flip_rate,
        "sqnr_db": _sqnr(real, found),
        "dv_p50": float(middle),
        "dv_p99": float(high),
        "dv_max": float(error.max()),
    }


def _winner(layer: Membrane) -> Any:
    return layer.v[:, -1].reshape(len(layer.v), -1).argmax(axis=1)


def _sqnr(real: Membrane, found: Membrane) -> float | None:
    """Return 10 log10 of signal to error power; None if there is no error or no signal."""
    signal = float(np.square(real.v).sum())
    noise = float(np.square(found.v - real.v).sum())
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None


def widest_gaps(real: list[Membrane], alone: list[Membrane]) -> dict[str, Json]:
    """Tell for each layer where its integers, given the same spikes, are furthest from the floats.

    Returns per layer sample, step, neuron, and both membranes in chip v-units.
    """
    found = {}
    for left, right in zip(real, alone, strict=True):
        lsb = left.lsb.reshape(-1, *(1,) * (left.v.ndim - 2))
        gap = np.abs(left.v - right.v) * lsb
        place = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
        sample, step, *neuron = place
        unit = float(left.lsb[step])
        found[left.name] = {
            "sample": sample,
            "step": step,
            "neuron": neuron,
            "values": {"from": float(left.v[place]) * unit, "to": float(right.v[place]) * unit},
            "threshold": None if left.s is None else unit,
        }
    return found
