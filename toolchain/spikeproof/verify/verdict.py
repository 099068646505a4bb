"""Three-valued verdicts and how they combine."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Verdict(str, Enum):
    """What a check found; ``info`` is a measurement that is not judged."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    INFO = "info"

    def __str__(self) -> str:
        """Return the word that reports use."""
        return self.value


def combine(verdicts: Iterable[Verdict | str]) -> Verdict:
    """Return fail if anything fails, else inconclusive if anything is, else pass.

    Measurements (``info``) do not count. Nothing judged at all is inconclusive, never a pass.
    """
    judged = {Verdict(v) for v in verdicts} - {Verdict.INFO}
    if Verdict.FAIL in judged:
        return Verdict.FAIL
    if Verdict.INCONCLUSIVE in judged or not judged:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS


def judge_interval(low: float, high: float, floor: float, ceiling: float) -> Verdict:
    """Judge a confidence interval against a range: inside, outside, or neither."""
    if floor <= low and high <= ceiling:
        return Verdict.PASS
    if high < floor or low > ceiling:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE
