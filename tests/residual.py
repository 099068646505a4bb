"""A small residual network with all that a float graph may have, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.ir.floats import (
    Add,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Edge,
    Flatten,
    FloatNetwork,
    InputScale,
    Lif,
    Linear,
    MaxPool2d,
    Readout,
)
from spikeproof.ir.limits import INPUT

CHANNELS = 6


def residual(steps: int = 4, strict: bool = True, back: bool = True) -> FloatNetwork:
    """Return stem, two pre-activation blocks on an analog stream that the pixels enter, an OR pool.

    back: the last neuron inhibits one before it, two steps later, over a coefficient alone.
    """
    rng = np.random.default_rng(0)

    def norm(name: str) -> BatchNorm2d:
        gamma, var = rng.uniform(0.5, 1.5, CHANNELS), rng.uniform(0.5, 2, CHANNELS)
        beta, mean = rng.normal(size=CHANNELS) * 0.2, rng.normal(size=CHANNELS) * 0.1
        return BatchNorm2d(name, gamma, beta, mean, var)

    def conv(name: str, inputs: int = CHANNELS) -> Conv2d:
        weight = rng.normal(size=(CHANNELS, inputs, 3, 3)) * 2 / np.sqrt(9 * inputs)
        return Conv2d(name, weight, None, (1, 1), (1, 1))

    def lif(name: str) -> Lif:
        return Lif(name, 0.99, 1.0, strict)

    nodes: Any = (
        InputScale("scale", np.array([0.4, 0.5]), np.array([0.2, 0.25])),
        conv("stem", 2),
        norm("bn1"),
        lif("a1"),
        conv("c1"),
        norm("bn2"),
        lif("a2"),
        conv("c2"),
        Add("add1"),
        norm("bn3"),
        lif("a3"),
        conv("c3"),
        norm("bn4"),
        lif("a4"),
        conv("c4"),
        Add("add2"),
        norm("bn5"),
        lif("a5"),
        MaxPool2d("any", (2, 2), (2, 2)),
        AvgPool2d("pool", (4, 4), (4, 4)),
        Flatten("flat"),
        Linear("fc", rng.normal(size=(5, CHANNELS)), rng.normal(size=5)),
        Readout("out"),
    )
    names = [node.name for node in nodes]
    chain = [(a, b) for a, b in zip([INPUT, *names], names, strict=False)]
    weighed = {("c2", "add1"): 0.7, ("c4", "add2"): 0.6}
    edges = [Edge(a, b, 0, weighed.get((a, b), 1.0)) for a, b in chain]
    edges += [
        Edge("stem", "add1", 0, 0.3),
        Edge("add1", "add2", 0, 0.4),
        Edge("a3", "add2", 0, 0.5),
    ]
    edges += [Edge("a5", "a4", 2, -0.5)] * back
    return FloatNetwork("residual", (2, 8, 8), steps, nodes, tuple(edges))


def images(count: int, seed: int = 1) -> NDArray[np.uint8]:
    """Return random images for it."""
    return np.random.default_rng(seed).integers(0, 256, (count, 2, 8, 8)).astype(np.uint8)
