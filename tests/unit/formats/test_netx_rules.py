"""The integers lava-dl runs as written, and those it does not.

The expectations were taken from lava-dl 0.6.0 itself; tests/integration/test_lava_dl.py compares
the rule with an installed lava-dl over many more weights.
"""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.formats.netx.rules import dense_loads_unchanged, integers


@pytest.mark.parametrize(
    "weights",
    [
        [1, -1],
        [127, -128],
        [254, -256],
        [3, 255],
        [0, 127],
        [-3, -5],
        [-255, -1],
        [-127, 0],
        [-254, 0],
        [2, -4, 6],
        [129, -1],
    ],
)
def test_these_are_kept(weights: list[int]) -> None:
    assert dense_loads_unchanged(np.array([weights])) is None


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ([0, 0], "cannot load"),
        ([256, 2], "load other numbers"),
        ([255, -2], "load other numbers"),
        ([300, -2], "load other numbers"),
        ([-300, 2], "load other numbers"),
        ([-2, 0], "load other numbers"),
        ([-64, -3], "load other numbers"),
        ([-256, 0], "load other numbers"),
        ([-255, 0], "load other numbers"),
    ],
)
def test_these_would_be_changed(weights: list[int], reason: str) -> None:
    assert reason in (dense_loads_unchanged(np.array([weights])) or "kept")


@pytest.mark.parametrize(
    "values", [[0.5], [np.nan], [np.inf], [2.0**60], np.array([2**63], np.uint64), ["1"], [1j]]
)
def test_only_whole_numbers_of_sane_size_are_integers(values: list[object]) -> None:
    assert integers(np.array(values)) is None
    assert integers(np.array([1.0, -3.0])).tolist() == [1, -3]  # type: ignore[union-attr]
