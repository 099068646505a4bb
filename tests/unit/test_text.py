"""Numbers agree with what they count."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from spikeproof.certify.overflow import Overflow
from spikeproof.reasons import Request, request_text
from spikeproof.text import counted, network_line
from spikeproof.verify.given import repeat_warnings
from spikeproof.verify.plausible import chance_warnings, pixel_warnings, useless_images

ROOT = Path(__file__).parents[2]
ONE = np.full((1, 1, 2, 2), 7, np.uint8)


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1000, "1,000 images")]
)
def test_a_count_of_one_is_singular(count: int, told: str) -> None:
    assert counted(count, "image") == told


def test_a_plural_may_be_another_word() -> None:
    assert [counted(n, "batch", "batches") for n in (1, 2)] == ["1 batch", "2 batches"]


def test_sentences_about_one_thing_are_about_one_thing() -> None:
    assert network_line("n", (1, 2, 2), 1) == "n, input 1×2×2, 1 timestep"
    assert repeat_warnings(2, 1)[0].startswith("1 of the 2 images repeats an earlier one")
    assert pixel_warnings(ONE)[0].startswith("the only image is blank (it has one grey level")
    assert pixel_warnings(0 * ONE)[0].startswith("the only image is black")
    assert useless_images(ONE).startswith("The only image is blank (it has")
    assert useless_images(ONE, 2).startswith("All 3 images are equal")
    two = np.stack([ONE[0], np.arange(4, dtype=np.uint8).reshape(1, 2, 2) * 60])
    assert pixel_warnings(two) == ["1 of the 2 images is blank (one grey level throughout)"]
    label = np.zeros(1, np.int64)
    assert "on 1 image: that is not" in chance_warnings(label + 1, label, 10)[0]


@pytest.mark.parametrize(
    ("given", "repeated", "told"),
    [
        (1, 1, "there was 1 different one, and 1 that repeats it"),
        (1, 9, "there was 1 different one, and 9 that repeat it"),
        (8, 1, "there were 8 different ones, and 1 that repeats one of them"),
        (8, 9, "there were 8 different ones, and 9 that repeat one of them"),
        (1, 0, "there was 1)"),
        (8, 0, "there were 8)"),
    ],
)
def test_images_that_are_asked_for_are_counted_in_good_english(
    given: int, repeated: int, told: str
) -> None:
    request = Request(part="pgd", needed=300, asked=300, given=given, held=given, repeated=repeated)
    assert told in request_text([request])


SOURCES = [p for root in ("toolchain", "models", "deploy") for p in (ROOT / root).rglob("*.py")]


def test_no_message_leaves_the_number_of_things_open() -> None:
    """``1 value(s)`` is for who did not count; :func:`counted` writes one value, two values."""
    assert len(SOURCES) > 300
    wrong = [
        f"{path.name}: {line.strip()}"
        for path in SOURCES
        for line in path.read_text().splitlines()
        if re.search(r"\} [\w ]*\w\((?:s|es)\)", line)
    ]
    assert wrong == []


def test_no_message_sends_the_reader_to_a_file_that_a_wheel_lacks() -> None:
    """A message names a page by its title; a docstring is for who has the sources."""
    wrong = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        inner = [n for n in ast.walk(tree) if isinstance(n, ast.Expr)]
        docstrings = {id(n.value) for n in inner}
        wrong += [
            f"{path.name}:{n.lineno}"
            for n in ast.walk(tree)
            if isinstance(n, ast.Constant) and "docs/" in str(n.value) and id(n) not in docstrings
        ]
    assert wrong == []


def test_messages_about_one_of_a_kind_are_in_the_singular() -> None:
    one = Overflow("l1", 1 << 24, 0, wrapped=1, values=4, samples=1)
    assert one.sentence.endswith("On the self-test's 1 sample 1 time (25.00%) u wrapped.")
