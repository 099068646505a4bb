"""Every obstacle is listed at once, with the layer, the reason and a way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.convert.mappable import preflight
from spikeproof.convert.pipeline import convert_network
from spikeproof.errors import GraphError, UnsupportedError
from spikeproof.ir.floats import AvgPool2d, Conv2d, Flatten, FloatNetwork, Lif, Linear, Readout


def _broken() -> FloatNetwork:
    rng = np.random.default_rng(0)
    return FloatNetwork(
        "broken",
        (1, 9, 9),
        3,
        (
            Lif("bare", 0.9, 1.0),
            AvgPool2d("pool", (3, 3), (2, 2)),
            Conv2d("conv", rng.normal(size=(2, 1, 3, 3)), None, padding=(1, 1)),
            Lif("negative", 0.9, 1.0, True, np.array([1.0, -0.5, 1.0])),
            Lif("twice", 0.9, 1.0, True, np.array([1.0, 0.0, 1.0])),
            Flatten("flat"),
            Linear("fc", rng.normal(size=(4, 32)), None),
            Lif("steep", 0.9, 1.0, True, np.array([9.0, 1.0, 1.0])),
            Readout("out"),
        ),
    )


def test_all_obstacles_are_listed_at_once() -> None:
    with pytest.raises(UnsupportedError) as caught:
        convert_network(_broken(), np.zeros((1, 1, 9, 9), np.uint8))
    text = str(caught.value)
    for expected in (
        "7 problems",
        "bare: no convolution or linear layer before it",
        "pool: cannot be folded into conv: its windows overlap",
        "negative: the gain is not positive at 1 of 3 steps (a[1] = -0.5)",
        "twice: no convolution or linear layer before it",
        "twice: the gain is not positive at 1 of 3 steps (a[1] = 0)",
        "steep: the gain falls from a[0] = 9 to a[1] = 1",
        "out: no convolution or linear layer before it",
        "train with a gain that is positive",
    ):
        assert expected in text


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_gain_that_is_not_positive_is_refused(
    make_network: Any, images: NDArray[np.uint8], value: float
) -> None:
    network = make_network(gains=(None, [1.0, value, 1.0, 1.0]))
    with pytest.raises(UnsupportedError, match=r"l2: the gain is not positive.*plain LIF"):
        convert_network(network, images)


def test_an_inconsistent_network_is_a_graph_error() -> None:
    bad = np.full((2, 4), np.nan)
    network = FloatNetwork("nan", (1, 2, 2), 1, (Linear("fc", bad, None), Readout("out")))
    with pytest.raises(GraphError, match="fc: weight holds 8 value"):
        preflight(network)


def test_obstacles_and_inconsistencies_come_together() -> None:
    nodes = (
        Linear("fc", np.ones((2, 4)), None),
        Lif("l1", 1.5, 1.0),
        Lif("l2", 0.5, 1.0),
        Linear("fc2", np.full((2, 2), np.inf), None),
        Readout("out"),
    )
    with pytest.raises(UnsupportedError) as caught:
        preflight(FloatNetwork("both", (1, 2, 2), 1, nodes))
    text = str(caught.value)
    assert "l1: leak 1.5 is above 1" in text
    assert "l2: no convolution" in text
    assert "fc2: weight holds 4 value" in text


def test_a_good_network_passes(make_network: Any) -> None:
    preflight(make_network())
