"""V7 is inconclusive where the trained network's accuracy is not believable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verified import verified

from spikeproof.io.data import load_data
from spikeproof.io.known import DataRecord, describe, known_sets
from spikeproof.io.trained import Trained
from spikeproof.io.zoo import zoo_images
from spikeproof.verify.advice import Supply
from spikeproof.verify.plausible import (
    Expectation,
    calibration_warnings,
    chance_level,
    chance_warnings,
    data_warnings,
    pixel_warnings,
    plausibility,
    unproven,
)

OWN = DataRecord(samples=1000, held=1000, labels="other")
TRAINED_FASHION = Trained(
    next(k for k in known_sets() if (k.dataset, k.split) == ("fashion-mnist", "train")),
    accuracy=0.9184,
)
BALANCED = np.arange(1000) % 10


def fashion() -> DataRecord:
    return describe(*load_data(zoo_images(), (1, 28, 28)))


def judge(right: int, labels: Any = BALANCED, **known: Any) -> list[str]:
    expected = Expectation(**{"classes": 10, "data": OWN, **known})
    figures, reasons = plausibility(right, np.asarray(labels), expected, 0.05)
    assert figures.believable is (not reasons)
    assert all(r.verdict == "inconclusive" and r.try_ for r in reasons)
    return [r.sentence for r in reasons]


def test_labels_shifted_by_one_and_images_that_say_nothing_are_not_believed() -> None:
    assert "(against guessing among 10 classes) 0.50 % (limit: more than 10.00 %" in judge(5)[0]
    assert len(judge(5, data=fashion(), trained=TRAINED_FASHION)) == 2
    assert judge(1000, np.zeros(1000, int))  # all of one class: any constant answer is right


def warning(right: int, labels: Any, classes: int) -> str:
    figures, reasons = plausibility(right, np.asarray(labels), Expectation(classes, OWN), 0.05)
    assert figures.believable and not reasons
    return str(figures.warning)


def test_random_weights_at_fifteen_per_cent_are_not_believed_where_more_is_recorded() -> None:
    (told,) = judge(157, data=fashion(), trained=TRAINED_FASHION)
    assert (
        "when trained it was 91.84 % on held-out images; 5 points less are still believed" in told
    )
    assert "15.70 % (limit: at least 86.84 %" in told


def test_without_a_record_little_above_chance_is_a_warning_and_no_verdict() -> None:
    told = warning(157, BALANCED, 10)
    assert "accuracy is 15.70 % on 1,000 images, little above guessing among 10 classes" in told
    assert "below 32.50 % (a quarter of the way from there to 100 %)" in told
    assert "nothing is recorded from training, so this changes no verdict" in told
    assert judge(105)  # not shown to be above chance


def test_an_honest_network_on_data_without_a_record_is_believed() -> None:
    """92 % where one class holds 90 % of the images; 25 % on 100 classes."""
    skewed = np.array([0] * 900 + [1] * 100)
    assert "the most frequent label among these 1,000 images (90.00 %)" in warning(920, skewed, 2)
    assert "guessing among 100 classes (1.00 %)" in warning(250, np.arange(1000) % 100, 100)


def test_the_recorded_accuracy_counts_on_the_set_the_network_was_trained_on() -> None:
    known = {"data": fashion(), "trained": TRAINED_FASHION}
    assert judge(909, **known) == []
    assert judge(860, **known) == []  # within 5 points, or not shown to be outside
    assert "at least 86.84 %" in judge(700, **known)[0]
    weak = replace(TRAINED_FASHION, accuracy=0.28)
    assert judge(270, data=fashion(), trained=weak) == []


def test_far_below_what_was_recorded_is_not_believed_on_images_nobody_recognises() -> None:
    """A user's own split, with 60 % of the labels shifted: 34.5 % where training recorded 92 %."""
    for data in (TRAINED_FASHION.data, None):
        trained = replace(TRAINED_FASHION, data=data)
        assert judge(540, trained=trained) == []
        (told,) = judge(345, trained=trained)
        assert "91.84 % on held-out images; these images are none we recognise" in told
        assert "34.50 % (limit: at least 50.92 %" in told
    weak = replace(TRAINED_FASHION, data=None, accuracy=0.28)
    assert judge(250, trained=weak) == []
    assert judge(105, trained=replace(weak, accuracy=0.05))  # at chance whatever was recorded


