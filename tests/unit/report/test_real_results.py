"""Reports of real runs: everything a reader is to find is there, and equals the JSON.

``real/report.json`` is what ``spikeproof demo`` writes; ``real/report-schema-1.json`` what it wrote
before the report was one typed model, and ``real/report-0.1.json`` as version 0.1 wrote it, without
date, data set, predictions, examples, chip needs and operations.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.document import numbers as n
from spikeproof.report.card import render_card
from spikeproof.report.html import render_html
from spikeproof.report.predictions import confusion, png_uri
from spikeproof.verify.document import parse_report

REAL = Path(__file__).parent / "real"


def load(name: str) -> Any:
    return json.loads((REAL / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def raw() -> Any:
    return load("report.json")


@pytest.fixture(scope="module")
def page(raw: Any) -> str:
    return render_html(raw)


def accuracy(raw: Any) -> Any:
    return next(c for c in raw["checks"] if c["id"] == "V7")["data"]


def decode(uri: str) -> Any:
    """Read a PNG of 8-bit grey or RGB pixels, unfiltered rows."""
    blob = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert blob[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(blob):
        (size,) = struct.unpack(">I", blob[at : at + 4])
        kind, body = blob[at + 4 : at + 8], blob[at + 8 : at + 8 + size]
        assert struct.unpack(">I", blob[at + 8 + size : at + 12 + size])[0] == zlib.crc32(
            kind + body
        )
        chunks[kind], at = body, at + 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    channels = {0: 1, 2: 3}[colour]
    assert depth == 8
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert (rows[:, 0] == 0).all()
    return rows[:, 1:].reshape(height, width, channels).transpose(2, 0, 1)


def test_the_page_says_when_and_on_which_data(raw: Any, page: str) -> None:
    when = parse_report(raw).finished
    assert when is not None
    assert f"{when.day} {when:%B %Y}" in page
    assert "Fashion-MNIST test, 1,000 images" in page
    assert raw["provenance"]["data"]["sha256"][:8] not in ("", None)


def test_every_example_image_is_shown_with_both_answers(raw: Any, page: str) -> None:
    names = raw["provenance"]["data"]["classes"]
    uris = re.findall(r'<img src="([^"]+)"', page)
    views = [v for e in accuracy(raw)["examples"] for v in e["views"]]
    assert len(uris) == len(views) >= 8
    for uri, view in zip(uris, views, strict=True):
        pixels = np.frombuffer(base64.b64decode(view["pixels"]), np.uint8)
        assert (decode(uri) == pixels.reshape(view["shape"])).all()
        assert names[view["trained"]] in page and names[view["chip"]] in page


def test_the_confusion_matrix_adds_up_to_both_accuracies(raw: Any, page: str) -> None:
    found = confusion(parse_report(raw))
    assert found is not None
    clean = accuracy(raw)["rows"][0]
    right = sum(c.count for row in found.rows for c in row.cells if c.right)
    before = right - sum(c.change for row in found.rows for c in row.cells if c.right)
    assert sum(row.images for row in found.rows) == clean["samples"]
    assert right / clean["samples"] == pytest.approx(clean["chip_accuracy"])
    assert before / clean["samples"] == pytest.approx(clean["float_accuracy"])
    assert all(sum(c.change for c in row.cells) == 0 for row in found.rows)
    assert list(found.names) == raw["provenance"]["data"]["classes"]
    differ = sum(k for _, trained, chip, k in accuracy(raw)["predictions"] if trained != chip)
    assert f"Where the networks differ: {differ} of {n.integer(clean['samples'])}" in page


def test_chip_needs_and_operations_are_those_of_the_json(raw: Any, page: str) -> None:
    network = raw["network"]
    assert {row["chip"] for row in network["chip_fit"]} == {"Loihi 1", "Loihi 2"}
    for row in network["chip_fit"]:
        assert row["resource"] in page and n.integer(row["available"]) in page
    for row in network["operations"]:
        assert n.integer(row["synaptic"]) in page
    assert n.integer(sum(row["synaptic"] for row in network["operations"])) in page


def test_limits_stand_beside_the_values(raw: Any, page: str) -> None:
    limits = raw["provenance"]["suite"]["mppd"]
    assert f"limit ≤ {100 * limits['median_difference']:.0f}" in page
    assert f"limit ≤ {100 * limits['p99_difference']:.0f}" in page
    assert f"limit ≥ {limits['spearman']:g}" in page
    assert f"limit {limits['ratio'][0]:g} to {limits['ratio'][1]:g}" in page
    assert re.search(r"largest change of accuracy \([^)]*\); allowed: ±", page)


def test_one_name_per_thing(raw: Any, page: str) -> None:
    for text in (page, render_card(raw)):
        assert not re.search(r"perturbation distance|broken alike|v-units|adds up", text)


@pytest.mark.parametrize("name", ["report.json", "report-schema-1.json", "report-0.1.json"])
def test_real_reports_of_every_version_are_drawn(name: str) -> None:
    text = render_html(load(name))
    assert not re.search(r">(nan|None|inf)<", text)
    assert "Pass" in text and len(text.encode()) < 600_000
    assert render_card(load(name)).startswith("<!-- spikeproof card -->\n## fmnist")


def test_a_report_of_version_0_1_says_what_it_does_not_hold() -> None:
    text = render_html(load("report-0.1.json"))
    assert "reports of version 0.1 hold no predictions" in text
    assert "written before chip needs and operations were recorded" in text
    assert "<dt>Date</dt>" not in text


def test_classes_without_names_are_numbered(raw: Any) -> None:
    nameless = json.loads(json.dumps(raw))
    nameless["provenance"]["data"] = None
    assert "class 9" in render_html(nameless)


def test_many_classes_give_a_list_of_mistakes_instead_of_a_matrix(raw: Any) -> None:
    many = json.loads(json.dumps(raw))
    accuracy(many)["predictions"] = [[i, i, i, 3] for i in range(40)] + [[7, 7, 8, 2]]
    text = render_html(many)
    assert confusion(parse_report(many)) is None
    assert "Most frequent mistakes on clean images" in text
    assert "Where the networks differ: 2 of 122 clean images" in text


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        ([1, 2, 2], "AAA"),
        ([1, 2, 2], "AAAA"),
        ([2, 1, 1], "AAA="),
        ([1, 0, 4], ""),
        ([], ""),
        ([1, 99999, 99999], "AAAA"),
        ([1, 2, 2], "<b>"),
    ],
)
def test_pixels_that_are_no_image_are_left_out(shape: list[int], pixels: str) -> None:
    assert png_uri(shape, pixels) == ""


def test_colour_images_keep_their_colours() -> None:
    image = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)
    assert (decode(png_uri([3, 2, 4], base64.b64encode(image.tobytes()).decode())) == image).all()
