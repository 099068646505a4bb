"""The worst bits: gradients by stored weights are right, and what is found is worse than chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="twins are compiled")

from spikeproof.attacks.losses import cross_entropy
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import UnsupportedError
from spikeproof.faults import ranked
from spikeproof.faults.base import Pair
from spikeproof.faults.ranked import WorstBits, flip_sizes, weight_gradients
from spikeproof.faults.weights import flipped, memories, stored
from spikeproof.ir.chip import ChipNetwork, ConvSynapse, DenseSynapse
from spikeproof.ir.floats import FloatNetwork
from spikeproof.numerics.correlation import correlate

X = np.random.default_rng(3).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)


@pytest.fixture
def pair(tiny_network: FloatNetwork) -> Pair:
    options = ConvertOptions(search=False, compensate=False, input_coding="graded")
    done = convert_network(tiny_network, X, options)
    return Pair(done.folded, done.chip, done.units)


def labels(network: ChipNetwork) -> Any:
    return ReferenceEngine().run(network, X).predictions


def loss(network: ChipNetwork, y: Any) -> float:
    logits = ReferenceEngine().run(network, X).logits.astype(np.float64)
    return float(cross_entropy(logits, y)[0].mean())


def test_the_readouts_gradient_is_its_derivative(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss linear in the logits is linear in the readout's weights: differences are exact."""
    factor = np.random.default_rng(0).standard_normal((len(X), 10))
    monkeypatch.setattr(ranked, "cross_entropy", lambda logits, y: (None, factor))
    found = weight_gradients(pair.chip, X, labels(pair.chip))[2, 0]

    def value(weight: Any) -> float:
        out = pair.chip.layers[-1]
        network = pair.with_layers({"out": out.changed(synapse=out.synapse.changed(weight=weight))})
        logits = ReferenceEngine().run(network, X).logits
        return float((logits * factor).sum() / len(X))

    before = pair.chip.layers[-1].synapse.weight
    for place in [(0, 0), (3, 7), (9, 11)]:
        more = before.copy()
        more[place] += 2 if more[place] < 250 else -2
        step = float(more[place] - before[place])
        assert (value(more) - value(before)) / step == pytest.approx(found[place], rel=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"),
    [((1, 1), (0, 0), (1, 1)), ((2, 1), (1, 2), (1, 1)), ((1, 2), (2, 0), (2, 1))],
)
def test_the_gradient_of_a_kernel(groups: int, stride: Any, padding: Any, dilation: Any) -> None:
    """Sums are linear in the weights: each one's gradient is the sum that it alone would make."""
    rng = np.random.default_rng(1)
    weight = rng.integers(-4, 4, (4, 4 // groups, 3, 2)) * 2
    form = (stride, padding, dilation)
    synapse = ConvSynapse(weight, (4, 7, 6), *form, groups)
    sent = rng.integers(0, 2, (5, 4, 7, 6)).astype(np.float64)
    drive = rng.standard_normal(correlate(sent, weight.astype(float), *form, groups).shape)
    found = ranked._of_weights(synapse, drive, sent, "l")
    for place in np.ndindex(*weight.shape):
        alone = np.zeros(weight.shape)
        alone[place] = 1
        wanted = (correlate(sent, alone, *form, groups) * drive).sum()
        assert found[place] == pytest.approx(wanted, abs=1e-9)


def test_what_a_flip_changes() -> None:
    sizes = flip_sizes(DenseSynapse(np.array([[0, -2]], np.int32)))
    assert sizes[0, 0].tolist() == [2, 4, 8, 16, 32, 64, 128, -256]
    assert sizes[0, 1].tolist() == [-2, -4, -8, -16, -32, -64, -128, 256]


def flips(pair: Pair, chip: ChipNetwork) -> int:
    both = zip(memories(pair.chip), memories(chip), strict=True)
    return sum(int(np.unpackbits(stored(a) ^ stored(b)).sum()) for (*_, a), (*_, b) in both)


def test_as_many_bits_as_asked_for_and_worse_than_any_of_many_draws(pair: Pair) -> None:
    y = labels(pair.chip)
    found = WorstBits(4).applied(pair, 0, X, y)
    assert flips(pair, found.chip) == 4
    assert WorstBits(0).applied(pair, 0, X, y).chip is pair.chip
    rng = np.random.default_rng(0)
    others = []
    for _ in range(30):
        masks = {(i, k): np.zeros(s.weight.shape, np.uint8) for i, k, s in memories(pair.chip)}
        for _ in range(4):
            mask = list(masks.values())[rng.integers(len(masks))]
            mask.flat[rng.integers(mask.size)] |= 0x80
        others.append(loss(flipped(pair, masks).chip, y))
    assert loss(found.chip, y) > max(others) > loss(pair.chip, y)
    again = WorstBits(4).applied(pair, 0, X, y)
    for (*_, a), (*_, b) in zip(memories(found.chip), memories(again.chip), strict=True):
        np.testing.assert_array_equal(a.weight, b.weight)


def test_a_network_without_a_twin_is_told_before_anything_is_run(pair: Pair) -> None:
    chip = ChipNetwork("s", (1, 8, 8), 4, pair.chip.layers, "spikes")
    assert WorstBits(1).obstacle(pair) is None
    told = WorstBits(1).obstacle(Pair(pair.trained, chip, pair.units))
    assert isinstance(told, UnsupportedError) and "spikes" in told.what
