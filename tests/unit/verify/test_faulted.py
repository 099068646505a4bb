"""What is said of faults: intervals over draws and images, and draws that give no network."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.errors import InputError
from spikeproof.verify.faulted import _struck, faults_of
from spikeproof.verify.statistics import PairedCounts, crossed_interval, tango_interval


def test_without_a_difference_it_is_the_score_interval_of_one_draw() -> None:
    right = np.ones((5, 200), bool)
    assert crossed_interval(right, right) == tango_interval(PairedCounts(200, 0, 0))


def test_one_draw_is_at_least_the_score_interval_of_its_pairs() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 1, 300)) < np.array([0.9, 0.8])[:, None, None]
    low, high = crossed_interval(first, second)
    only = int((first & ~second).sum()), int((second & ~first).sum())
    least = tango_interval(PairedCounts(300, *only))
    assert low <= least[0] < (only[0] - only[1]) / 300 < least[1] <= high


def test_it_holds_the_true_difference_where_draws_and_images_both_vary() -> None:
    """A difference that depends on the draw, as dead neurons' does: images alone say too much."""
    rng = np.random.default_rng(1)
    held = narrow = 0
    for _ in range(200):
        shift = 0.1 + 0.08 * rng.standard_normal((8, 1))  # of each draw; 0.1 in truth
        hard = rng.random((1, 100)) < 0.5
        first = np.ones((8, 100), bool)
        second = ~((rng.random((8, 100)) < 2 * np.clip(shift, 0, 0.5)) & hard)
        low, high = crossed_interval(first, second, resamples=500)
        held += low <= 0.1 <= high
        narrow += high - low < 0.02
    assert held >= 186 and narrow == 0  # 93 %


def test_outcomes_that_are_not_paired() -> None:
    with pytest.raises(InputError, match="not paired"):
        crossed_interval(np.ones((2, 3), bool), np.ones((3, 2), bool))
    with pytest.raises(InputError, match="not paired"):
        crossed_interval(np.ones((0, 3), bool), np.ones((0, 3), bool))


def test_draws_that_give_no_legal_network_are_told_and_not_counted() -> None:
    run = {"trained": [1, 1, 0, 0], "chip": [1, 0, 0, 0]}
    refused = {"refused": "a sum can reach 1"}
    found = _struck("dead", 0.5, "50 %", [run, refused, refused])
    assert (found.draws, found.trained, found.chip, found.difference) == (1, 0.5, 0.25, -0.25)
    assert found.refused == ["a sum can reach 1"] and found.chip_range == (0.25, 0.25)
    none = _struck("dead", 0.5, "50 %", [refused])
    assert none.draws == 0 and none.trained is None and none.interval is None


def test_kinds_have_rates_of_their_own_and_each_is_tried_once() -> None:
    found = faults_of(["dead", "worst-bits", "dead"], [])
    assert [(one.kind, one.rate) for one in found] == [
        ("dead", 0.05),
        ("dead", 0.2),
        ("dead", 0.5),
        ("worst-bits", 1),
        ("worst-bits", 4),
        ("worst-bits", 16),
    ]
    assert [one.rate for one in faults_of(["dead"], [0.1, 0.1, 0])] == [0.1, 0]
