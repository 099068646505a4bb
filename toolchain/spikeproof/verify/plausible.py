"""Judge whether a network's accuracy is believable at all: above chance, and as it was trained.

Two networks that guess agree perfectly, and equality of their accuracies shows nothing. So V7 is
inconclusive where the trained network is not better than chance on the clean images, or far from
what its own checkpoint recorded: a few points on the same set, half of the way to chance on data
we do not recognise. Where nothing is recorded, an accuracy little above chance may be honest: that
is a warning and no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.document.values import Figure, Number, Record, Text
from spikeproof.io.known import DataRecord
from spikeproof.io.record import BundleRecord
from spikeproof.io.trained import NOTHING, Trained
from spikeproof.reasons import ALTERNATIVE, Reason
from spikeproof.text import ACCURACY_DECIMALS, accuracy_text, counted
from spikeproof.verify import statistics as st
from spikeproof.verify.advice import Supply, image_request, images_needed, more_images
from spikeproof.verify.responses import CLEAN
from spikeproof.verify.verdict import Verdict

SLACK = 0.05
"""Accuracy on other images of a set may honestly be this much (a share) below the held-out one."""
UNKNOWN = 0.5
"""On data we do not recognise an accuracy is believed from this share of the way between chance and
what was recorded. Below, images, labels or their order are more likely wrong than the network."""
FLOOR = 0.25
"""Without a record: warn below this share of the way from chance to certainty (32.5 % of ten)."""
FEW = 16
"""Fewer calibration images than this are warned about."""
_CRITERION = "accuracy of the trained network on clean images"


@dataclass(frozen=True)
class Expectation:
    """What is known beforehand: the number of classes, the data, and the training record."""

    classes: int
    data: DataRecord
    trained: Trained = NOTHING

    @property
    def recorded(self) -> float | None:
        """Return the recorded held-out accuracy, if the data are of the set trained on."""
        known = self.trained.data
        same = known is not None and self.data.recognised and known.name == self.data.name
        return self.trained.accuracy if same else None


class Plausibility(Record):
    """Is the trained network's clean accuracy believable? Shares in 0..1."""

    accuracy: Figure
    chance: Figure
    recorded: Number
    """When it was trained, on held-out images; None: not recorded for these data."""
    floor: Figure
    """The least that is believed, or without a record what is warned below."""
    warning: Text = ""
    believable: bool


def chance_level(labels: NDArray[Any], classes: int) -> float:
    """Return how often guessing is right: uniformly, or always the most frequent class."""
    most = int(np.unique(labels, return_counts=True)[1].max()) if len(labels) else 0
    return max(1 / max(classes, 1), most / max(len(labels), 1))


def above_chance(right: int, total: int, chance: float, alpha: float = 0.05) -> Verdict:
    """Test exactly whether ``right`` of ``total`` is more than guessing gives; never a fail."""
    better = total > 0 and st.share_above(right, total, chance) <= alpha
    return Verdict.PASS if better and chance < 1 else Verdict.INCONCLUSIVE


def plausibility(
    right: int,
    labels: NDArray[Any],
    expected: Expectation,
    alpha: float,
    supply: Supply | None = None,
) -> tuple[Plausibility, list[Reason]]:
    """Judge the clean accuracy of the trained network.

    Args:
        right: images classified correctly.
        labels: of the images shown, (N,).
        expected: what is known beforehand.
        alpha: error rate of each test.
        supply: the images there are; None: those shown are all.

    Returns:
        The figures, and a reason for every criterion that is not met.
    """
    total = len(labels)
    supply = supply or Supply(total, total, {"accuracy": total})
    chance = chance_level(labels, expected.classes)
    told = expected.trained.accuracy
    reasons, warning = [], ""
    if above_chance(right, total, chance, alpha) is not Verdict.PASS:
        reasons.append(_at_chance(right, total, chance, expected, alpha, supply))
    floor = _floor(chance, expected)
    _, highest = st.wilson_interval(right, total, 1 - alpha)
    if told is not None and highest < floor:
        reasons.append(_too_low(right, total, floor, told, expected))
    elif told is None and not reasons and right / total < floor:
        warning = _low_warning(right, total, floor, chance, expected)
    figures = Plausibility(
        accuracy=right / total,
        chance=chance,
        recorded=expected.recorded,
        floor=floor,
        warning=warning,
        believable=not reasons,
    )
    return figures, reasons


