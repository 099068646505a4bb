"""The table that says why the weak attack has the members it has."""

from __future__ import annotations

import numpy as np

from spikeproof.attacks import Estimator
from spikeproof.attacks.weak import WEAK
from spikeproof.engines.floats import run_float
from spikeproof_models import members


def test_every_estimator_is_measured_alone_and_from_the_same_starts(tiny_network, monkeypatch):
    monkeypatch.setattr(members, "_STRENGTH", 12)
    x = np.random.default_rng(0).integers(0, 256, (20, *tiny_network.input_shape)).astype(np.uint8)
    found = members.measure(tiny_network, x, run_float(tiny_network, x).predictions)
    assert list(found) == members.ESTIMATORS
    assert {*WEAK.members, WEAK.control} <= set(found)
    assert any(not right.all() for right in found.values())


def _right(left: dict[Estimator, list[int]]) -> members.Right:
    """Return four images of which each estimator leaves the named ones, the others all."""
    return {e: np.isin(np.arange(4), left.get(e, range(4))) for e in members.ESTIMATORS}


def test_the_best_set_is_the_one_that_leaves_least_together():
    first, second, third = (members.ESTIMATORS[i] for i in (1, 4, 7))
    measured = {"net": _right({first: [0, 1], second: [0, 1], third: [2, 3]})}
    assert third in members.best(measured, 2) and members.best(measured, 2)[0] in (first, second)


def test_the_table_gives_each_alone_and_the_attack_as_a_whole():
    one, other = WEAK.members
    text = members.table({"net": _right({one: [0, 1], other: [1, 2]})})
    assert f"| {one.name} | 50.0 |" in text
    assert f"| {WEAK.name}: {one.name} and {other.name} | 25.0 |" in text
