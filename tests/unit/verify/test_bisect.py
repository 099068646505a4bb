"""V3: the first divergence is the earliest layer, then step, then sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikeproof.verify.bisect import View, first_divergence, replay_line


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
    found = first_divergence(layers, exact=False)
    assert found is not None
    assert (found.layer, found.step, found.sample, found.neuron) == ("a", 1, 2, (1,))
    assert found.values == (0.0, 104.0)
    assert found.margin_lsb == 100.0 and found.margin == 1.0


def test_exact_comparison_sees_states_without_spikes() -> None:
    base = np.zeros((1, 2, 1))
    other = base.copy()
    other[0, 1, 0] = 1
    layers = [("a", _view(base), _view(other))]
    assert first_divergence(layers, exact=False) is None
    found = first_divergence(layers, exact=True)
    assert found is not None and found.state == "v" and found.step == 1


def test_replay_line_fits_one_line() -> None:
    base = np.zeros((1, 1, 1))
    found = first_divergence([("a", _view(base), _view(base + 200))], exact=False)
    line = replay_line(found, "folded", "chip", "net.spk")
    assert "a, step 0" in line and "spikeproof run net.spk" in line and "\n" not in line
    assert replay_line(None, "folded", "chip", "net.spk") == "folded and chip: no divergence"
