"""A small spiking network that several files attack, and images it gets right."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.attacks.victim import Victim
from spikeproof.convert.fold import fold
from spikeproof.ir import floats


@pytest.fixture(scope="module")
def network():
    """A convolution, two spiking layers and a readout on 8x8 images; spikes do occur."""
    rng = np.random.default_rng(0)

    def draw(*shape, scale):
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    return floats.FloatNetwork(
        "small",
        (1, 8, 8),
        4,
        (
            floats.Conv2d("c1", draw(4, 1, 3, 3, scale=0.9), draw(4, scale=0.2), (2, 2), (1, 1)),
            floats.Lif("l1", 0.99, 1.0, gain=np.array([1.2, 0.7, 1.0, 0.9], np.float32)),
            floats.Flatten("flat"),
            floats.Linear("f2", draw(24, 64, scale=0.3), draw(24, scale=0.1)),
            floats.Lif("l2", 0.99, 1.0),
            floats.Linear("f3", draw(10, 24, scale=0.5), draw(10, scale=0.1)),
            floats.Readout("out"),
        ),
    )


@pytest.fixture(scope="module")
def victim(network):
    return Victim(network, fold(network))


@pytest.fixture(scope="module")
def case(victim):
    """Images the network labels itself, so that every attack starts from full accuracy."""
    x = np.random.default_rng(1).integers(0, 256, (400, 1, 8, 8), dtype=np.uint8)
    y = victim.predictions(x)
    chosen = np.concatenate([np.flatnonzero(y == k)[:4] for k in range(10)])
    assert len(chosen) > 12 and len(set(y[chosen])) > 4
    return x[chosen], y[chosen]
