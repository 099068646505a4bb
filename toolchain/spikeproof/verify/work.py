"""The pieces of work a verification is cut into; each gives plain JSON for the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError
from spikeproof.passes.ranges import certify_ranges
from spikeproof.simulate.engines import get_engine
from spikeproof.simulate.fast import FastEngine
from spikeproof.simulate.floats import run_float
from spikeproof.simulate.trace import Engine, Progress
from spikeproof.verify.bisect import View, first_divergence
from spikeproof.verify.boundary import audit, tie_cases
from spikeproof.verify.checks import plain
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.exact import compare_engines, compare_ties, divergence_json
from spikeproof.verify.journal import Journal
from spikeproof.verify.layer_errors import layer_errors
from spikeproof.verify.perturbations import (
    CHUNK,
    Perturb,
    Perturbation,
    check_images,
    chunk_seed,
    load_images,
    store_images,
)  # fmt: skip
from spikeproof.verify.relations import check_stages
from spikeproof.verify.responses import BATCH, measure_batch, merge_batches
from spikeproof.verify.stages import Membrane, Stages, float_membranes, run_stages

Json = dict[str, Any]
Images = NDArray[np.uint8]
_COST = {"ranges": 100, "exact": 5000, "ties": 3000, "stages": 3000, "boundary": 1000}
"""Rough milliseconds, so that progress runs evenly."""
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

    def engines(self) -> list[Engine]:
        """Return the fast engine and the target under test."""
        target = self.engine or get_engine(self.config.engine)
        return [target] if target.name == "fast" else [FastEngine(), target]


class Steps:
    """Do named work through the journal and report progress in rough milliseconds."""

    def __init__(self, journal: Journal, total: int, progress: Progress | None) -> None:
        """Start at nothing done."""
        self._journal, self._total, self._progress = journal, total, progress
        self._done = 0

    def do(self, name: str, cost: int, work: Callable[[], Json], depends: Any = None) -> Json:
        """Do one piece of work and count it."""
        result = self._journal.do(name, lambda: dict(plain(work())), depends)
        self._done += cost
        if self._progress:
            self._progress(min(self._done, self._total), self._total)
        return result

    def again(self, name: str, work: Callable[[], Json]) -> Json:
        """Repeat a piece of work whose stored result is of no use."""
        self._journal.forget(name)
        return self.do(name, 0, work)


def total_cost(material: Material) -> int:
    """Estimate all work in milliseconds."""
    crafted = sum(p.samples * (p.steps + 1) * _MS_PER_GRADIENT for p in material.planned)
    shown = material.config.samples.accuracy + sum(p.samples for p in material.planned)
    return sum(_COST.values()) + crafted + shown * _MS_PER_RESPONSE


def measure(material: Material, journal: Journal, progress: Progress | None) -> Json:
    """Do all work; returns the items by name, perturbation responses merged."""
    steps = Steps(journal, total_cost(material), progress)
    items = {
        name: steps.do(name, _COST[name], lambda job=job: job(material))  # type: ignore[misc]
        for name, job in _JOBS.items()
    }
    images = {p.name: _craft(material, p, steps) for p in material.planned}
    items["responses"] = _respond(material, images, steps)
    return items


def _ranges(material: Material) -> Json:
    found = [asdict(row) for row in certify_ranges(material.stages.chip)]
    return {"layers": found}


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
    return {"samples": len(x), "layers": audit(stages.chip, traces, real)}


_JOBS: dict[str, Callable[[Material], Json]] = {
    "ranges": _ranges, "exact": _exact, "ties": _ties, "stages": _stages, "boundary": _boundary,
}  # fmt: skip


def _craft(material: Material, item: Perturbation, steps: Steps) -> tuple[Images, list[str]]:
    """Return the perturbed images of one kind and the hashes of their files."""
    parts, hashes = [], []
    for start in range(0, item.samples, CHUNK):
        stop = min(start + CHUNK, item.samples)
        path = material.folder / "images" / f"{item.row}-{item.strength:g}-{start}.npy"
        name = f"images {item.name} {start}"

        def work(start: int = start, stop: int = stop, path: Path = path) -> Json:
            return {"sha256": store_images(path, _crafted(material, item, start, stop))}

        cost = (stop - start) * (item.steps + 1) * _MS_PER_GRADIENT
        entry = steps.do(name, cost, work)
        images = load_images(path, str(entry["sha256"]))
        if images is None:  # the journal has it, but the file is gone or damaged
            entry = steps.again(name, work)
            images = load_images(path, str(entry["sha256"]))
        if images is None:
            raise InputError("cannot be read back", where=str(path), hint="Check the disk.")
        parts.append(images)
        hashes.append(str(entry["sha256"]))
    return np.concatenate(parts), hashes


def _crafted(material: Material, item: Perturbation, start: int, stop: int) -> Images:
    x, y = material.x[start:stop], material.y[start:stop]
    seed = chunk_seed(material.config, item, start)
    found = material.perturb(item, material.stages.source, x, y, seed=seed)
    check_images(x, found, item)
    return found


def _respond(material: Material, images: dict[str, tuple[Images, list[str]]], steps: Steps) -> Json:
    """Run both networks on all images, batch by batch."""
    longest = max([material.config.samples.accuracy, *(p.samples for p in material.planned)])
    clean = material.x[:longest]
    hashes = {name: found[1] for name, found in images.items()}
    batches = []
    for start in range(0, len(clean), BATCH):
        part = slice(start, start + BATCH)
        perturbed = {name: found[0][part] for name, found in images.items()}
        shown = len(clean[part]) + sum(len(p) for p in perturbed.values())

        def work(part: slice = part, perturbed: dict[str, Images] = perturbed) -> Json:
            stages = material.stages
            return measure_batch(stages.source, stages.chip, clean[part], perturbed)

        cost = shown * _MS_PER_RESPONSE
        batches.append(steps.do(f"responses {start}", cost, work, depends=hashes))
    return merge_batches(batches)
