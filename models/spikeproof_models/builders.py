"""Untrained networks of the shapes used here, in the float dialect, with seeded weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from spikeproof.errors import InputError
from spikeproof.ir import floats
from spikeproof.ir.check_float import check_float
from spikeproof.ir.limits import INPUT
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
    """Collects nodes and keeps track of the shape, so that builders stay declarative.

    A node is fed by the one before unless its sources are named; then the network is a graph.
    """

    shape: Shape
    neuron: NeuronSpec
    rng: np.random.Generator
    nodes: list[floats.FloatNode] = field(default_factory=list)
    spiking: int = 0
    shapes: dict[str, Shape] = field(default_factory=dict)
    edges: list[floats.Edge] = field(default_factory=list)
    branched: bool = False

    @property
    def last(self) -> str:
        """Return the name of the node added last."""
        return self.nodes[-1].name if self.nodes else INPUT

    def add(self, node: floats.FloatNode, sources: Mapping[str, float] | None = None) -> None:
        """Add a node; ``sources``: what feeds it, each with its coefficient."""
        if sources is None:
            sources = {self.last: 1.0}
        else:
            self.branched = True
            self.shape = self.shapes[next(iter(sources))]
        self.edges += [floats.Edge(name, node.name, 0, factor) for name, factor in sources.items()]
        self.shape = self.shapes[node.name] = output_shape(node, self.shape)
        self.nodes.append(node)

    def conv(self, out: int, *, stride: int, bias: bool) -> None:
        """Add conv k3 p1 - BN - neuron."""
        self.spiking += 1
        n = self.spiking
        self.convolve(f"conv{n}", out, stride=stride, bias=bias)
        self.activate()

    def convolve(
        self,
        name: str,
        out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        bias: bool = False,
        source: str | None = None,
    ) -> None:
        """Add a convolution that keeps the size but for its stride; Kaiming normal by fan-out."""
        channels = (self.shape if source is None else self.shapes[source])[0]
        deviation = np.sqrt(2 / (kernel * kernel * out))
        weight = self.rng.normal(0, deviation, (out, channels, kernel, kernel)).astype(np.float32)
        zeros = np.zeros(out, np.float32) if bias else None
        padding = kernel // 2
        node = floats.Conv2d(name, weight, zeros, (stride, stride), (padding, padding))
        self.add(node, None if source is None else {source: 1.0})

    def activate(self, source: str | None = None) -> None:
        """Add BN - neuron, numbered as the spiking layer they are."""
        width = (self.shape if source is None else self.shapes[source])[0]
        zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
        node = floats.BatchNorm2d(f"bn{self.spiking}", ones, zeros, zeros, ones)
        self.add(node, None if source is None else {source: 1.0})
        self.add(self.neuron.node(f"l{self.spiking}"))

    def residual(self, out: int, *, stride: int) -> None:
        """Add a pre-activation block: BN - neuron - conv - BN - neuron - conv, and a shortcut.

        The shortcut is a 1x1 convolution of the first spikes where the width or size changes, else
        the stream; it and the residual count half each, and training changes that.
        """
        stream, same = self.last, self.shape[0] == out and stride == 1
        self.spiking += 1
        n = self.spiking
        self.activate(stream)
        self.convolve(f"conv{n}", out, stride=stride)
        self.spiking += 1
        self.activate()
        self.convolve(f"conv{n + 1}", out)
        if not same:
            stream = f"shortcut{n}"
            self.convolve(stream, out, kernel=1, stride=stride, source=f"l{n}")
        self.add(floats.Add(f"add{n + 1}"), {stream: 0.5, f"conv{n + 1}": 0.5})

    def dense(self, out: int) -> None:
        """Add linear - neuron; Kaiming-normal weights by fan-in."""
        self.spiking += 1
        self.add(self._linear(f"fc{self.spiking}", out, np.sqrt(2.0)))
        self.add(self.neuron.node(f"l{self.spiking}"))

    def finish(self, name: str, input_shape: ImageShape, classes: int) -> floats.FloatNetwork:
        """Add the readout and return the checked network."""
        self.add(self._linear("fc", classes, 1.0))
        self.add(floats.Readout("out"))
        edges = tuple(self.edges) if self.branched else ()
        network = floats.FloatNetwork(
            name, input_shape, self.neuron.timesteps, tuple(self.nodes), edges
        )
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


def wrn(
    depth: int,
    name: str | None = None,
    *,
    input_shape: ImageShape = (3, 32, 32),
    classes: int = 10,
    neuron: NeuronSpec | None = None,
    widen: int = 4,
    width_divisor: int = 1,
    seed: int = 0,
) -> floats.FloatNetwork:
    """Build the paper's wide ResNet: pre-activation blocks around an analog residual stream.

    A convolution, three groups of (depth - 4) / 6 blocks of which the second and third halve the
    image, batch norm, neurons, an average pool of at most 8x8, readout.

    Args:
        depth: 16 in the paper; 10, 16, 22, ...
        name: of the network; default ``wrn16``.
        input_shape: (C, H, W).
        classes: number of logits.
        neuron: default LIF with eight timesteps, as in the paper.
        widen: the groups have 16, 32 and 64 channels times this.
        width_divisor: divides all channel counts, that of the first convolution (16) too.
        seed: of the weights.

    Raises:
        InputError: there is no such depth.

    Source: "Robust Stable Spiking Neural Networks", ICML 2024, experimental set-up.
    """
    if depth < 10 or (depth - 4) % 6:
        raise InputError(f"no WRN-{depth}; a depth is 10, 16, 22 and so on, 6 more each time")
    chain = _Chain(input_shape, neuron or NeuronSpec(timesteps=8), np.random.default_rng(seed))
    chain.convolve("conv0", max(1, 16 // width_divisor))
    for group in range(3):
        for block in range((depth - 4) // 6):
            stride = 2 if group and not block else 1
            chain.residual(max(1, 16 * widen * 2**group // width_divisor), stride=stride)
    chain.spiking += 1
    chain.activate()
    window = min(8, chain.shape[1]), min(8, chain.shape[2])
    chain.add(floats.AvgPool2d("pool", window, window))
    chain.add(floats.Flatten("flatten"))
    return chain.finish(name or f"wrn{depth}", input_shape, classes)
