"""Say how many images would decide what these do not, and what to try."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from spikeproof.io.record import TableRow
from spikeproof.reasons import Request, request_text
from spikeproof.verify.verdict import Verdict

_MOST_IMAGES = 1_000_000
_GROWTH = 1.1
_LOOK = "Look in the report where errors arise (V4) and convert anew"
CONVERSION = (
    f"{_LOOK}, with more calibration images (convert --calibration-samples; 512 of the file by "
    "default)"
)
"""What to change where nothing is known of how the bundle was made."""
_OTHER = {"bias": "graded", "graded": "bias"}
_FULL_WEIGHTS = 8


def conversion_advice(
    rows: Iterable[TableRow], samples: int, weight_bits: int, held: int | None = None
) -> str:
    """Say what to convert differently, given how it was converted.

    rows: of the conversion's table; the first layer's coding is the input's. samples: calibration
    images used, at most. weight_bits: of the weights on the chip. held: calibration images in
    their file; None: not known.
    """
    ways = []
    if weight_bits < _FULL_WEIGHTS:
        ways.append(f"with finer weights (convert --weight-bits 8; it used {weight_bits})")
    ways.append(f"with more calibration images ({_more_calibration(samples, held)})")
    first = next(iter(rows), None)
    used = "" if first is None else first.coding
    tried = () if first is None else first.coding_flip_rates or ()
    if used in _OTHER and len(tried) < len(_OTHER):
        other = _OTHER[used]
        ways.append(f"with the other input coding (convert --input-coding {other}; it used {used})")
    *most, last = ways
    told = f"{_LOOK}, " + (", ".join(most) + " or " if most else "") + last
    if used in _OTHER and len(tried) >= len(_OTHER):
        told += f"; of both input codings it chose {used}, which flips fewer spikes"
    return told


def _more_calibration(samples: int, held: int | None) -> str:
    """Name the option that gives more: no number of samples takes more than the file holds."""
    if held is None:
        return f"convert --calibration-samples; it used the first {samples:,} of the file at most"
    if samples < held:
        return f"convert --calibration-samples; it used the first {samples:,} of {held:,}"
    only = "the only one" if held == 1 else f"all {held:,}"
    more = f"it used {only} of the file: give a file with more, convert --calibration"
    return more + (", and --calibration-samples" if samples == held else "")


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
        conversion: what to convert differently, as :func:`conversion_advice` says it.
        useless: why no number of images like these shows anything, and what to give instead; empty
            where they can show something.
    """

    given: int
    held: int
    asked: Mapping[str, int]
    repeated: int = 0
    conversion: str = CONVERSION
    useless: str = ""


def image_request(needed: Needed | None, supply: Supply, part: str) -> Request | None:
    """Return the images a comparison should be given; None where more do not help.

    ``part``: the suite's name of the comparison, ``gaussian``.
    """
    if needed is None or needed.would == "fail" or supply.useless:
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
    if supply.useless:
        return supply.useless
    if needed is None:
        return (
            "This is so close to the limit that not even a million images like these would decide "
            "it. Change the conversion, or the limit (verify --set; verify --dry-run names it)."
        )
    if needed.would == "fail":
        points = "These images point to a failure, which more like them would show."
        return f"{points} {supply.conversion}."
    request = image_request(needed, supply, part)
    assert request is not None
    return request_text([request])
