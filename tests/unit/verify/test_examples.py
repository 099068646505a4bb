"""The report's example images and class counts are the real ones, chosen by rule."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from spikeproof.attacks.weak import WEAK as ATTACK
from spikeproof.verify.examples import choose_examples, joint_counts, thumbnail
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.responses import Responded

NOISE = Perturbation(ATTACK.at("gaussian", 8), 5)
WEAK, STRONG = Perturbation(ATTACK.at("fgsm", 2), 5), Perturbation(ATTACK.at("fgsm", 8), 4)
LABELS = np.array([0, 1, 2, 0, 1])


def _both(predicted: list[int], chip: list[int] | None = None) -> Any:
    return Responded(trained=predicted, chip=chip or predicted)


def _merged() -> Any:
    return {
        "clean": _both([0, 1, 2, 0, 1]),
        NOISE.name: _both([0, 1, 2, 0, 1], [0, 1, 1, 0, 1]),  # image 2: the chip alone is wrong
        WEAK.name: _both([1, 1, 2, 0, 1]),
        STRONG.name: _both([1, 1, 2, 0]),  # image 0: both are misled
    }


def _images() -> Any:
    return np.random.default_rng(0).integers(0, 256, (5, 1, 6, 6)).astype(np.uint8)


def test_the_first_image_of_each_outcome_is_shown_under_the_strongest_perturbations() -> None:
    x = _images()
    asked: list[tuple[str, int]] = []

    def fetch(item: Perturbation, index: int) -> Any:
        asked.append((item.name, index))
        return 255 - x[index]

    found = choose_examples(_merged(), [NOISE, WEAK, STRONG], x, LABELS, fetch)
    assert [(e.kind, e.image, e.label) for e in found] == [
        ("both right", 1, 1),
        ("both misled", 0, 0),
        ("networks disagree", 2, 2),
    ]
    assert asked[:2] == [(NOISE.name, 1), (STRONG.name, 1)]
    clean, noisy, attacked = found[2].views
    assert [v.perturbation for v in found[2].views] == ["clean", "gaussian", "fgsm"]
    assert (clean.trained, noisy.trained, noisy.chip, attacked.chip) == (2, 2, 1, 2)
    pixels = np.frombuffer(base64.b64decode(noisy.pixels), np.uint8).reshape(noisy.shape)
    assert (pixels == 255 - x[2]).all()


def test_an_outcome_that_does_not_occur_is_left_out() -> None:
    merged = {"clean": _both([0, 1, 2, 0, 1])}
    found = choose_examples(merged, [], _images(), LABELS, lambda item, index: _images()[index])
    assert [e.kind for e in found] == ["both right"]
    assert [len(e.views) for e in found] == [1]


def test_counts_of_classes_add_up_to_the_images_shown() -> None:
    merged = {"clean": _both([0, 1, 2, 0, 1], [0, 1, 1, 0, 1])}
    assert joint_counts(merged, LABELS, 4) == [(0, 0, 0, 2), (1, 1, 1, 1), (2, 2, 1, 1)]
    assert sum(row[3] for row in joint_counts(merged, LABELS, 5)) == 5


@pytest.mark.parametrize(
    ("shape", "small"),
    [((1, 28, 28), (1, 28, 28)), ((3, 224, 200), (3, 56, 50)), ((2, 65, 8), (1, 33, 4))],
)
def test_large_images_are_thinned_out(shape: Any, small: Any) -> None:
    assert thumbnail(np.zeros(shape, np.uint8)).shape == small
