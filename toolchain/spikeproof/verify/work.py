"""The items a verification is cut into; each gives plain JSON for the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.weak import WEAK
from spikeproof.certify.ranges import certify_ranges
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import run_float
from spikeproof.engines.registry import get_engine
from spikeproof.engines.trace import Engine
from spikeproof.errors import InputError, TargetError
from spikeproof.io.files import sha256
from spikeproof.jobs.items import Arrays, Item
from spikeproof.jobs.runner import Runner
from spikeproof.verify.bisect import View, first_divergence
from spikeproof.verify.boundary import audit, tie_cases
from spikeproof.verify.certificate import judge_certificate
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.exact import compare_engines, compare_ties, divergence_json
from spikeproof.verify.examples import choose_examples
from spikeproof.verify.layer_errors import layer_errors, widest_gaps
from spikeproof.verify.operations import count_operations
from spikeproof.verify.perturbations import (
    CHUNK,
    Perturb,
    Perturbation,
    craft_chunk,
    images_bytes,
    load_images,
    store_images,
)
from spikeproof.verify.relations import check_stages
from spikeproof.verify.responses import measure_batch, merge_batches
from spikeproof.verify.rounding import check_rounding
from spikeproof.verify.stages import Membrane, Stages, float_membranes, run_stages

Json = dict[str, Any]
Images = NDArray[np.uint8]
_COST = {
    "ranges": 300,
    "rounding": 1700,
    "exact": 4000,
    "ties": 12000,
    "stages": 7000,
    "boundary": 800,
}
"""Rough milliseconds, so that progress runs evenly: as in the journal of ``spikeproof demo``."""
_MS_PER_RESPONSE, _MS_PER_GRADIENT = 4, 1


@dataclass(frozen=True, eq=False)
class Material:
    """Everything the work needs; images and labels are already cut and checked."""

    stages: Stages
    x: Images
    y: NDArray[np.int64]
    config: VerifyConfig
    planned: list[Perturbation]
    perturb: Perturb
    folder: Path
    engine: Engine | None = None
    calibration: Images | None = None

    def engines(self) -> list[Engine]:
        """Return the fast engine and the target under test."""
        target = self.engine or get_engine(self.config.engine)
        return [target] if target.name == "fast" else [FastEngine(), target]


def total_cost(material: Material) -> int:
    """Estimate all work in milliseconds."""
    crafted = sum(p.samples * _cost_per_image(p) for p in material.planned)
    shown = material.config.samples.accuracy + sum(p.samples for p in material.planned)
    return sum(_COST.values()) + crafted + shown * _MS_PER_RESPONSE


def _cost_per_image(item: Perturbation) -> int:
    return (1 + item.gradients * len(WEAK.members)) * _MS_PER_GRADIENT


def measure(material: Material, runner: Runner) -> Json:
    """Do all work; returns the results by name, perturbation responses merged.

    "estimators" holds, by name of the perturbation and of the estimator, which of the images they
    are compared on the trained network gets right: list of bool.
    """
    jobs = [Item(name, job, cost=_COST[name]) for name, job in _JOBS.items()]
    chunks = [c for p in material.planned for c in _chunks(material.folder, p)]
    by_name = {chunk.name: chunk for chunk in chunks}

    def store(item: Item, result: Json, arrays: Arrays) -> None:
        if item.name in by_name:
            by_name[item.name].store(result, arrays)

    def whole(item: Item, result: Json) -> bool:
        return item.name not in by_name or by_name[item.name].load(result) is not None

    results = runner.do([*jobs, *(c.item() for c in chunks)], material, store, whole)
    items: Json = dict(zip(_JOBS, results, strict=False))
    crafted = list(zip(chunks, results[len(jobs) :], strict=True))
    items["estimators"] = _estimators(crafted)
    items["responses"] = merge_batches(runner.do(_responses(material, crafted), material))
    items["examples"] = choose_examples(
        items["responses"], material.planned, material.x, material.y, partial(_fetch, crafted)
    )
    return items


def _ranges(material: Material) -> Json:
    stages = material.stages
    return {"layers": judge_certificate(stages.chip, stages.claims, certify_ranges)}


def _rounding(material: Material) -> Json:
    x = material.x[: material.config.samples.stages]
    return check_rounding(material.stages, material.calibration, x)


def _exact(material: Material) -> Json:
    x = material.x[: material.config.lava_samples]
    return compare_engines(material.stages.chip, x, material.engines())


def _ties(material: Material) -> Json:
    return compare_ties(tie_cases(material.stages.chip), material.engines())


def _stages(material: Material) -> Json:
    x = material.x[: material.config.samples.stages]
    stages, runs = material.stages, run_stages(material.stages, x)
    pairs = [
        ("folded", "quantised", runs.folded, runs.quantised),
        ("quantised", "chip", runs.quantised, runs.chip),
        ("trained", "chip", runs.source, runs.chip),
    ]
    return {
        "samples": len(x),
        "relations": check_stages(stages, runs, material.config.stages),
        "errors": layer_errors(runs),
        "gaps": widest_gaps(runs.folded, runs.local_folded),
        "pairs": [divergence_json(_first_spike(a, b), m, n) for m, n, a, b in pairs],
    }


def _first_spike(first: list[Membrane], second: list[Membrane]) -> Any:
    """Find the first spike that differs, with membranes in chip v-units."""
    views = [(a.name, _view(a), _view(b)) for a, b in zip(first, second, strict=True)]
    return first_divergence(views, exact=False)


def _view(layer: Membrane) -> View:
    wide = layer.lsb.reshape(-1, *(1,) * (layer.v.ndim - 2))
    return View(layer.v * wide, layer.s, None if layer.s is None else layer.lsb)


def _boundary(material: Material) -> Json:
    x = material.x[: material.config.samples.boundary]
    stages = material.stages
    traces = FastEngine().run(stages.chip, x, trace=True).traces or {}
    real = float_membranes(stages.folded, run_float(stages.folded, x, trace=True), stages)
    return {
        "samples": len(x),
        "layers": audit(stages.chip, traces, real),
        "operations": count_operations(stages.chip, x, traces),
    }


_JOBS: dict[str, Callable[[Material], Json]] = {
    "ranges": _ranges,
    "rounding": _rounding,
    "exact": _exact,
    "ties": _ties,
    "stages": _stages,
    "boundary": _boundary,
}


@dataclass(frozen=True)
class _Chunk:
    """Some consecutive images of one perturbation, and the file they are kept in."""

    perturbation: Perturbation
    start: int
    stop: int
    path: Path

    @property
    def name(self) -> str:
        return f"images {self.perturbation.name} {self.start}"

    def item(self) -> Item:
        cost = (self.stop - self.start) * _cost_per_image(self.perturbation)
        return Item(self.name, _craft, (self.perturbation, self.start), cost=cost)

    def store(self, result: Json, arrays: Arrays) -> None:
        if store_images(self.path, arrays["images"]) != result["sha256"]:
            raise TargetError("images were altered on their way from a worker", where=self.name)

    def load(self, result: Json) -> Images | None:
        return load_images(self.path, str(result["sha256"]))


def _chunks(folder: Path, item: Perturbation) -> list[_Chunk]:
    return [
        _Chunk(
            item,
            start,
            min(start + CHUNK, item.samples),
            folder / "images" / f"{item.row}-{item.strength:g}-{start}.npy",
        )
        for start in range(0, item.samples, CHUNK)
    ]


def _craft(material: Material, item: Perturbation, start: int) -> tuple[Json, Arrays]:
    """Make the perturbed images of one chunk; the result holds the hash of their file."""
    found = craft_chunk(
        item,
        material.stages.source,
        material.x,
        material.y,
        start,
        seed=material.config.seed,
        perturb=material.perturb,
    )
    right = {name: values.tolist() for name, values in found.right.items()}
    return {"sha256": sha256(images_bytes(found.images)), "right": right}, {"images": found.images}


def _estimators(crafted: list[tuple[_Chunk, Json]]) -> Json:
    """Join which images withstand which estimator, by name of the perturbation."""
    merged: Json = {}
    for chunk, result in crafted:
        part = merged.setdefault(chunk.perturbation.name, {})
        for name, right in result["right"].items():
            part.setdefault(name, []).extend(right)
    return merged


def _responses(material: Material, crafted: list[tuple[_Chunk, Json]]) -> list[Item]:
    """List the items that run both networks on all images, one chunk of images at a time."""
    longest = max([material.config.samples.accuracy, *(p.samples for p in material.planned)])
    longest = min(longest, len(material.x))
    items = []
    for start in range(0, longest, CHUNK):
        used = [(chunk, result) for chunk, result in crafted if chunk.start == start]
        stop = min(start + CHUNK, longest)
        shown = stop - start + sum(chunk.stop - chunk.start for chunk, _ in used)
        items.append(
            Item(
                f"responses {start}",
                _respond,
                (start, stop),
                depends={c.perturbation.name: r["sha256"] for c, r in used},
                payload=partial(_load_all, used),
                cost=shown * _MS_PER_RESPONSE,
            )
        )
    return items


def _fetch(crafted: list[tuple[_Chunk, Json]], item: Perturbation, index: int) -> Images:
    """Return the perturbed version of one image."""
    chunk, result = next(
        (c, r) for c, r in crafted if c.perturbation == item and c.start <= index < c.stop
    )
    (by_name,) = _load_all([(chunk, result)])
    image: Images = by_name[item.name][index - chunk.start]
    return image


def _load_all(used: list[tuple[_Chunk, Json]]) -> tuple[dict[str, Images]]:
    """Read the perturbed images of one chunk back, by name of the perturbation."""
    found = {}
    for chunk, result in used:
        images = chunk.load(result)
        if images is None:
            raise InputError("cannot be read back", where=str(chunk.path), hint="Check the disk.")
        found[chunk.perturbation.name] = images
    return (found,)


def _respond(material: Material, start: int, stop: int, perturbed: dict[str, Images]) -> Json:
    """Run both networks on one chunk of clean images and the perturbed ones made from it."""
    stages = material.stages
    return measure_batch(stages.source, stages.chip, material.x[start:stop], perturbed)
