"""Say which published data set an array of images is, by its content and never by its name.

``known.json`` beside this file holds hashes of the official MNIST and Fashion-MNIST files, of
their first images in round numbers, and of the files that ship with the project.
``python -m spikeproof_models.known`` makes it again from the official files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spikeproof.document.values import Record, Text
from spikeproof.text import counted

Labels = Literal["official", "other", "absent"]


class KnownPart(Record):
    """Images of a published set: what they are of it, how many, and hashes of their content."""

    what: str
    samples: int
    images: str
    """SHA-256 of shape and pixels, see :func:`images_hash`."""
    labels: str
    """SHA-256 of the labels, see :func:`labels_hash`."""
    both: str
    """SHA-256 of shape, pixels and labels, as training records it."""


class KnownSet(Record):
    """One split of a published data set."""

    dataset: str
    """As a recipe names it."""
    name: str
    """As people name it."""
    split: Literal["train", "test"]
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    parts: tuple[KnownPart, ...]


class DataRecord(Record):
    """What data a result comes from, as far as their content tells."""

    recognised: bool = False
    """Whether the images are those of a published set."""
    name: Text | None = None
    """That set's name."""
    split: Literal["train", "test"] | None = None
    what: Text | None = None
    """Which images of the split the file holds."""
    classes: tuple[Text, ...] = ()
    """Names of the classes, if known."""
    file: Text | None = None
    samples: int = Field(ge=0)
    """Images used: the first of the file."""
    held: int = Field(ge=0)
    """Images in the file."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Of shape and pixels of all images in the file, 8 bits each; None: not computed."""
    labels: Labels = "absent"

    def used(self, count: int | None) -> DataRecord:
        """Return the record of the first ``count`` images only."""
        samples = self.held if count is None else min(count, self.held)
        return self.model_copy(update={"samples": samples})

    def text(self) -> str:
        """Say it in one line."""
        if self.recognised:
            found = f"{self.name} {self.split}, {self.what} (recognised by content)"
        else:
            digest = f", images SHA-256 {self.sha256[:16]}…" if self.sha256 else ""
            held = counted(self.held, "sample")
            found = f"{self.file or 'images'} (unrecognised), {held}{digest}"
        if self.samples < self.held:
            found += f"; of these the first {self.samples:,}"
        if self.recognised and self.labels == "other":
            found += "; the labels are NOT those of this set"
        return found


def images_hash(shape: tuple[int, ...], parts: Iterable[NDArray[np.uint8]]) -> str:
    """Return the SHA-256 of a shape (N, C, H, W) and the pixels, given in slices."""
    digest = hashlib.sha256(f"{list(shape)}".encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()


def labels_hash(labels: NDArray[Any]) -> str:
    """Return the SHA-256 of labels as little-endian 64-bit integers."""
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()


def describe(
    x: NDArray[np.uint8], labels: NDArray[Any] | None, *, file: str | None = None
) -> DataRecord:
    """Return what images (N, C, H, W) and labels are; ``file``: the name of their file."""
    return record(images_hash(x.shape, [x]), len(x), labels, file=file)


def record(
    images: str, samples: int, labels: NDArray[Any] | None, *, file: str | None = None
) -> DataRecord:
    """Return what images with this hash (see :func:`images_hash`) and these labels are."""
    found = _by_images().get(images)
    state: Labels = "absent" if labels is None else "other"
    if found is None:
        return DataRecord(file=file, samples=samples, held=samples, sha256=images, labels=state)
    known, part = found
    if labels is not None and labels_hash(labels) == part.labels:
        state = "official"
    return DataRecord(
        recognised=True,
        name=known.name,
        split=known.split,
        what=part.what,
        classes=known.classes,
        file=file,
        samples=samples,
        held=samples,
        sha256=images,
        labels=state,
    )


def training_set(both: object) -> KnownSet | None:
    """Return the set whose whole training or test data have this hash of images and labels."""
    return next((k for k in known_sets() if k.parts[0].both == both), None)


@cache
def known_sets() -> tuple[KnownSet, ...]:
    """Return everything that can be recognised; the first part of each set is all of it."""
    text = files("spikeproof.io").joinpath("known.json").read_text(encoding="utf-8")
    return tuple(KnownSet.model_validate(entry) for entry in json.loads(text))


@cache
def _by_images() -> dict[str, tuple[KnownSet, KnownPart]]:
    return {part.images: (known, part) for known in known_sets() for part in known.parts}
