"""Small float networks that the tests of the passes share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.ir.floats import BatchNorm2d, Conv2d, Flatten, FloatNetwork, Lif, Linear, Readout

MakeNetwork = Callable[..., FloatNetwork]


@pytest.fixture
def make_network() -> MakeNetwork:
    """Return a builder of conv - BN - LIF - linear - LIF - linear networks on 1x8x8 images."""

    def build(
        seed: int = 0,
        *,
        strict: bool = True,
        gains: tuple[list[float] | None, list[float] | None] = (None, None),
    ) -> FloatNetwork:
        rng = np.random.default_rng(seed)
        first, second = (None if g is None else np.array(g) for g in gains)
        leak = 1 - 41 / 4096
        nodes = (
            Conv2d("conv1", rng.normal(0, 0.8, (6, 1, 3, 3)), None, (2, 2), (1, 1)),
            BatchNorm2d(
                "bn1",
                rng.uniform(0.5, 1.5, 6),
                rng.normal(0, 0.2, 6),
                rng.normal(0, 0.2, 6),
                rng.uniform(0.2, 1, 6),
            ),
            Lif("l1", leak, 1.0, strict, first),
            Flatten("flat"),
            Linear("fc1", rng.normal(0, 0.3, (20, 96)), rng.normal(0, 0.1, 20)),
            Lif("l2", leak, 1.0, strict, second),
            Linear("fc2", rng.normal(0, 0.5, (5, 20)), None),
            Readout("out"),
        )
        return FloatNetwork("small", (1, 8, 8), 4, nodes)

    return build


@pytest.fixture
def images() -> NDArray[np.uint8]:
    """Return 48 random images (48, 1, 8, 8) with flat patches, dark and bright."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (48, 1, 4, 4)).repeat(2, axis=2).repeat(2, axis=3)
    return np.clip(coarse + rng.integers(-20, 20, (48, 1, 8, 8)), 0, 255).astype(np.uint8)
