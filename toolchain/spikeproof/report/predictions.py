"""Show what both networks answer: example images, and which classes they take for which."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections import Counter
from dataclasses import dataclass

from spikeproof.document import numbers as n
from spikeproof.document.shown import Head, Table, by_columns
from spikeproof.text import counted
from spikeproof.verify.checks.accuracy import Accuracy
from spikeproof.verify.document import Report
from spikeproof.verify.examples import Example, View

MOST_CLASSES = 20
"""A larger confusion matrix cannot be read; the confusions are listed instead."""
MOST_LISTED = 12
_MOST_SIDE = 512
_KINDS = {
    "both right": "Both networks are right throughout",
    "both misled": "A perturbation misleads both networks",
    "networks disagree": "The networks disagree",
}


def class_name(report: Report, index: int | None) -> str:
    """Return the name of a class, or its number where no names are known."""
    if index is None:
        return n.MISSING
    data = report.provenance.data
    names = data.classes if data is not None else ()
    return names[index] if 0 <= index < len(names) else f"class {index}"


# --- example images ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What one network says about one image, and whether that is right."""

    network: str
    word: str
    right: bool


@dataclass(frozen=True)
class Picture:
    """One image as a data URI (empty if it cannot be drawn), its caption and both answers."""

    caption: str
    uri: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Strip:
    """One image of the data set, clean and perturbed."""

    title: str
    image: str
    label: str
    pictures: tuple[Picture, ...]


def strips(report: Report) -> list[Strip]:
    """Return the example images of the report."""
    found = report.result(Accuracy).examples
    return [_strip(report, example) for example in found if example.views]


def _strip(report: Report, example: Example) -> Strip:
    pictures = tuple(_picture(report, view, example.label) for view in example.views)
    title = _KINDS.get(example.kind, example.kind)
    return Strip(title, n.integer(example.image), class_name(report, example.label), pictures)


def _picture(report: Report, view: View, label: int | None) -> Picture:
    strength = f" {view.strength:g}/255" if view.strength else ""
    answers = tuple(
        Answer(network, class_name(report, said), said == label)
        for network, said in (("trained", view.trained), ("chip", view.chip))
    )
    return Picture(view.perturbation + strength, png_uri(view.shape, view.pixels), answers)


def png_uri(shape: list[int], pixels: str) -> str:
    """Return an image of uint8 (1 or 3, H, W), given in base64, as a PNG data URI; "" if unusable.

    A PNG row is a filter byte (0: none) and the pixels; source: PNG specification, section 9.
    """
    if len(shape) != 3 or shape[0] not in (1, 3) or not all(0 < s <= _MOST_SIDE for s in shape):
        return ""
    try:
        raw = base64.b64decode(pixels, validate=True)
    except (binascii.Error, ValueError):
        return ""
    channels, height, width = shape
    if len(raw) != channels * height * width:
        return ""
    area = height * width
    rows = bytearray()
    for start in range(0, area, width):
        rows.append(0)
        for pixel in range(start, start + width):
            rows += bytes(raw[c * area + pixel] for c in range(channels))
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b"")
    png = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# --- which class is taken for which ---------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """Images of one class that the chip network puts into one class."""

    count: int
    change: int
    """Against the trained network."""
    share: float
    """Of all images of the true class."""
    right: bool

    @property
    def moved(self) -> str:
        """Write the change with its sign; empty where there is none."""
        return f"{self.change:+d}".replace("-", "\N{MINUS SIGN}") if self.change else ""


@dataclass(frozen=True)
class ConfusionRow:
    """One true class."""

    name: str
    cells: tuple[Cell, ...]
    images: int
    trained_right: str
    chip_right: str


@dataclass(frozen=True)
class Confusion:
    """The chip network's confusion matrix on clean images, with the change against the trained."""

    names: tuple[str, ...]
    rows: tuple[ConfusionRow, ...]
    images: str


def _said(report: Report) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """Count the images by (true class, answer): of the trained network, and of the chip."""
    in_trained: Counter[tuple[int, int]] = Counter()
    in_chip: Counter[tuple[int, int]] = Counter()
    for truth, trained, chip, count in report.result(Accuracy).predictions:
        in_trained[truth, trained] += count
        in_chip[truth, chip] += count
    return in_trained, in_chip


def confusion(report: Report) -> Confusion | None:
    """Return the confusion matrix; None without predictions or with too many classes."""
    found = report.result(Accuracy).predictions
    classes = sorted({c for truth, trained, chip, _ in found for c in (truth, trained, chip)})
    if not found or len(classes) > MOST_CLASSES:
        return None
    in_trained, in_chip = _said(report)
    rows = []
    for truth in classes:
        images = sum(in_chip[truth, said] for said in classes)
        cells = tuple(
            Cell(
                in_chip[truth, said],
                in_chip[truth, said] - in_trained[truth, said],
                in_chip[truth, said] / images if images else 0.0,
                said == truth,
            )
            for said in classes
        )
        right = [
            n.percent(c[truth, truth] / images if images else None) for c in (in_trained, in_chip)
        ]
        rows.append(ConfusionRow(class_name(report, truth), cells, images, *right))
    names = tuple(class_name(report, c) for c in classes)
    return Confusion(names, tuple(rows), n.integer(sum(row.images for row in rows)))


def disagreement_table(report: Report) -> Table:
    """List the clean images to which the two networks give different classes."""
    found = report.result(Accuracy).predictions
    differ = sorted((row for row in found if row[1] != row[2]), key=lambda row: (-row[3], row))
    total, images = (sum(row[3] for row in rows) for rows in (differ, found))
    caption = f"Where the networks differ: {total:,} of {counted(images, 'clean image')}"
    if len(differ) > MOST_LISTED:
        caption += f" (the {MOST_LISTED} most frequent cases of {n.integer(len(differ))})"
    return by_columns(
        caption,
        differ[:MOST_LISTED],
        (Head("true class", "name"), lambda row: class_name(report, row[0])),
        (Head("trained network says", "text"), lambda row: class_name(report, row[1])),
        (Head("chip network says", "text"), lambda row: class_name(report, row[2])),
        (Head("right is", "text"), _right),
        (Head("images"), lambda row: n.integer(row[3])),
    )


def _right(row: tuple[int, int, int, int]) -> str:
    truth, trained, chip, _ = row
    return "trained" if trained == truth else "chip" if chip == truth else "neither"


def mistake_table(report: Report) -> Table:
    """List the most frequent mistakes, where there are too many classes for a matrix."""
    if confusion(report) is not None:
        return Table("", (), ())
    in_trained, in_chip = _said(report)
    wrong = [k for k in in_chip + in_trained if k[0] != k[1]]
    wrong.sort(key=lambda k: (-in_chip[k] - in_trained[k], k))
    return by_columns(
        "Most frequent mistakes on clean images",
        wrong[:MOST_LISTED],
        (Head("true class", "name"), lambda k: class_name(report, k[0])),
        (Head("taken for", "text"), lambda k: class_name(report, k[1])),
        (Head("by trained", unit="images"), lambda k: str(in_trained[k])),
        (Head("by chip", unit="images"), lambda k: str(in_chip[k])),
    )
