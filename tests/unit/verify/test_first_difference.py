"""V3: the first difference is in the earliest layer, then step, then sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikeproof.verify.first_difference import View, first_difference


def _view(v: Any, threshold: float = 100.0) -> View:
    v = np.asarray(v)
    limits = np.full((v.shape[1], *(1,) * (v.ndim - 2)), threshold)
    return View(v, (v > threshold).astype(np.uint8), limits, u=v * 0)


def test_earliest_layer_wins_then_step_then_sample() -> None:
    base = np.zeros((3, 4, 2))
    first, second = base.copy(), base.copy()
    first[0, 3, 0] = 150  # late step, early sample
    first[2, 1, 1] = 104  # early step
    second[0, 0, 0] = 150  # later layer, earliest step
    layers = [("a", _view(base), _view(first)), ("b", _view(base), _view(second))]
    found = first_difference(layers, "folded", "chip")
    assert found.found and found.values is not None
    assert (found.layer, found.step, found.sample, found.neuron) == ("a", 1, 2, [1])
    assert (found.values.first, found.values.second) == (0.0, 104.0)
    assert found.margin_lsb == 100.0 and found.margin == 1.0


def test_exact_comparison_sees_states_without_spikes() -> None:
    base = np.zeros((1, 2, 1))
    other = base.copy()
    other[0, 1, 0] = 1
    layers = [("a", _view(base), _view(other))]
    assert not first_difference(layers, "folded", "chip").found
    found = first_difference(layers, "reference", "fast", states=("u", "v", "s"))
    assert found.found and found.state == "v" and found.step == 1


def test_replay_line_fits_one_line() -> None:
    base = np.zeros((1, 1, 1))
    line = first_difference([("a", _view(base), _view(base + 200))], "folded", "chip").replay
    assert line is not None and "\n" not in line
    assert "a, step 0" in line and "spikeproof run BUNDLE" in line and "100 LSB" in line
    assert first_difference([("a", _view(base), _view(base))], "folded", "chip").replay is None
