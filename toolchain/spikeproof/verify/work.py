"""The items a verification is cut into; each gives plain JSON for the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.document.values import Json, Record, dump
from spikeproof.engines.memory import available_bytes, trace_bytes
from spikeproof.errors import InputError, TargetError
from spikeproof.io.files import sha256
from spikeproof.jobs.items import Arrays, Item
from spikeproof.jobs.runner import Runner
from spikeproof.verify.checks.base import Job
from spikeproof.verify.checks.registry import jobs
from spikeproof.verify.effort import craft_milliseconds, response_milliseconds
from spikeproof.verify.examples import Example, choose_examples
from spikeproof.verify.material import Material
from spikeproof.verify.perturbations import (
    CHUNK,
    Perturbation,
    craft_chunk,
    images_bytes,
    load_images,
    store_images,
)
from spikeproof.verify.responses import CLEAN, Responded, Responses, measure_batch, merge_batches

Images = NDArray[np.uint8]
_LONG = 10 * 60_000
"""Milliseconds from which the time is told before the work begins."""
_TIMES_TRACES = 40
"""Memory for two chunks, with room left, in chip traces of a chunk. Measured with the shipped LIF
network: showing clean and perturbed images takes 14, crafting them with gradients 4."""


def total_cost(material: Material) -> int:
    """Estimate all work in milliseconds."""
    return sum(_costs(material).values())


def time_told(material: Material) -> str | None:
    """Say how long the work takes and what takes most of it; None if it is not long."""
    costs = _costs(material)
    total = sum(costs.values())
    if total < _LONG:
        return None
    most = sorted(costs, key=lambda part: -costs[part])[:3]
    parts = ", ".join(f"{part} {costs[part] / 60_000:.0f}" for part in most)
    return (
        f"this takes about {total / 60_000:,.0f} minutes on one core (estimated from the size of "
        f"the network; most of it: {parts}); --limit takes fewer images, --set samples.pgd=N "
        "attacks fewer, --workers uses more cores"
    )


def _costs(material: Material) -> dict[str, int]:
    """Return milliseconds by part of the work: jobs, perturbations, responses."""
    found = {name: job.milliseconds(material) for name, job in jobs().items()}
    for p in material.planned:
        found[p.name] = round(p.samples * craft_milliseconds(p.attack, material.effort))
    shown = material.images(material.config.samples.accuracy)
    shown += sum(p.samples for p in material.planned)
    found["responses"] = round(shown * response_milliseconds(material.effort))
    return found


@dataclass(frozen=True, eq=False)
class Measured:
    """The results of all work.

    items: by name of the job. responses: of both networks, merged, by name of the perturbation.
    estimators: by name of the perturbation and of the estimator, which of the images they are
    compared on the trained network gets right (list of bool).
    """

    items: dict[str, Record]
    responses: Responses
    estimators: Json
    examples: list[Example]


def measure(material: Material, runner: Runner, hashes: Mapping[str, str]) -> Measured:
    """Do all work.

    ``hashes``: of the data and, where they are known, of the calibration images. What is looked
    up in the journal says itself what it depends on besides network, checkpoint and code.
    """
    work = jobs()
    items = [_job_item(job, material, hashes) for job in work.values()]
    chunks = [c for p in material.planned for c in _chunks(material, p)]
    by_name = {chunk.name: chunk for chunk in chunks}

    def store(item: Item, result: Json, arrays: Arrays) -> None:
        if item.name in by_name:
            by_name[item.name].store(result, arrays)

    def whole(item: Item, result: Json) -> bool:
        return item.name not in by_name or by_name[item.name].load(result) is not None

    beside = _fits_twice(material)
    crafts = [chunk.item(material.effort, beside=beside) for chunk in chunks]
    results = runner.do([*items, *crafts], material, store, whole)
    crafted = list(zip(chunks, results[len(items) :], strict=True))
    shown = _responses(material, crafted, beside=beside)
    responses = merge_batches(
        {name: Responded.model_validate(part) for name, part in result.items()}
        for result in runner.do(shown, material)
    )
    return Measured(
        {
            name: job.result.model_validate(result)
            for (name, job), result in zip(work.items(), results, strict=False)
        },
        responses,
        _estimators(crafted),
        choose_examples(
            responses, material.planned, material.x, material.y, partial(_fetch, crafted)
        ),
    )


def _fits_twice(material: Material) -> bool:
    """Tell whether there is memory for two chunks of images at a time, with their gradients."""
    free = available_bytes()
    return free is None or _TIMES_TRACES * CHUNK * trace_bytes(material.stages.chip) <= free


def _job_item(job: Job[Any], material: Material, hashes: Mapping[str, str]) -> Item:
    depends: Json = {"data": hashes["data_hash"], "config": material.config.resolved()}
    if job.calibrated:
        depends["calibration"] = hashes.get("calibration_hash")
    return Item(job.name, _measure, (job.name,), depends=depends, cost=job.milliseconds(material))


def _measure(material: Material, name: str) -> Json:
    """Do the work of one job."""
    return dump(jobs()[name].measure(material))


@dataclass(frozen=True)
class _Chunk:
    """Some consecutive images of one perturbation, and the file they are kept in.

    depends: what they are made from, clean images and seed.
    """

    perturbation: Perturbation
    start: int
    stop: int
    path: Path
    depends: Json

    @property
    def name(self) -> str:
        return f"images {self.perturbation.name} {self.start}"

    def item(self, times: float, *, beside: bool) -> Item:
        per_image = craft_milliseconds(self.perturbation.attack, times)
        cost = round((self.stop - self.start) * per_image)
        arguments = (self.perturbation, self.start)
        return Item(self.name, _craft, arguments, depends=self.depends, cost=cost, beside=beside)

    def store(self, result: Json, arrays: Arrays) -> None:
        if store_images(self.path, arrays["images"]) != result["sha256"]:
            raise TargetError("images were altered on their way from a worker", where=self.name)

    def load(self, result: Json) -> Images | None:
        return load_images(self.path, str(result["sha256"]))


def _chunks(material: Material, item: Perturbation) -> list[_Chunk]:
    found = []
    for start in range(0, item.samples, CHUNK):
        stop = min(start + CHUNK, item.samples)
        name = f"{item.attack.name}-{item.strength:g}-{start}.npy"
        labels = material.y[start:stop].tolist()
        depends = {
            "images": sha256(images_bytes(material.x[start:stop])),
            "labels": labels,
            "seed": material.config.seed,
        }
        found.append(_Chunk(item, start, stop, material.folder / "images" / name, depends))
    return found


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


def _responses(
    material: Material, crafted: list[tuple[_Chunk, Json]], *, beside: bool
) -> list[Item]:
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
                depends={
                    CLEAN: sha256(images_bytes(material.x[start:stop])),
                    **{c.perturbation.name: r["sha256"] for c, r in used},
                },
                payload=partial(_load_all, used),
                cost=round(shown * response_milliseconds(material.effort)),
                beside=beside,
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
    found = measure_batch(stages.source, stages.chip, material.x[start:stop], perturbed)
    return {name: dump(part) for name, part in found.items()}
