"""What a population answers about its own numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikeproof.ir.chip import (
    ChipLayer,
    Connection,
    DenseSynapse,
    GeneralLifNeuron,
    LifNeuron,
    TableLifNeuron,
)
from spikeproof.ir.limits import ACCUMULATOR_MAX, FILTERED_SUM_MAX

NONE = np.zeros(1, np.int32)


def ints(*values: Any) -> Any:
    return np.array(values, np.int32)


PLAIN = GeneralLifNeuron(ints(4000), ints(640), NONE, ints(4095), ints(0))
OWN = GeneralLifNeuron(
    leak=np.array([[[4000], [3000]], [[2000], [1000]]], np.int32),
    threshold=np.array([[[10, 20, 30]]], np.int32),
    bias=NONE,
    du=ints(4095, 7, 4095),
    initial=np.array([[1], [-2]], np.int32),
    reset=ints(5, 6, 7),
)


@pytest.mark.parametrize(
    ("changes", "uniform"),
    [
        ({}, True),
        ({"leak": ints(1, 2, 3)}, True),  # by step, the same for all
        ({"du": np.full((1, 1), 7)}, True),
        ({"reset": ints(0)}, False),
        ({"initial": ints(1)}, False),
        ({"leak": np.array([[1, 2]])}, False),
        ({"threshold": np.array([[1, 2]])}, False),
        ({"du": ints(1, 2)}, False),
    ],
)
def test_a_population_knows_whether_its_neurons_are_alike(
    changes: dict[str, Any], uniform: bool
) -> None:
    assert replace(PLAIN, **changes).uniform is uniform
    assert LifNeuron(1, 2, NONE).uniform
    assert TableLifNeuron(ints(1, 2), ints(3, 4), NONE).uniform


def test_only_registers_need_no_program() -> None:
    assert not LifNeuron(1, 2, NONE).program
    assert PLAIN.program and TableLifNeuron(ints(1), ints(2), NONE).program


def test_one_neuron_that_filters_bounds_the_sums_of_all() -> None:
    assert not PLAIN.filters and PLAIN.sum_limit == ACCUMULATOR_MAX
    assert OWN.filters and OWN.sum_limit == FILTERED_SUM_MAX


def test_a_table_with_one_row_gives_it_at_every_step() -> None:
    assert OWN.threshold_at(0).tolist() == OWN.threshold_at(1).tolist() == [[10, 20, 30]]
    assert OWN.leak_at(0).tolist() == [[4000], [3000]]
    assert OWN.leak_at(1).tolist() == [[2000], [1000]]
    by_row = replace(OWN, threshold=np.array([[1], [2]], np.int32), leak=OWN.leak[:1])
    assert [by_row.threshold_at(t).tolist() for t in range(2)] == [[1], [2]]
    assert by_row.leak_at(1).tolist() == [[4000], [3000]]


def test_what_fired_is_put_to_zero_or_loses_its_amount() -> None:
    v = np.array([[11, 22, 33]])
    assert PLAIN.after_spike(v).tolist() == [[0, 0, 0]]
    assert OWN.after_spike(v).tolist() == [[6, 16, 26]]


def test_the_numbers_of_one_neuron_become_those_of_all() -> None:
    one = OWN.of_one((1, 2), (2, 3))
    assert one.leak.tolist() == [[3000], [1000]] and one.threshold.tolist() == [[30]]
    assert one.du.tolist() == [4095] and one.initial.tolist() == [-2]
    assert one.reset is not None and one.reset.tolist() == [7]
    assert PLAIN.of_one((0,), (1,)).reset is None
    lif = LifNeuron(1, 2, NONE)
    assert lif.of_one((0,), (1,)) is lif


def test_tables_show_a_number_or_the_least_and_the_largest() -> None:
    assert PLAIN.figures(3) == (640, 96)
    assert OWN.figures(2) == ([10, 30], [96, 3096])


def test_a_layer_lays_thresholds_out_over_its_neurons() -> None:
    def layer(neuron: Any) -> ChipLayer:
        return ChipLayer(
            "l", (Connection(DenseSynapse(np.zeros((6, 1), np.int16))),), neuron, (2, 3, 1)
        )

    assert layer(LifNeuron(2, 0, NONE)).thresholds(3).shape == (3, 1, 1, 1)
    assert layer(PLAIN).thresholds(2).shape == (2, 1, 1, 1)
    rows = replace(OWN, threshold=np.arange(6).reshape(2, 3, 1))
    assert layer(rows).thresholds(2).shape == (2, 1, 3, 1)
    assert layer(rows).thresholds(2)[1, 0, :, 0].tolist() == [3, 4, 5]
