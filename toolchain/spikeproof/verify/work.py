"""The items a verification is cut into; each gives plain JSON for the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.suites import Suite, suite_of
from spikeproof.attacks.worst_case import SIDES, TRAINED
from spikeproof.document.values import Json, Record, dump
from spikeproof.engines.memory import available_bytes, trace_bytes
from spikeproof.errors import InputError, TargetError
from spikeproof.io.files import sha256
from spikeproof.jobs.items import Arrays, Item, Work
from spikeproof.jobs.runner import Runner
from spikeproof.verify.attacked import PART
from spikeproof.verify.checks.base import Job
from spikeproof.verify.checks.registry import jobs
from spikeproof.verify.effort import (
    craft_milliseconds,
    response_milliseconds,
    suite_milliseconds,
)
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
from spikeproof.verify.worst_case import Attacked, Tried, attack_part, crafted_on

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
        f"the network; most of it: {parts}); --limit takes fewer images, --set "
        "samples.worst_case=N attacks fewer, --set validity.samples=N examines fewer attacks, "
        "--workers uses more cores"
    )


def _costs(material: Material) -> dict[str, int]:
    """Return milliseconds by part of the work: jobs, perturbations, responses."""
    found = {name: job.milliseconds(material) for name, job in jobs().items()}
    for p in material.planned:
        found[p.name] = round(p.samples * craft_milliseconds(p.attack, material.effort))
    for p in material.worst:
        found[p.name] = round(p.samples * suite_milliseconds(_suite(material), material.effort))
    shown = material.images(material.config.samples.accuracy)
    shown += sum(p.samples for p in material.shown)
    found["responses"] = round(shown * response_milliseconds(material.effort))
    return found


@dataclass(frozen=True, eq=False)
class Measured:
    """The results of all work.

    items: by name of the job. responses: of both networks, merged, by name of the perturbation.
    estimators: by name of the perturbation and of the estimator, which of the images they are
    compared on the trained network gets right (list of bool). attacked: what either network
    withstood of a suite of attacks, by name.
    """

    items: dict[str, Record]
    responses: Responses
    estimators: Json
    attacked: Attacked
    examples: list[Example]


def measure(material: Material, runner: Runner, hashes: Mapping[str, str]) -> Measured:
    """Do all work.

    ``hashes``: of the data and, where they are known, of the calibration images. What is looked
    up in the journal says itself what it depends on besides network, checkpoint and code.
    """
    work = jobs()
    items = [_job_item(job, material, hashes) for job in work.values()]
    made = [c for p in material.planned for c in _chunks(material, p)]
    attacked = _attacked_parts(material)
    chunks: list[_Chunk] = [*made, *attacked]
    by_name = {chunk.name: chunk for chunk in chunks}

    def store(item: Item, result: Json, arrays: Arrays) -> None:
        if item.name in by_name:
            by_name[item.name].store(result, arrays)

    def whole(item: Item, result: Json) -> bool:
        return item.name not in by_name or by_name[item.name].load(result) is not None

    beside = _fits_twice(material)
    crafts = [chunk.item(material, beside=beside) for chunk in chunks]
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
        _tried(crafted),
        choose_examples(
            responses, material.shown, material.x, material.y, partial(_fetch, crafted)
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
    """Some consecutive images under perturbations made together, and the file they are kept in.

    made: the perturbations, in the file's order. depends: what they are made from. attacked: the
    network a suite of attacks is run on; empty for a single perturbation.
    """

    made: tuple[Perturbation, ...]
    start: int
    stop: int
    path: Path
    depends: Json
    attacked: str = ""

    @property
    def name(self) -> str:
        """Its first word tells what the time is counted under, see the checks' ``shares``."""
        if self.attacked:
            return f"attacks on {self.attacked} {self.start}"
        return f"images {self.made[0].name} {self.start}"

    def item(self, material: Material, *, beside: bool) -> Item:
        work: Work = _craft
        arguments: tuple[Any, ...] = (self.made[0], self.start)
        each = craft_milliseconds(self.made[0].attack, material.effort)
        if self.attacked:
            work, arguments = _attack, (self.attacked, self.start, self.stop)
            each = len(self.made) * suite_milliseconds(_suite(material), material.effort)
        cost = round((self.stop - self.start) * each)
        return Item(self.name, work, arguments, self.depends, cost=cost, beside=beside)

    def store(self, result: Json, arrays: Arrays) -> None:
        if store_images(self.path, arrays["images"]) != result["sha256"]:
            raise TargetError("images were altered on their way from a worker", where=self.name)

    def load(self, result: Json) -> dict[str, Images] | None:
        """Return the images by name of the perturbation; None: they are not there any more."""
        images = load_images(self.path, str(result["sha256"]))
        if images is None:
            return None
        stacked = images.reshape(len(self.made), -1, *images.shape[-3:])
        return {p.name: one for p, one in zip(self.made, stacked, strict=True)}


