"""Split the error of the integers into what each layer adds and what adds up (V4)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikeproof.document.values import Figure, Number, Record, Text
from spikeproof.verify.stages import Membrane, StageRuns


class ErrorFigures(Record):
    """Error of one layer; membrane differences in units of the threshold."""

    flip_rate: Figure
    sqnr_db: Number
    """None where there is no error or no signal."""
    dv_p50: Figure
    dv_p99: Figure
    dv_max: Figure


class LayerError(Record):
    """One layer alone, and at the end of the chain."""

    name: Text
    local: ErrorFigures
    accumulated: ErrorFigures


def layer_errors(runs: StageRuns) -> list[LayerError]:
    """Return per layer the error on the float network's own spikes, and end to end."""
    return [
        LayerError(
            name=real.name,
            local=error_figures(real, local),
            accumulated=error_figures(real, whole),
        )
        for real, local, whole in zip(
            runs.whole["folded"], runs.local["folded"], runs.whole["chip"], strict=True
        )
    ]


def error_figures(real: Membrane, found: Membrane) -> ErrorFigures:
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
    return ErrorFigures(
        flip_rate=flip_rate,
        sqnr_db=_sqnr(real, found),
        dv_p50=float(middle),
        dv_p99=float(high),
        dv_max=float(error.max()),
    )


def _winner(layer: Membrane) -> Any:
    return layer.v[:, -1].reshape(len(layer.v), -1).argmax(axis=1)


def _sqnr(real: Membrane, found: Membrane) -> float | None:
    """Return 10 log10 of signal to error power; None if there is no error or no signal."""
    signal = float(np.square(real.v).sum())
    noise = float(np.square(found.v - real.v).sum())
    return 10 * math.log10(signal / noise) if signal > 0 and noise > 0 else None