def test_images_of_one_class_are_named_as_such() -> None:
    (told,) = judge(970, np.full(1000, 3))
    assert "against always giving the one label that these 1,000 images have" in told
    figures, (reason,) = plausibility(970, np.full(1000, 3), Expectation(10, OWN), 0.05)
    assert reason.try_.startswith("All labels are of one class") and not figures.believable
    (warned,) = chance_warnings(np.full(9, 3), np.full(9, 3), 10)
    assert warned.endswith("give images of several classes")


def test_few_images_say_how_many_would_do() -> None:
    expected = Expectation(10, OWN)
    _, reasons = plausibility(1, np.zeros(1, int), expected, 0.05)
    assert reasons[0].images == 1
    _, reasons = plausibility(2, np.arange(4), expected, 0.05)
    assert reasons[0].images_needed is not None
    assert "verify --set samples.accuracy=" in reasons[0].try_


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.zeros((40, 1, 2, 2)), ["all 40 images are black (every pixel is 0): "]),
        (np.full((40, 1, 2, 2), 9), ["all 40 images are blank (each has one grey level"]),
        (np.eye(4).reshape(4, 1, 2, 2), ["the brightest pixel of all images is 1 of 255"]),
        (
            255 * np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 1]).reshape(3, 1, 2, 2),
            ["2 of the 3 images are blank (one grey level throughout; 1 of them black)"],
        ),
        (200 * np.eye(4).reshape(4, 1, 2, 2), []),
    ],
)
def test_images_that_show_nothing_are_called_so(x: np.ndarray, told: list[str]) -> None:
    """Black images used to be called repeated, which they are, too, but that is not the trouble."""
    found = pixel_warnings(x.astype(np.uint8))
    assert len(found) == len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=True))
    assert calibration_warnings(x.astype(np.uint8))[: len(told)] == found


def test_guessing_the_most_frequent_class_is_chance() -> None:
    assert chance_level(np.array([3] * 90 + [1] * 10), 10) == 0.9
    assert chance_level(np.array([2_000_000_000, 1]), 10) == 0.5
    assert chance_level(BALANCED, 10) == pytest.approx(0.1)


def test_warnings_say_what_is_odd() -> None:
    one = np.array([[[[1, 2], [3, 4]]]], np.uint8)
    assert "calibrated on one image" in calibration_warnings(one)[0]
    assert "all the same" in calibration_warnings(np.repeat(one, 40, 0))[0]
    assert calibration_warnings(np.arange(160, dtype=np.uint8).reshape(40, 1, 2, 2)) == []
    assert chance_warnings(BALANCED, BALANCED, 10) == []
    assert chance_warnings(BALANCED, None, 10) == []
    few = chance_warnings(np.zeros(5), np.array([0, 0, 1, 2, 3]), 10)[0]
    assert "the most frequent label among these 5 images (40.00 %)" in few
    assert (
        "better than guessing among 10 classes"
        in chance_warnings(BALANCED, (BALANCED + 1) % 10, 10)[0]
    )
    mnist = replace_set(fashion(), "MNIST")
    assert (
        "trained on Fashion-MNIST, these images are MNIST"
        in data_warnings(mnist, TRAINED_FASHION)[0]
    )
    training = fashion().model_copy(update={"split": "train"})
    assert "which it was trained on" in data_warnings(training, TRAINED_FASHION)[0]
    assert data_warnings(training, TRAINED_FASHION, calibration=True) == []


def replace_set(found: DataRecord, name: str) -> DataRecord:
    return found.model_copy(update={"name": name})


