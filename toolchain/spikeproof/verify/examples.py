"""Choose a few images to show in the report, and count which class both networks say.

The choice is by rule, not by chance: of each kind of outcome the first image that shows it.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.base import Clean
from spikeproof.document.values import Count, Number, Record, Text
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.responses import CLEAN, Responses

Images = NDArray[np.uint8]
Prediction = tuple[int, int, int, int]
"""True class, class of the trained network, class of the chip network, images."""
Fetch = Callable[[Perturbation, int], Images]
"""Returns the perturbed version (C, H, W) of the image with this index."""
THUMBNAIL = 64
"""Pixels of the longer side of an image in the report, at most."""
KINDS = ("both right", "both misled", "networks disagree")


class View(Record):
    """One image as both networks saw it; pixels are uint8 (C, H, W) in base64."""

    perturbation: Text
    strength: Number
    trained: Count
    """Class that the trained network gives."""
    chip: Count
    shape: list[int]
    pixels: Text


class Example(Record):
    """One image of the data set, clean and perturbed; ``kind`` says why it was chosen."""

    kind: Text
    image: Count
    label: Count
    views: list[View]


def joint_counts(merged: Responses, labels: NDArray[Any], shown: int) -> list[Prediction]:
    """Return which classes both networks give to clean images of which class, and how many.

    Only combinations that occur, in order; all confusion matrices follow from it.
    """
    part = merged[CLEAN]
    triples = zip(labels[:shown].tolist(), part.trained, part.chip, strict=False)
    return [(*triple, count) for triple, count in sorted(Counter(triples).items())]


def choose_examples(
    merged: Responses, planned: list[Perturbation], x: Images, labels: NDArray[Any], fetch: Fetch
) -> list[Example]:
    """Return one image per kind of outcome that occurs, clean and under the strongest of each kind.

    Pixels are thinned out to THUMBNAIL.
    """
    strongest = {p.attack.name: p for p in sorted(planned, key=lambda p: p.strength)}
    shown = [strongest[name] for name in dict.fromkeys(p.attack.name for p in planned)]
    found = []
    for kind, index in _first_of_each(merged, shown, labels).items():
        views = [_view(merged, Perturbation(Clean(), 1), CLEAN, index, x[index])]
        views += [_view(merged, p, p.name, index, fetch(p, index)) for p in shown]
        found.append(Example(kind=kind, image=index, label=int(labels[index]), views=views))
    return found


def _first_of_each(
    merged: Responses, shown: list[Perturbation], labels: NDArray[Any]
) -> dict[str, int]:
    parts = [merged[CLEAN], *(merged[p.name] for p in shown)]
    count = min(len(part.trained) for part in parts)
    truth = labels[:count]
    trained = np.array([part.trained[:count] for part in parts])
    chip = np.array([part.chip[:count] for part in parts])
    clean_right = (trained[0] == truth) & (chip[0] == truth)
    cases = {
        KINDS[0]: ((trained == truth) & (chip == truth)).all(axis=0),
        KINDS[1]: clean_right & ((trained == chip) & (trained != truth)).any(axis=0),
        KINDS[2]: (trained != chip).any(axis=0),
    }
    return {kind: int(np.argmax(hits)) for kind, hits in cases.items() if hits.any()}


def _view(merged: Responses, item: Perturbation, name: str, index: int, image: Images) -> View:
    small = thumbnail(image)
    return View(
        perturbation=item.attack.name,
        strength=item.strength,
        trained=merged[name].trained[index],
        chip=merged[name].chip[index],
        shape=list(small.shape),
        pixels=base64.b64encode(small.tobytes()).decode("ascii"),
    )


def thumbnail(image: Images) -> Images:
    """Return the image (C, H, W) with 1 or 3 channels and sides of at most THUMBNAIL pixels."""
    channels = image if len(image) == 3 else image[:1]
    stride = -(-max(channels.shape[1:]) // THUMBNAIL)
    return np.ascontiguousarray(channels[:, ::stride, ::stride])
