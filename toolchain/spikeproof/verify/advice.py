"""Say how many images would decide what these do not, and what to try."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from spikeproof.reasons import Request, request_text
from spikeproof.verify.verdict import Verdict

_MOST_IMAGES = 1_000_000
_GROWTH = 1.1
CONVERSION = (
    "Look in the report where errors arise (V4) and convert anew, with more calibration images "
    "(convert --calibration) or the other input coding (convert --input-coding bias or graded)"
)


@dataclass(frozen=True)
class Needed:
    """How many images would decide a criterion if they were like those used, and how if known."""

    images: int
    would: Literal["pass", "fail"] | None


def images_needed(at: Callable[[int], Verdict], used: int) -> Needed | None:
    """Return the smallest number of images above ``used`` that is found to decide a criterion.

    ``at`` gives the verdict if a number of images showed the same rates and spreads as those
    used. None: even a million would not decide it.
    """
    undecided, tried = used, used
    while tried < _MOST_IMAGES:
        tried = min(math.ceil(tried * _GROWTH) + 1, _MOST_IMAGES)
        if at(tried) is not Verdict.INCONCLUSIVE:
            return _narrow(at, undecided, tried)
        undecided = tried
    return None


def _narrow(at: Callable[[int], Verdict], undecided: int, decided: int) -> Needed:
    while decided - undecided > 1:
        middle = (undecided + decided) // 2
        if at(middle) is Verdict.INCONCLUSIVE:
            undecided = middle
        else:
            decided = middle
    return Needed(decided, "pass" if at(decided) is Verdict.PASS else "fail")


@dataclass(frozen=True)
class Supply:
    """The images a run has: those given to it, and those in the file they come from.

    Args:
        given: images used at most, after ``--limit``.
        held: images in the file.
        asked: how many each part of the suite uses if there are as many, ``{"gaussian": 400}``.
        repeated: images that were left out because they repeat an earlier one.
    """

    given: int
    held: int
    asked: Mapping[str, int]
    repeated: int = 0


def image_request(needed: Needed | None, supply: Supply, part: str) -> Request | None:
    """Return the images a comparison should be given; None where more do not help.

    ``part``: the suite's name of the comparison, ``gaussian``.
    """
    if needed is None or needed.would == "fail":
        return None
    return Request(
        part=part,
        needed=needed.images,
        given=supply.given,
        held=supply.held,
        asked=supply.asked[part],
        repeated=supply.repeated,
    )


def more_images(needed: Needed | None, supply: Supply, part: str) -> str:
    """Say which options give a comparison the images it needs, or what else would decide it."""
    if needed is None:
        return (
            "This is so close to the limit that not even a million images like these would decide "
            "it. Change the conversion, or the limit (verify --set; verify --dry-run names it)."
        )
    if needed.would == "fail":
        return f"These images point to a failure, which more like them would show. {CONVERSION}."
    request = image_request(needed, supply, part)
    assert request is not None
    return request_text([request])
