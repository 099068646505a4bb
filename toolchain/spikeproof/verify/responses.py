"""Run both networks on clean and perturbed images, one batch of images at a time.

A batch's clean runs are shared by all perturbations. The result is small: what each network
predicts, and per spiking layer the perturbation energy of every sample in both networks and the
cosine between the two perturbations.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spikeproof.document.values import Record
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork
from spikeproof.verify.mppd import (
    Epsilons,
    chip_drives,
    chip_epsilons,
    direction,
    energy,
    float_drives,
    float_epsilons,
)

CLEAN = "clean"


class Energies(Record):
    """Perturbation energy: of each sample the mean of steps and neurons, of each step the sum."""

    sample: list[float]
    step: list[float]


class LayerResponse(Record):
    """How one layer of both networks reacts to a perturbation."""

    trained: Energies = Field(validation_alias="float", serialization_alias="float")
    chip: Energies
    direction: list[float | None]
    """Of each sample the cosine of the two perturbations; None (or NaN): there is none."""


class Responded(Record):
    """Which classes both networks give, and how their layers react; clean images have no layers."""

    trained: list[int] = Field(validation_alias="float", serialization_alias="float")
    chip: list[int]
    layers: dict[str, LayerResponse] = Field(default_factory=dict)

    @property
    def compared(self) -> int:
        """Count the images whose perturbation is compared in every layer."""
        return min((len(layer.direction) for layer in self.layers.values()), default=0)

    def right(self, truth: NDArray[Any]) -> dict[str, NDArray[np.bool_]]:
        """Tell of the first images, as many as ``truth`` has, which each network gets right."""
        return {
            name: np.asarray(said[: len(truth)]) == truth
            for name, said in (("float", self.trained), ("chip", self.chip))
        }


Responses = dict[str, Responded]
"""By name of the perturbation, and CLEAN."""


def measure_batch(
    source: FloatNetwork,
    network: ChipNetwork,
    clean: NDArray[np.uint8],
    perturbed: dict[str, NDArray[np.uint8]],
) -> Responses:
    """Measure one batch: clean images (N, C, H, W), and by name perturbed ones of the first."""
    base_float, base_chip = float_drives(source, clean), chip_drives(network, clean)
    result = {
        CLEAN: Responded(
            trained=base_float.predictions.tolist(), chip=base_chip.predictions.tolist()
        )
    }
    for name, images in perturbed.items():
        count = len(images)
        if not count:
            continue
        seen_float, seen_chip = float_drives(source, images), chip_drives(network, images)
        moved = _moved(images, clean[:count])
        in_float = float_epsilons(source, base_float.of(moved), seen_float.of(moved))
        in_chip = chip_epsilons(network, base_chip.of(moved), seen_chip.of(moved))
        result[name] = Responded(
            trained=seen_float.predictions.tolist(),
            chip=seen_chip.predictions.tolist(),
            layers=_layers(in_float, in_chip),
        )
    return result


def _moved(images: NDArray[np.uint8], clean: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return which images differ from their originals; all of them where none does.

    One that an attack left alone, as the network is wrong about it anyway, has no perturbation to
    compare.
    """
    moved = np.flatnonzero((images != clean).reshape(len(images), -1).any(axis=1))
    return moved if len(moved) else np.arange(len(images))


def _layers(in_float: Epsilons, in_chip: Epsilons) -> dict[str, LayerResponse]:
    return {
        name: LayerResponse(
            trained=_energies(in_float[name]),
            chip=_energies(in_chip[name]),
            direction=direction(in_float[name], in_chip[name]).tolist(),
        )
        for name in in_chip
    }


def _energies(epsilon: NDArray[np.float64]) -> Energies:
    found = energy(epsilon)
    return Energies(sample=found.mean(axis=1).tolist(), step=found.sum(axis=0).tolist())


def merge_batches(batches: Iterable[Responses]) -> Responses:
    """Join the results of consecutive batches into one of the same form."""
    merged: Responses = {}
    for batch in batches:
        for name, part in batch.items():
            merged[name] = _merge(merged[name], part) if name in merged else part
    return merged


def _merge(first: Any, second: Any, key: str = "") -> Any:
    if isinstance(first, Record):
        return first.model_copy(update={k: _merge(v, getattr(second, k), k) for k, v in first})
    if isinstance(first, dict):
        return {k: _merge(v, second[k]) for k, v in first.items()}
    if key == "step":
        return [a + b for a, b in zip(first, second, strict=True)]
    return first + second