def test_a_verification_with_shifted_labels_does_not_pass(
    case: Any, config: Any, perturb: Any, tmp_path: Path
) -> None:
    def run(y: Any, folder: str) -> Any:
        report = verified(replace(case, y=y), config, tmp_path / folder, perturb=perturb)
        return next(c for c in report["checks"] if c["id"] == "V7"), report

    good, _ = run(case.y, "good")
    assert good["verdict"] == "pass"
    assert good["data"]["plausibility"]["believable"]
    shifted, report = run((case.y + 1) % 3, "shifted")
    assert shifted["verdict"] == "inconclusive"
    assert report["verdict"] != "pass"
    assert "against always answering" in shifted["reasons"][0]["criterion"]
    assert "not believable" in shifted["summary"]
    assert report["provenance"]["data"]["recognised"] is False


def test_a_file_sorted_by_class_is_called_so() -> None:
    """The file has several classes; only those looked at are of one."""
    x = np.arange(160, dtype=np.uint8).reshape(40, 1, 2, 2)
    held = np.repeat(np.arange(10), 40)
    (told,) = calibration_warnings(x, held[:40], held)
    assert told.startswith("the first 40 of 400 images") and "shuffle the file" in told
    assert calibration_warnings(x, held[20:60], held) == []
    assert calibration_warnings(x, held[:40], held[:40]) == []  # there are no others
    (one,) = calibration_warnings(x[:1], held[:1], held)
    assert "of the 400 in the file (--calibration-samples)" in one and "class" not in one


def test_a_black_image_that_is_left_is_called_black_and_not_of_one_class() -> None:
    supply = Supply(1, 200, {"accuracy": 200}, 199, useless="All 200 images are black.")
    _, (reason,) = plausibility(1, np.zeros(1, int), Expectation(10, OWN), 0.05, supply)
    assert reason.try_ == "All 200 images are black." and reason.request is None
    assert "1 images" not in reason.criterion


ONE_CLASS_OF_TEN = [0] * 10 + [1, 2]


@pytest.mark.parametrize(
    ("right", "labels", "told"),
    [
        (12, ONE_CLASS_OF_TEN, "(10 of 12 labels are of one class)"),
        (12, [3] * 12, "All 12 labels are of one class, which any constant answer gets right"),
        (2, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "guessing among 10 classes (10 images only)"),
        (9, ONE_CLASS_OF_TEN, None),  # worse than guessing: not believable
    ],
)
def test_a_perfect_network_among_images_of_one_class_is_told_why_that_shows_nothing(
    right: int, labels: list[int], told: str | None
) -> None:
    given = np.asarray(labels)
    expected = Expectation(10, OWN)
    figures, reasons = plausibility(right, given, expected, 0.05)
    assert not figures.believable
    found = unproven(right, given, expected, reasons)
    assert (found == "") if told is None else (told in found), found


def test_less_than_was_recorded_is_not_called_too_few_images() -> None:
    expected = Expectation(10, fashion(), TRAINED_FASHION)
    _, reasons = plausibility(110, BALANCED, expected, 0.05)
    assert len(reasons) == 2 and unproven(110, BALANCED, expected, reasons) == ""
    _, none = plausibility(990, BALANCED, Expectation(10, OWN), 0.05)
    assert unproven(990, BALANCED, Expectation(10, OWN), none) == ""


def test_a_verification_on_one_class_says_so_in_its_summary(
    case: Any, config: Any, perturb: Any, tmp_path: Path
) -> None:
    one = case.y == np.bincount(case.y).argmax()
    of_one = replace(case, x=case.x[one], y=case.y[one])
    report = verified(of_one, config, tmp_path, perturb=perturb, calibration=None)
    told = next(c for c in report["checks"] if c["id"] == "V7")["summary"]
    assert f"All {one.sum():,} labels are of one class, which any constant answer" in told
    assert "equality shows nothing" in told and "not believable" not in told
