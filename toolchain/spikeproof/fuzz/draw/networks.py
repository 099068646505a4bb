"""Draw legal chip networks and inputs, a good share of them nasty on purpose.

Nasty means: states exactly on the threshold, saturation and wrap at the 24-bit edge, zero
weights, one timestep, extreme decays, negative exponents. Used for differential tests between
engines. A case is drawn from (seed, index) alone, so any case of a campaign can be had again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof.fuzz.draw.layers import Place, draw_layer, draw_width
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.limits import PIXEL_MAX

Rng = np.random.Generator
_NASTY_SHARE = 0.3
_BLOCK_STEPS = (7, 8, 9, 15, 16, 17, 31, 32, 33)
_BLOCK_SAMPLES = (8, 9, 15, 16, 17, 33, 65)
_MANY_VALUES = 20_000
"""Only networks with fewer states per sample than this are run on many samples."""
_WIDEST_INPUT = 1000
"""With more pixels a sum could leave the accumulators even at the lowest exponent."""


@dataclass(frozen=True, eq=False)
class Case:
    """One network of a campaign with its input; ``kind`` names what is nasty about it, if any."""

    index: int
    kind: str | None
    network: chip.ChipNetwork
    x: NDArray[np.uint8]


def random_network(
    rng: Rng,
    *,
    nasty: bool | None = None,
    steps: int | None = None,
    coding: Literal["pixels", "spikes"] | None = None,
) -> chip.ChipNetwork:
    """Draw a legal network of one to four layers; ``nasty=None`` makes 30 % of them nasty."""
    mean = rng.random() < _NASTY_SHARE if nasty is None else nasty
    drawn_steps = _steps(rng, mean)
    drawn_coding: Literal["pixels", "spikes"] = "pixels" if rng.random() < 0.5 else "spikes"
    length, code = steps or drawn_steps, coding or drawn_coding
    input_shape = _input_shape(rng)
    shape: tuple[int, ...] = input_shape
    depth, layers = int(rng.integers(1, 5)), []
    for index in range(depth):
        payload = PIXEL_MAX if index == 0 and code == "pixels" else 1
        place = Place(f"l{index + 1}", shape, payload, length, index == depth - 1, mean)
        layers.append(draw_layer(rng, place))
        shape = layers[-1].shape
    network = chip.ChipNetwork("random", input_shape, length, tuple(layers), code)
    check_chip(network)
    return network


def _steps(rng: Rng, nasty: bool) -> int:
    if nasty and rng.random() < 0.2:
        return 1
    return int(rng.choice(_BLOCK_STEPS)) if rng.random() < 0.15 else int(rng.integers(2, 9))


def _input_shape(rng: Rng) -> tuple[int, int, int]:
    """Draw channels and an image, square or not; at times a plain row of values."""
    if rng.random() < 0.15:
        return (1, 1, draw_width(rng))
    height, width = (int(n) for n in rng.integers(3, 10, 2))
    channels = int(rng.choice([1, 2, 3, 4, 5])) if rng.random() < 0.8 else draw_width(rng)
    return (min(channels, max(1, _WIDEST_INPUT // (height * width))), height, width)


def random_input(rng: Rng, network: chip.ChipNetwork, samples: int) -> NDArray[np.uint8]:
    """Draw inputs: pixels with many extremes or spikes of a random rate, a few silent or full."""
    x: NDArray[Any]
    per_sample = network.sample_shape
    if network.coding == "pixels":
        x = rng.integers(0, 256, (samples, *per_sample))
        x = np.where(rng.random(x.shape) < 0.2, rng.choice([0, 255], x.shape), x)
    else:
        x = rng.random((samples, *per_sample)) < rng.uniform(0.02, 0.9)
    drawn = x.astype(np.uint8)
    special = rng.random(samples)
    drawn[special < 0.06] = 0
    drawn[special > 0.94] = network.input_max
    return drawn


def sample_count(rng: Rng, network: chip.ChipNetwork) -> int:
    """Draw how many samples a network is run on; small networks at times on a block or more."""
    states = network.timesteps * sum(int(np.prod(layer.shape)) for layer in network.layers)
    inputs = network.timesteps * int(np.prod(network.input_shape))
    if rng.random() < 0.2 and states + inputs < _MANY_VALUES // 10:
        return int(rng.choice(_BLOCK_SAMPLES))
    return int(rng.integers(1, 6 if states < _MANY_VALUES else 3))


def with_input(rng: Rng, network: chip.ChipNetwork) -> tuple[chip.ChipNetwork, NDArray[np.uint8]]:
    """Return a network and an input drawn for it, of as many samples as its size allows."""
    return network, random_input(rng, network, sample_count(rng, network))
