"""What the search of a large layer leaves out changes what it costs, not what it may choose."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.convert import search
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.convert.quantise import FloatLayer, max_abs_scale, round_layer
from spikeproof.convert.search import Setting, choose
from spikeproof.ir.floats import Flatten, FloatNetwork, Lif, Linear, Readout


def _layer(seed: int, fan_in: int, steps: int, scale: float) -> FloatLayer:
    """Draw a layer whose worst sum needs a scale below max-abs: many weights, many steps."""
    rng = np.random.default_rng(seed)
    linear = Linear("fc", scale * rng.normal(size=(6, fan_in)), rng.normal(size=6))
    return FloatLayer(linear, Lif("l1", 0.95, 1.0), (fan_in,), steps, False)


def _setting(layer: FloatLayer, images: int = 24) -> Setting:
    rng = np.random.default_rng(7)
    inputs = (rng.random((images, layer.timesteps, *layer.input_shape)) < 0.2).astype(np.uint8)
    return Setting(inputs, [np.ones(layer.input_shape, np.int64)])


@pytest.fixture
def certified(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Count how often each candidate's layer is certified."""
    count: Counter[int] = Counter()
    kept: list[Any] = []  # so that no two of them have the same id
    certify = search.certify_layer

    def counted(layer: Any, *rest: Any) -> Any:
        kept.append(layer)
        count[id(layer)] += 1
        return certify(layer, *rest)

    monkeypatch.setattr(search, "certify_layer", counted)
    return count


@pytest.mark.parametrize(
    ("fan_in", "steps", "scale", "most"),
    # The last one's bias is what does not fit: of that the certificate knows nothing.
    [(3000, 8, 1.0, 6), (3000, 30, 1.0, 6), (900, 60, 0.01, 6), (40, 3, 1e-3, 20)],
)
def test_the_predicted_scale_is_the_bisected_one(
    fan_in: int,
    steps: int,
    scale: float,
    most: int,
    certified: Counter[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = _layer(fan_in, fan_in, steps, scale)
    top = 2.5 * max_abs_scale(layer, 8)

    def largest() -> float | None:
        setting = _setting(layer, 1)
        return search._largest_fitting(layer, setting, lambda s: round_layer(layer, s, 8), top)

    bisected = largest()
    certified.clear()
    monkeypatch.setattr(search, "_BISECTION_WORK", 0)
    assert largest() == bisected
    assert bisected is not None
    assert bisected < top  # else there was nothing to search
    assert certified.total() <= most


def test_only_what_goes_on_is_certified_and_once(certified: Counter[int]) -> None:
    layer = _layer(1, 3000, 8, 1.0)
    chosen = choose(layer, _setting(layer), "spikes")
    assert certified[id(chosen.candidate.layer)] == 1
    assert set(certified.values()) == {1}
    bisection, others = 12, 12
    assert certified.total() <= bisection + others


def test_a_budget_leaves_images_out(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = _layer(2, 300, 4, 0.1)
    seen: list[NDArray[np.uint8]] = []
    scored = search.score

    def watched(layer: Any, inputs: Any, pool: Any) -> Any:
        seen.append(inputs)
        return scored(layer, inputs, pool)

    monkeypatch.setattr(search, "score", watched)
    setting = _setting(layer, 80)
    choose(layer, setting, "spikes")
    assert [len(x) for x in seen] == [80, 80, 40]
    seen.clear()
    monkeypatch.setattr(search, "_FINE_WORK", 0)
    monkeypatch.setattr(search, "_COARSE_WORK", 0)
    chosen = choose(layer, setting, "spikes")
    assert [len(x) for x in seen] == [8, 8, 16]
    judged = setting.inputs[1::2]
    assert {x.tobytes() for x in seen[-1]} <= {x.tobytes() for x in judged}
    assert chosen.range.ok


def test_it_says_which_layer_and_what_is_done() -> None:
    nodes = (
        Flatten("flat"),
        Linear("a", np.array([[0.5, -0.25], [0.1, 0.7]]), None),
        Lif("l1", 0.9, 1.0),
        Linear("b", np.array([[0.5, -0.25]]), None),
        Readout("out"),
    )
    network = FloatNetwork("net", (1, 1, 2), 3, nodes)
    said: list[str] = []
    images = np.arange(20, dtype=np.uint8).reshape(10, 1, 1, 2)
    convert_network(network, images, ConvertOptions(), tell=said.append)
    for name in ("l1", "out"):
        of_layer = [s for s in said if s.startswith(f"{name}: ")]
        assert any("compensation" in s for s in of_layer)
        assert any("judging" in s for s in of_layer)