def _chunks(material: Material, item: Perturbation) -> list[_Chunk]:
    found = []
    for start in range(0, item.samples, CHUNK):
        stop = min(start + CHUNK, item.samples)
        name = f"{item.attack.name}-{item.strength:g}-{start}.npy"
        depends = {**_made_from(material, start, stop), "seed": material.config.seed}
        path = material.folder / "images" / name
        found.append(_Chunk((item,), start, stop, path, depends))
    return found


def _attacked_parts(material: Material) -> list[_Chunk]:
    """Cut what a suite of attacks does to either network into parts."""
    wanted = material.config.worst_case
    made_by = {
        "suite": _suite(material).describe(),
        "epsilons": list(wanted.epsilons),
        "seed": material.config.seed,
    }
    found = []
    for side in SIDES:
        made = tuple(p for p in material.worst if crafted_on(p) == side)
        for start in range(0, made[0].samples if made else 0, PART):
            stop = min(start + PART, made[0].samples)
            path = material.folder / "images" / f"{wanted.suite}-on-{side}-{start}.npy"
            depends = {**_made_from(material, start, stop), **made_by}
            found.append(_Chunk(made, start, stop, path, depends, side))
    return found


def _suite(material: Material) -> Suite:
    return suite_of(material.config.worst_case.suite)


def _made_from(material: Material, start: int, stop: int) -> Json:
    return {
        "images": sha256(images_bytes(material.x[start:stop])),
        "labels": material.y[start:stop].tolist(),
    }


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


def _attack(material: Material, side: str, start: int, stop: int) -> tuple[Json, Arrays]:
    """Run the suite of attacks on some images of one network; naively, too, on the trained one."""
    found = attack_part(
        material.victims[side],
        _suite(material),
        material.x[start:stop],
        material.y[start:stop],
        material.config.worst_case.epsilons,
        range(start, stop),
        seed=material.config.seed,
        naive=side == TRAINED,
    )
    told = {
        "sha256": sha256(images_bytes(found.images)),
        "broken_by": found.broken_by.tolist(),
        "naive": found.naive.tolist(),
    }
    return told, {"images": found.images}


def _estimators(crafted: list[tuple[_Chunk, Json]]) -> Json:
    """Join which images withstand which estimator, by name of the perturbation."""
    merged: Json = {}
    for chunk, result in crafted:
        part = merged.setdefault(chunk.made[0].name, {})
        for name, right in result.get("right", {}).items():
            part.setdefault(name, []).extend(right)
    return merged


def _tried(crafted: list[tuple[_Chunk, Json]]) -> Attacked:
    """Join what either network withstood of the suite of attacks."""
    found: Attacked = {}
    for chunk, result in crafted:
        if chunk.attacked:
            found.setdefault(chunk.attacked, Tried()).extend(result["broken_by"], result["naive"])
    return found


def _responses(
    material: Material, crafted: list[tuple[_Chunk, Json]], *, beside: bool
) -> list[Item]:
    """List the items that run both networks on all images, one chunk of images at a time."""
    longest = max([material.config.samples.accuracy, *(p.samples for p in material.shown)])
    longest = min(longest, len(material.x))
    items = []
    for start in range(0, longest, CHUNK):
        stop = min(start + CHUNK, longest)
        used = [(chunk, result) for chunk, result in crafted if start <= chunk.start < stop]
        shown = stop - start
        shown += sum(len(chunk.made) * (chunk.stop - chunk.start) for chunk, _ in used)
        items.append(
            Item(
                f"responses {start}",
                _respond,
                (start, stop),
                depends={
                    CLEAN: sha256(images_bytes(material.x[start:stop])),
                    # Another suite may come to the very same images, under other names.
                    **{
                        chunk.name: [result["sha256"], *(p.name for p in chunk.made)]
                        for chunk, result in used
                    },
                },
                payload=partial(_load_all, used),
                cost=round(shown * response_milliseconds(material.effort)),
                beside=beside,
            )
        )
    return items


def _fetch(crafted: list[tuple[_Chunk, Json]], item: Perturbation, index: int) -> Images:
    """Return the perturbed version of one image."""
    chunk, result = next((c, r) for c, r in crafted if item in c.made and c.start <= index < c.stop)
    (by_name,) = _load_all([(chunk, result)])
    image: Images = by_name[item.name][index - chunk.start]
    return image


def _load_all(used: list[tuple[_Chunk, Json]]) -> tuple[dict[str, Images]]:
    """Read the perturbed images of consecutive images back, by name of the perturbation."""
    found: dict[str, list[Images]] = {}
    for chunk, result in used:
        held = chunk.load(result)
        if held is None:
            raise InputError("cannot be read back", where=str(chunk.path), hint="Check the disk.")
        for name, images in held.items():
            found.setdefault(name, []).append(images)
    return ({name: np.concatenate(parts) for name, parts in found.items()},)


def _respond(material: Material, start: int, stop: int, perturbed: dict[str, Images]) -> Json:
    """Run both networks on one chunk of clean images and the perturbed ones made from it."""
    stages = material.stages
    found = measure_batch(stages.source, stages.chip, material.x[start:stop], perturbed)
    return {name: dump(part) for name, part in found.items()}
