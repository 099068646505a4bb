"""The number of images a reason names is what the statistics need, not a guess."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from spikeproof.verify import statistics as st
from spikeproof.verify.advice import images_needed
from spikeproof.verify.verdict import Verdict


def _quantile(above: int, used: int, share: float = 0.01) -> Callable[[int], Verdict]:
    def at(images: int) -> Verdict:
        count = math.ceil(above * images / used)
        if st.share_below(count, images, share) <= 0.05:
            return Verdict.PASS
        return (
            Verdict.FAIL if st.share_above(count, images, share) <= 0.05 else Verdict.INCONCLUSIVE
        )

    return at


@pytest.mark.parametrize("used", [20, 100, 298])
def test_a_99th_percentile_without_exceptions_needs_299_images(used: int) -> None:
    """1 - .05 ** (1 / n) <= .01 from n = 299 on."""
    needed = images_needed(_quantile(0, used), used)
    assert needed is not None and (needed.images, needed.would) == (299, "pass")


def test_what_is_named_decides_and_one_image_less_does_not() -> None:
    at = _quantile(2, 600)
    needed = images_needed(at, 600)
    assert needed is not None and needed.would == "pass"
    assert at(needed.images) is Verdict.PASS
    assert at(needed.images - 1) is Verdict.INCONCLUSIVE


def test_images_that_would_show_a_failure_are_counted_as_such() -> None:
    needed = images_needed(_quantile(2, 100), 100)
    assert needed is not None and needed.would == "fail"


def test_a_rate_equal_to_its_limit_is_never_decided() -> None:
    assert images_needed(_quantile(10, 1000), 1000) is None


def test_equivalence_within_a_margin_agrees_with_the_textbook() -> None:
    """N = (z + z)^2 q / delta^2 for power .5 is z^2 q / delta^2: balanced discordant pairs."""
    used, only, margin = 200, 10, 0.02

    def at(images: int) -> Verdict:
        count = math.ceil(only * images / used)
        return st.tost(st.PairedCounts(images, count, count), margin).verdict

    needed = images_needed(at, used)
    assert needed is not None
    assert needed.images == pytest.approx(1.645**2 * 0.1 / margin**2, rel=0.05)
