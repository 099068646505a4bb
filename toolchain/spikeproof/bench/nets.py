"""The networks that are timed: two random ones of fixed activity, and those that are shipped.

Random weights with thresholds fitted to a spike rate, because the cost of an event-driven engine
depends on the activity: a network whose rate is not stated measures nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.numpy_engine import NumpyEngine, layer_drive
from spikeproof.errors import InputError
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.ir import chip
from spikeproof.ir.shapes import output_shape

Rng = np.random.Generator
Images = NDArray[np.uint8]
Draw = Callable[[Rng, int], Images]

INPUT_RATE = 38 / 256
"""Spikes per input and step: a byte below 38, so that drawing costs one byte per spike."""
TARGET_RATE = 0.10
RATE_LIMITS = (0.08, 0.12)
_CALIBRATION_SAMPLES = 40
_CALIBRATION_VALUES = 1 << 23
"""Fewer samples do for a wide layer, whose fitting would take gigabytes otherwise."""
_LEAK_DV = 41
_WEIGHT_SPREAD = 40


@dataclass(frozen=True, eq=False)
class BenchNet:
    """A network, how to draw samples nobody has seen, and how active it is on them.

    activity: spikes per neuron and step, by layer; ``input`` is that of the input (pixels: 1).
    spikes: spikes per sample over all steps, by layer, ``input`` included.
    """

    name: str
    network: chip.ChipNetwork
    draw: Draw
    activity: dict[str, float]
    spikes: dict[str, float]


def mlp_net(
    widths: Sequence[int] = (512, 10), *, inputs: int = 784, timesteps: int = 16, seed: int = 0
) -> BenchNet:
    """Build dense spiking layers on random spikes; 784-512-10 with T = 16 by default."""
    rng = np.random.default_rng(seed)
    sizes = [inputs, *widths]
    synapses: list[chip.Synapse] = [
        chip.DenseSynapse(_weights(rng, (out, n))) for n, out in pairwise(sizes)
    ]
    return fitted("mlp", (1, 1, inputs), timesteps, synapses, rng)


def conv_net(*, size: int = 28, timesteps: int = 16, seed: int = 0) -> BenchNet:
    """Build 1 - 16@3x3 pad 1 - 32@3x3 stride 2 pad 1 - dense 10 on size x size random spikes."""
    rng = np.random.default_rng(seed)
    half = (size + 1) // 2
    first = chip.ConvSynapse(_weights(rng, (16, 1, 3, 3)), (1, size, size), padding=(1, 1))
    second = chip.ConvSynapse(_weights(rng, (32, 16, 3, 3)), (16, size, size), (2, 2), (1, 1))
    dense = chip.DenseSynapse(_weights(rng, (10, 32 * half * half)))
    return fitted("conv", (1, size, size), timesteps, [first, second, dense], rng)


def zoo_net(name: str) -> BenchNet:
    """Convert a shipped network as ``spikeproof convert`` does, on the shipped images.

    Samples are shipped test images, mirrored and moved by up to two pixels at random.

    Raises:
        InputError: there is no such network, or this installation ships none.
    """
    networks = zoo_networks()
    if name not in networks:
        raise InputError(
            f"no shipped network {name!r}; shipped: {', '.join(networks) or 'none'}", where="bench"
        )
    source = load_checkpoint(networks[name]).network
    calibration, _ = load_data(zoo_calibration(), source.input_shape)
    images, _ = load_data(zoo_images(), source.input_shape)
    network = convert_network(source, calibration).chip

    def draw(rng: Rng, count: int) -> Images:
        return _moved(rng, images[rng.integers(0, len(images), count)])

    return measured(BenchNet(name, network, draw, {}, {}), np.random.default_rng(0))


def fitted(
    name: str,
    input_shape: tuple[int, ...],
    timesteps: int,
    synapses: Sequence[chip.Synapse],
    rng: Rng,
) -> BenchNet:
    """Build a network of LIF layers whose thresholds make about a tenth of the neurons fire.

    Raises:
        InputError: no threshold gives a hidden layer a rate within ``RATE_LIMITS``.
    """
    x = random_spikes(rng, _samples(synapses, input_shape, timesteps), timesteps, input_shape)
    source, shape = x, input_shape
    layers: list[chip.ChipLayer] = []
    for number, synapse in enumerate(synapses, 1):
        shape = output_shape(synapse, shape)
        bias = np.zeros((1,) * len(shape), np.int32)
        draft = chip.ChipLayer(
            f"l{number}", (chip.Connection(synapse),), chip.LifNeuron(1, _LEAK_DV, bias), shape
        )
        threshold = _threshold(layer_drive(draft, [source])[0], timesteps)
        layer = replace(draft, neuron=chip.LifNeuron(threshold, _LEAK_DV, bias))
        layers.append(layer)
        prefix = chip.ChipNetwork(name, input_shape, timesteps, tuple(layers), "spikes")
        traces = NumpyEngine().run(prefix, x, trace=True).traces or {}
        source = np.asarray(traces[layer.name].s, np.uint8)
    network = chip.ChipNetwork(name, input_shape, timesteps, tuple(layers), "spikes")

    def draw(rng: Rng, count: int) -> Images:
        return random_spikes(rng, count, timesteps, input_shape)

    net = measured(BenchNet(name, network, draw, {}, {}), rng, len(x))
    for layer in layers[:-1] or layers:  # a few outputs cost nothing, and their rate scatters
        if not RATE_LIMITS[0] <= net.activity[layer.name] <= RATE_LIMITS[1]:
            raise InputError(
                f"fires at a rate of {net.activity[layer.name]:.3f}, expected {RATE_LIMITS}",
                where=f"{name}, {layer.name}",
                hint="Choose another seed or larger layers.",
            )
    return net


def random_spikes(rng: Rng, count: int, timesteps: int, shape: tuple[int, ...]) -> Images:
    """Draw 0/1 input (N, T, C, H, W) of rate ``INPUT_RATE``."""
    values = rng.integers(0, 256, (count, timesteps, *shape), dtype=np.uint8)
    return np.less(values, round(INPUT_RATE * 256)).view(np.uint8)


def measured(net: BenchNet, rng: Rng, samples: int = _CALIBRATION_SAMPLES) -> BenchNet:
    """Return the network with the activity found on fresh samples."""
    x = net.draw(rng, samples)
    traces = NumpyEngine().run(net.network, x, trace=True).traces or {}
    inputs = float(x.mean()) if net.network.coding == "spikes" else 1.0
    activity = {"input": inputs}
    spikes = {"input": float(np.count_nonzero(x)) / len(x)}
    for name, trace in traces.items():
        if trace.s is not None:
            activity[name] = float(trace.s.mean())
            spikes[name] = float(trace.s.sum()) / len(x)
    return replace(net, activity=activity, spikes=spikes)


def _samples(synapses: Sequence[chip.Synapse], shape: tuple[int, ...], timesteps: int) -> int:
    widest = int(np.prod(shape))
    for synapse in synapses:
        shape = output_shape(synapse, shape)
        widest = max(widest, int(np.prod(shape)))
    return max(1, min(_CALIBRATION_SAMPLES, _CALIBRATION_VALUES // (widest * timesteps)))


def _weights(rng: Rng, shape: tuple[int, ...]) -> NDArray[np.int16]:
    return (2 * np.rint(rng.normal(0, _WEIGHT_SPREAD / 2, shape)).clip(-128, 127)).astype(np.int16)


def _threshold(arriving: NDArray[np.float64], timesteps: int) -> int:
    """Search the threshold mantissa whose rate is nearest to the target (rates fall with it)."""
    low, high = 1, (1 << 17) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if _rate(arriving, timesteps, middle * 64.0) > TARGET_RATE:
            low = middle
        else:
            high = middle
    return high


def _rate(arriving: NDArray[np.float64], timesteps: int, threshold: float) -> float:
    """Return the rate of LIF neurons without rounding: near enough to choose a threshold."""
    v = np.zeros_like(arriving[:, 0])
    fired = 0
    for t in range(timesteps):
        v = v * (1 - _LEAK_DV / 4096) + arriving[:, t]
        spikes = v > threshold
        fired += int(spikes.sum())
        v[spikes] = 0
    return fired / (v.size * timesteps)


def _moved(rng: Rng, images: Images) -> Images:
    """Mirror and move each image at random, so that no sample is seen twice."""
    out = np.where(rng.random(len(images))[:, None, None, None] < 0.5, images, images[..., ::-1])
    shifts = rng.integers(-2, 3, (2, len(images)))
    rows = (np.arange(images.shape[2]) + shifts[0][:, None]) % images.shape[2]
    columns = (np.arange(images.shape[3]) + shifts[1][:, None]) % images.shape[3]
    out = np.take_along_axis(out, rows[:, None, :, None], axis=2)
    return np.take_along_axis(out, columns[:, None, None, :], axis=3)
