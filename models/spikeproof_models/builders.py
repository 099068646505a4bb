"""Untrained networks of the shapes used here, in the float dialect, with seeded weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from spikeproof.errors import InputError
from spikeproof.ir import floats
from spikeproof.ir.check_float import check_float
from spikeproof.ir.shapes import Shape, output_shape
from spikeproof_models.neuron_choices import DEFAULT_LEAK, NeuronKind

ImageShape = tuple[int, int, int]

_VGG_PLANS: dict[int, tuple[int | Literal["pool"], ...]] = {
    5: (64, "pool", 128, 128, "pool"),
    11: (64, "pool", 128, 256, "pool", 512, 512, 512, "pool", 512, 512),
}


@dataclass(frozen=True)
class NeuronSpec:
    """The neuron used in every layer: kind, leak, threshold, strict firing, timesteps."""

    kind: NeuronKind = "lif"
    leak: float = DEFAULT_LEAK
    threshold: float = 1.0
    strict: bool = True
    timesteps: int = 4

    def node(self, name: str) -> floats.Lif:
        """Return a layer of this neuron; a DLIF gain starts at exactly 1."""
        gain = np.ones(self.timesteps, np.float32) if self.kind == "dlif" else None
        return floats.Lif(name, self.leak, self.threshold, self.strict, gain)


@dataclass
class _Chain:
    """Collects nodes and keeps track of the shape, so that builders stay declarative."""

    shape: Shape
    neuron: NeuronSpec
    rng: np.random.Generator
    nodes: list[floats.FloatNode] = field(default_factory=list)
    spiking: int = 0

    def add(self, node: floats.FloatNode) -> None:
        self.shape = output_shape(node, self.shape)
        self.nodes.append(node)

    def conv(self, out: int, *, stride: int, bias: bool) -> None:
        """Add conv k3 p1 - BN - neuron; Kaiming-normal weights by fan-out."""
        self.spiking += 1
        n, channels = self.spiking, self.shape[0]
        weight = self.rng.normal(0, np.sqrt(2 / (9 * out)), (out, channels, 3, 3))
        zeros, ones = np.zeros(out, np.float32), np.ones(out, np.float32)
        self.add(
            floats.Conv2d(
                f"conv{n}",
                weight.astype(np.float32),
                zeros if bias else None,
                (stride, stride),
                (1, 1),
            )
        )
        self.add(floats.BatchNorm2d(f"bn{n}", ones, zeros, zeros, ones))
        self.add(self.neuron.node(f"l{n}"))

    def dense(self, out: int) -> None:
        """Add linear - neuron; Kaiming-normal weights by fan-in."""
        self.spiking += 1
        self.add(self._linear(f"fc{self.spiking}", out, np.sqrt(2.0)))
        self.add(self.neuron.node(f"l{self.spiking}"))

    def finish(self, name: str, input_shape: ImageShape, classes: int) -> floats.FloatNetwork:
        """Add the readout and return the checked network."""
        self.add(self._linear("fc", classes, 1.0))
        self.add(floats.Readout("out"))
        network = floats.FloatNetwork(name, input_shape, self.neuron.timesteps, tuple(self.nodes))
        check_float(network)
        return network

    def _linear(self, name: str, out: int, gain: float) -> floats.Linear:
        width = int(np.prod(self.shape))
        weight = self.rng.normal(0, gain / np.sqrt(width), (out, width)).astype(np.float32)
        return floats.Linear(name, weight, np.zeros(out, np.float32))


def mlp(
    name: str = "mlp",
    *,
    input_shape: ImageShape = (1, 28, 28),
    hidden: Sequence[int] = (256, 128),
    classes: int = 10,
    neuron: NeuronSpec | None = None,
    seed: int = 0,
) -> floats.FloatNetwork:
    """Build fully connected spiking layers and a readout."""
    return small_conv(
        name,
        input_shape=input_shape,
        channels=(),
        hidden=hidden,
        classes=classes,
        neuron=neuron,
        seed=seed,
    )


def small_conv(
    name: str = "small-conv",
    *,
    input_shape: ImageShape = (1, 28, 28),
    channels: Sequence[int] = (24, 48),
    hidden: Sequence[int] = (128,),
    classes: int = 10,
    neuron: NeuronSpec | None = None,
    seed: int = 0,
) -> floats.FloatNetwork:
    """Build conv (k3, stride 2) - BN - neuron blocks, dense spiking layers and a readout."""
    chain = _Chain(input_shape, neuron or NeuronSpec(), np.random.default_rng(seed))
    for out in channels:
        chain.conv(out, stride=2, bias=False)
    chain.add(floats.Flatten("flatten"))
    for width in hidden:
        chain.dense(width)
    return chain.finish(name, input_shape, classes)


def vgg(
    depth: int,
    name: str | None = None,
    *,
    input_shape: ImageShape = (3, 32, 32),
    classes: int = 10,
    neuron: NeuronSpec | None = None,
    width_divisor: int = 1,
    seed: int = 0,
) -> floats.FloatNetwork:
    """Build the paper's VGG-5 or VGG-11 with average pooling.

    Args:
        depth: 5 or 11.
        name: of the network; default ``vgg5`` or ``vgg11``.
        input_shape: (C, H, W).
        classes: number of logits.
        neuron: default LIF with eight timesteps, as in the paper.
        seed: of the weights.
        width_divisor: divides all channel and neuron counts (the originals have 50 and 61
            million parameters).

    Raises:
        InputError: there is no plan for this depth.

    Source: "Robust Stable Spiking Neural Networks", ICML 2024, experimental set-up.
    """
    if depth not in _VGG_PLANS:
        raise InputError(f"no VGG-{depth}; known: {', '.join(map(str, sorted(_VGG_PLANS)))}")
    spec = neuron or NeuronSpec(timesteps=8)
    chain = _Chain(input_shape, spec, np.random.default_rng(seed))
    pools = 0
    for step in _VGG_PLANS[depth]:
        if step == "pool":
            pools += 1
            chain.add(floats.AvgPool2d(f"pool{pools}", (2, 2), (2, 2)))
        else:
            chain.conv(max(1, step // width_divisor), stride=1, bias=True)
    chain.add(floats.Flatten("flatten"))
    for _ in range(2):
        chain.dense(max(1, 4096 // width_divisor))
    return chain.finish(name or f"vgg{depth}", input_shape, classes)
