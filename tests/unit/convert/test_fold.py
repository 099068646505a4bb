"""Folding on networks small enough to check by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.base import apply_pass
from spikeproof.convert.fold import FOLD, fold
from spikeproof.convert.gain import FOLD_GAIN
from spikeproof.engines.floats import run_float
from spikeproof.ir.check_float import check_float
from spikeproof.ir.floats import (
    Add,
    AvgPool2d,
    Conv2d,
    Edge,
    Flatten,
    FloatNetwork,
    FloatNode,
    InputScale,
    Lif,
    Linear,
    Readout,
)


def _network(shape: tuple[int, int, int], *nodes: FloatNode) -> FloatNetwork:
    return FloatNetwork("hand", shape, 2, nodes)


def _fold(network: FloatNetwork) -> list[Any]:
    return list(apply_pass(FOLD, network).nodes)


def test_input_scale_gives_a_bias_that_knows_the_zero_padded_border() -> None:
    kernel = np.ones((1, 1, 3, 3))
    conv, _ = _fold(
        _network(
            (1, 3, 3),
            InputScale("scale", np.array([0.5]), np.array([0.25])),
            Conv2d("conv", kernel, np.array([1.0]), padding=(1, 1)),
            Readout("out"),
        )
    )
    np.testing.assert_allclose(conv.weight, 4.0)
    # -0.5 / 0.25 per valid tap: 4 taps in the corner, 6 on the edge, 9 inside; plus the bias 1.
    np.testing.assert_allclose(conv.bias, [[[-7, -11, -7], [-11, -17, -11], [-7, -11, -7]]])


def test_pooling_by_two_and_a_padded_3x3_become_one_strided_6x6() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(2, 3, 3, 3))
    network = _network(
        (3, 8, 8),
        AvgPool2d("pool", (2, 2), (2, 2)),
        Conv2d("conv", weight, None, padding=(1, 1)),
        Readout("out"),
    )
    conv, _ = _fold(network)
    assert conv.weight.shape == (2, 3, 6, 6)
    assert (conv.stride, conv.padding, conv.bias) == ((2, 2), (2, 2), None)
    np.testing.assert_allclose(conv.weight, weight.repeat(2, axis=2).repeat(2, axis=3) / 4)


def test_pooling_and_flatten_vanish_into_the_linear_layer() -> None:
    network = _network(
        (1, 4, 4),
        AvgPool2d("pool", (2, 2), (2, 2)),
        Flatten("flat"),
        Linear("fc", np.array([[4.0, 8.0, 12.0, 16.0]]), np.array([0.5])),
        Readout("out"),
    )
    fc, _ = _fold(network)
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_allclose(fc.weight.reshape(4, 4), expected)
    assert fc.name == "fc"


def test_two_linear_layers_in_a_row_become_one() -> None:
    network = _network(
        (1, 1, 2),
        Linear("a", np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -1.0])),
        Linear("b", np.array([[1.0, 1.0]]), np.array([0.5])),
        Readout("out"),
    )
    merged, _ = _fold(network)
    np.testing.assert_allclose(merged.weight, [[4, 6]])
    np.testing.assert_allclose(merged.bias, [0.5])


def test_batch_norm_keeps_one_bias_per_channel(
    make_network: Any, images: NDArray[np.uint8]
) -> None:
    network = make_network()
    folded = apply_pass(FOLD, network)
    assert [type(n).__name__ for n in folded.nodes] == [
        "Conv2d",
        "Lif",
        "Linear",
        "Lif",
        "Linear",
        "Readout",
    ]
    first: Any = folded.nodes[0]
    assert first.bias.shape == (6,)
    assert all(n.weight.dtype == np.float64 for n in folded.nodes[::2] if hasattr(n, "weight"))
    np.testing.assert_allclose(
        run_float(folded, images).logits, run_float(network, images).logits, atol=1e-12
    )


def test_a_constant_gain_becomes_weight(make_network: Any, images: NDArray[np.uint8]) -> None:
    network = make_network(gains=([1.5] * 4, [0.9, 1.0, 1.1, 1.0]))
    lowered = apply_pass(FOLD_GAIN, apply_pass(FOLD, network))
    first, second = (n for n in lowered.nodes if isinstance(n, Lif))
    assert first.gain is None
    assert second.gain is not None
    np.testing.assert_allclose(
        run_float(lowered, images).logits, run_float(network, images).logits, atol=1e-12
    )


def test_a_long_chain_of_sums_listed_backwards_is_composed_without_recursion() -> None:
    names = [f"a{k}" for k in range(1500)]
    edges = [Edge("@input", "c"), Edge("c", "l1"), Edge("l1", names[0], 1)]
    edges += [Edge(one, after, 1) for one, after in pairwise(names)]
    edges += [Edge(names[-1], "fc", 1), Edge("fc", "out")]
    nodes = (
        Conv2d("c", np.ones((1, 1, 1, 1)), None),
        Lif("l1", 0.9, 1.0),
        *(Add(name) for name in reversed(names)),
        Linear("fc", np.ones((2, 1)), None),
        Readout("out"),
    )
    network = FloatNetwork("long", (1, 1, 1), 2000, nodes, tuple(edges))
    check_float(network)
    assert fold(network).edges[-2].lag == 1501
