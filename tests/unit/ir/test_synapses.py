"""What a synapse says of itself: sizes, sums, copies."""

from __future__ import annotations

import numpy as np

from spikeproof.ir.chip import ConvSynapse, DenseSynapse

DENSE = DenseSynapse(np.arange(15, dtype=np.int16).reshape(3, 5), "excitatory")
GROUPED = ConvSynapse(np.ones((4, 3, 2, 5), np.int16), "excitatory", groups=2)
"""Two groups of three channels each: (4, 6 / 2, 2, 5)."""


def test_a_sum_has_as_many_weights_as_one_row_of_the_matrix() -> None:
    assert DENSE.fan_in == DENSE.rows.shape[1] == 5
    assert GROUPED.fan_in == GROUPED.rows.shape[1] == 3 * 2 * 5


def test_unfolded_values_are_those_of_all_windows_of_a_step() -> None:
    assert DENSE.unfolded(3) == 0
    shape = GROUPED.output_shape((6, 7, 9))
    assert shape == (4, 6, 5)
    windows = 6 * 5
    assert GROUPED.unfolded(4 * windows) == windows * 6 * 2 * 5


def test_a_copy_has_other_values_only_where_told() -> None:
    other = DENSE.changed(exponent=3)
    assert (other.exponent, other.sign) == (3, "excitatory")
    assert other.weight is DENSE.weight
    assert DENSE.exponent == 0