def unproven(right: int, labels: NDArray[Any], expected: Expectation, reasons: list[Reason]) -> str:
    """Say why an accuracy above that of guessing shows nothing yet.

    Empty where it is not above, or lower than was recorded; then it is not believable at all.
    reasons: of :func:`plausibility`, whose arguments the others are.
    """
    total = len(labels)
    chance = chance_level(labels, expected.classes)
    if any(r.relation != "more than" for r in reasons) or not reasons:
        return ""
    if chance == 1:
        those = f"All {total:,} labels are" if total > 1 else "The only label is"
        return f"{those} of one class, which any constant answer gets right"
    if right / total <= chance:
        return ""
    why = f"{counted(total, 'image')} only"
    if chance > 1 / max(expected.classes, 1):
        why = f"{round(chance * total):,} of {total:,} labels are of one class"
    return (
        "The trained network is not shown to be better than "
        f"{_guess(chance, total, expected.classes)} ({why})"
    )


def _floor(chance: float, expected: Expectation) -> float:
    """Return the least believable accuracy, or without a record what to warn below."""
    if expected.recorded is not None:
        return max(0.0, expected.recorded - SLACK)
    told = expected.trained.accuracy
    if told is None:
        return chance + FLOOR * (1 - chance)
    return min(chance, told) + UNKNOWN * max(0.0, told - chance)


def _at_chance(
    right: int, total: int, chance: float, expected: Expectation, alpha: float, supply: Supply
) -> Reason:
    share = right / total
    needed = None
    if chance < 1 and share > chance:
        needed = images_needed(lambda n: above_chance(int(share * n), n, chance, alpha), total)
    least, _ = st.exact_interval(right, total, 1 - 2 * alpha)
    advice = supply.useless or _other_data(expected)
    if chance == 1 and total == 1 and not supply.useless:
        advice = "There is one image only: give more, of several classes (--data, --limit)."
    elif (
        chance == 1 and not supply.useless
    ):  # as many images as you like of one class would show nothing
        advice = "All labels are of one class, which any constant answer gets right: give images "
        advice += "of several classes (--data)."
    if needed is not None and not supply.useless:
        advice = f"{more_images(needed, supply, 'accuracy')}{ALTERNATIVE}{advice}"
    return Reason(
        verdict="inconclusive",
        perturbation=CLEAN,
        criterion=f"{_CRITERION} (against {_guess(chance, total, expected.classes)})",
        value=100 * share,
        decimals=ACCURACY_DECIMALS,
        relation="more than",
        limit=100 * chance,
        unit="%",
        images=total,
        interval=(100 * least, None) if share > chance else None,
        images_needed=None if needed is None else needed.images,
        would=None if needed is None else needed.would,
        try_=advice,
        request=image_request(needed, supply, "accuracy"),
    )


def _guess(chance: float, total: int, classes: int) -> str:
    """Say what kind of guessing is meant."""
    if chance == 1 and total == 1:
        return "always giving the one label that this image has"
    if chance == 1:
        return f"always giving the one label that these {total:,} images have"
    if chance > 1 / max(classes, 1):
        return f"always answering the most frequent label among these {total:,} images"
    return f"guessing among {classes} classes"


def _low_warning(right: int, total: int, floor: float, chance: float, expected: Expectation) -> str:
    return (
        f"accuracy is {accuracy_text(right / total)} on {counted(total, 'image')}, little above "
        f"{_guess(chance, total, expected.classes)} ({accuracy_text(chance)}); nothing is recorded "
        f"from training, so this changes no verdict, but below {accuracy_text(floor)} (a quarter "
        "of the way from there to 100 %) check that images, labels and their order are those the "
        "network was trained on"
    )


def _too_low(right: int, total: int, floor: float, told: float, expected: Expectation) -> Reason:
    against = f"when trained it was {accuracy_text(told)} on held-out images; " + (
        f"{100 * SLACK:g} points less are still believed"
        if expected.recorded is not None
        else "these images are none we recognise, so half as far above guessing is still believed"
    )
    return Reason(
        verdict="inconclusive",
        criterion=f"{_CRITERION} ({against})",
        perturbation=CLEAN,
        value=100 * right / total,
        decimals=ACCURACY_DECIMALS,
        relation="at least",
        limit=100 * floor,
        unit="%",
        images=total,
        try_=_other_data(expected),
    )


def _other_data(expected: Expectation) -> str:
    data = expected.data
    if data.labels == "other" and data.recognised:
        return f"The labels are not those of {data.name}: check their order, or use its own."
    known = expected.trained.data
    if known is not None and known.name != data.name:
        return (
            f"The network was trained on {known.name}, these images are "
            f"{data.name or 'no set we recognise'}: give images of {known.name} (--data)."
        )
    return (
        "Give images and labels of the kind the network was trained on (--data), in its order "
        "of classes; a network that is hardly better than guessing shows nothing about accuracy."
    )


