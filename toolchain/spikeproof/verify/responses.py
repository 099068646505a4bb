"""Run both networks on clean and perturbed images, one batch of images at a time.

A batch's clean runs are shared by all perturbations. The result is plain JSON and small: what
each network predicts, and per spiking layer the perturbation energy of every sample in both
networks and the cosine between the two perturbations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork
from spikeproof.verify.mppd import (
    Epsilons,
    chip_epsilons,
    chip_responses,
    direction,
    energy,
    float_epsilons,
    float_responses,
)

Json = dict[str, Any]
CLEAN = "clean"


def measure_batch(
    source: FloatNetwork,
    network: ChipNetwork,
    clean: NDArray[np.uint8],
    perturbed: dict[str, NDArray[np.uint8]],
) -> Json:
    """Measure one batch: clean images (N, C, H, W), and by name perturbed ones of the first.

    Returns {"clean": {"float": [class], "chip": [class]}, NAME: {"float", "chip", "layers":
    {LAYER: {"float": {"sample": [N], "step": [T]}, "chip": same, "direction": [N]}}}};
    "sample" is the mean energy over steps and neurons, "step" the sum over the batch,
    "direction" the cosine, NaN where there is none.
    """
    base_float, base_chip = float_responses(source, clean), chip_responses(network, clean)
    result: Json = {CLEAN: _predictions(base_float.predictions, base_chip.predictions)}
    for name, images in perturbed.items():
        count = len(images)
        if not count:
            continue
        seen_float, seen_chip = float_responses(source, images), chip_responses(network, images)
        in_float = float_epsilons(source, base_float.first(count), seen_float)
        in_chip = chip_epsilons(network, base_chip.first(count), seen_chip)
        result[name] = {
            **_predictions(seen_float.predictions, seen_chip.predictions),
            "layers": _layers(in_float, in_chip),
        }
    return result


def _predictions(in_float: NDArray[np.int64], in_chip: NDArray[np.int64]) -> Json:
    return {"float": in_float.tolist(), "chip": in_chip.tolist()}


def _layers(in_float: Epsilons, in_chip: Epsilons) -> Json:
    return {
        name: {
            "float": _summary(in_float[name]),
            "chip": _summary(in_chip[name]),
            "direction": direction(in_float[name], in_chip[name]).tolist(),
        }
        for name in in_chip
    }


def _summary(epsilon: NDArray[np.float64]) -> Json:
    found = energy(epsilon)
    return {"sample": found.mean(axis=1).tolist(), "step": found.sum(axis=0).tolist()}


def merge_batches(batches: list[Json]) -> Json:
    """Join the results of consecutive batches into one of the same form."""
    merged: Json = {}
    for batch in batches:
        for name, part in batch.items():
            if name not in merged:
                merged[name] = part
                continue
            merged[name] = _merge(merged[name], part)
    return merged


def _merge(first: Any, second: Any, key: str = "") -> Any:
    if isinstance(first, dict):
        return {k: _merge(first[k], second[k], k) for k in first}
    if key == "step":
        return [a + b for a, b in zip(first, second, strict=True)]
    return first + second