def pixel_warnings(x: NDArray[np.uint8]) -> list[str]:
    """Warn about images (N, C, H, W) that show nothing: black, of one grey level, or hardly lit."""
    flat = x.reshape(len(x), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    blank, black = int((low == high).sum()), int((high == 0).sum())
    shows = "a network cannot be judged by them"
    those = f"all {len(x):,} images are" if len(x) > 1 else "the only image is"
    if black == len(x):
        return [f"{those} black (every pixel is 0): {shows}"]
    if blank == len(x):
        each = "each has" if len(x) > 1 else "it has"
        return [f"{those} blank ({each} one grey level throughout): {shows}"]
    found = []
    if blank:
        of_these = f"; {black:,} of them black" if black else ""
        found.append(
            f"{blank:,} of the {len(x):,} images {'is' if blank == 1 else 'are'} blank (one grey "
            f"level throughout{of_these})"
        )
    if int(high.max()) <= 1:
        found.append(
            "the brightest pixel of all images is 1 of 255, so they are nearly black: if 1 was "
            "meant to be white, store them as floats, or as x * 255"
        )
    return found


def useless_images(x: NDArray[np.uint8], repeated: int = 0) -> str:
    """Say why images show nothing however many there are, and what to give; empty where they may.

    x: different images (N, C, H, W). repeated: how many more there were that repeat one of them.
    """
    count = len(x) + repeated
    if not len(x):
        return ""
    flat = x.reshape(len(x), -1)
    if int(flat.max()) == 0:
        what = "black (every pixel is 0)"
    elif len(x) == 1 and repeated:
        what = "equal"
    elif bool((flat == flat[:, :1]).all()):
        each = "each has" if count > 1 else "it has"
        what = f"blank ({each} one grey level throughout)"
    else:
        return ""
    those = f"All {count:,} images are" if count > 1 else "The only image is"
    return f"{those} {what}, which shows nothing about a network: give its test images (--data)."


def calibration_warnings(
    x: NDArray[np.uint8], y: NDArray[Any] | None = None, held: NDArray[Any] | None = None
) -> list[str]:
    """Warn about too few calibration images, or images that show nothing or are all the same.

    y: their labels. held: the labels of all images in the file, of which they are the first.
    """
    found = pixel_warnings(x)
    more = 0 if held is None else len(held)
    if len(x) < FEW:
        count = "one image" if len(x) == 1 else counted(len(x), "image")
        give = "give some hundreds"
        if more > len(x):
            give = f"use some hundreds of the {more:,} in the file (--calibration-samples)"
        found.append(f"calibrated on {count}: the scales may not fit others; {give}")
    elif y is not None and held is not None and (y == y[0]).all() and (held != y[0]).any():
        found.append(
            f"the first {len(y):,} of {more:,} images, which are those used, are of one class: "
            "shuffle the file"
        )
    elif bool((x == x[:1]).all()):
        found.append("the calibration images are all the same: the scales will not fit others")
    return found


def recorded_calibration_warnings(record: BundleRecord) -> list[str]:
    """Warn about a bundle that was calibrated on very few images, by its record."""
    count = FEW if record.calibration is None else record.calibration.samples
    if count >= FEW:
        return []
    images = "one image" if count == 1 else counted(count, "image")
    return [f"the bundle was calibrated on {images}: its scales may not fit others"]


def chance_warnings(
    predictions: NDArray[Any], labels: NDArray[Any] | None, classes: int, what: str = ""
) -> list[str]:
    """Warn where predictions are right no more often than guessing would be."""
    if labels is None or not len(labels):
        return []
    right, total = int((predictions == labels).sum()), len(labels)
    chance = chance_level(labels, classes)
    if above_chance(right, total, chance) is Verdict.PASS:
        return []
    doubt = "give images of several classes"
    if chance < 1:
        doubt = "are these the data this network was trained for?"
    return [
        f"accuracy{what} is {accuracy_text(right / total)} on {counted(total, 'image')}: that is "
        f"not shown to be better than {_guess(chance, total, classes)} ({accuracy_text(chance)}); "
        f"{doubt}"
    ]


def data_warnings(
    data: DataRecord, trained: Trained = NOTHING, *, calibration: bool = False
) -> list[str]:
    """Warn about labels that are not the set's, another set than trained on, training images.

    ``calibration``: they only set scales, for which training images are the right ones.
    """
    known, found = trained.data, []
    if data.recognised and data.labels == "other":
        found.append(f"the labels are not those of {data.name}")
    if known is not None and data.recognised and known.name != data.name:
        found.append(f"the network was trained on {known.name}, these images are {data.name}")
    seen = known is not None and (known.name, known.split) == (data.name, data.split)
    if seen and not calibration:
        found.append(f"these are images of {data.name} {data.split}, which it was trained on")
    return found
