"""A fault as a value object: it strikes both networks of a conversion at the same places.

What a fault draws belongs to places that both networks have (a weight, a neuron, a step of an
image), so equal seeds give equal faults before and after conversion, and a larger rate strikes
where a smaller one does, and more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from spikeproof.convert.pipeline import float_layers
from spikeproof.convert.quantise import V_UNITS, FloatLayer
from spikeproof.engines.trace import Channel
from spikeproof.errors import GraphError, InputError, SpikeproofError, UnsupportedError
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_float import check_float
from spikeproof.ir.chip import ChipLayer, ChipNetwork
from spikeproof.ir.floats import Conv2d, FloatNetwork, FloatNode, Linear

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Places = range
"""Positions of images in the data set: what is drawn for an image depends on its own."""
Channels = Callable[[Places], Channel]
"""Makes what becomes of the spikes of a batch of images."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A trained network and the chip network that was made of it.

    trained: with everything folded into its weights (``convert.pipeline.fold_network``), so that
    its layers, neurons and weights are those of the chip one by one. units: chip v-units per unit
    of float membrane, by layer.
    """

    trained: FloatNetwork
    chip: ChipNetwork
    units: dict[str, float]

    @cached_property
    def layers(self) -> list[FloatLayer]:
        """Return the folded maps of the trained network with their neurons, in the chip's order."""
        return float_layers(self.trained)

    def with_layers(self, layers: dict[str, ChipLayer]) -> ChipNetwork:
        """Return the chip network with other layers in the place of some."""
        if not layers:
            return self.chip
        return self.chip.changed([layers.get(one.name, one) for one in self.chip.layers])

    def with_nodes(self, nodes: dict[str, FloatNode]) -> FloatNetwork:
        """Return the trained network with other nodes in the place of some."""
        if not nodes:
            return self.trained
        return replace(self.trained, nodes=tuple(nodes.get(n.name, n) for n in self.trained.nodes))

    def as_trained(self, chip: ChipNetwork) -> FloatNetwork:
        """Return the trained network, its weights changed by as much as those of the chip were.

        The change of an integer goes through the layer's scale; what rounding had changed before
        stays out of it.
        """
        nodes: dict[str, FloatNode] = {}
        for layer, before, after in zip(self.layers, self.chip.layers, chip.layers, strict=True):
            scale = self.units[before.name] / V_UNITS
            for (part, _, wire), old, new in zip(
                layer.parts, before.inputs, after.inputs, strict=True
            ):
                if new.synapse is old.synapse:
                    continue
                assert isinstance(part, Conv2d | Linear)
                change = new.synapse.weight.astype(np.float64) - old.synapse.weight
                change *= (255 if layer.is_pixels(wire) else 1) / scale
                nodes[part.name] = replace(part, weight=part.weight + change)
        return self.with_nodes(nodes)


@dataclass(frozen=True, eq=False)
class Faulted:
    """Both networks with a fault in them, and what becomes of their spikes (None: all arrive)."""

    trained: FloatNetwork
    chip: ChipNetwork
    channels: Channels | None = None


class IllegalFaultError(UnsupportedError):
    """What a fault leaves is no legal network."""


@dataclass(frozen=True)
class Fault(ABC):
    """A kind of fault at a rate; what the rate counts is the kind's ``unit``.

    A new one is a subclass with a ``kind``, registered in :mod:`spikeproof.faults.registry`.

    Raises:
        InputError: the rate is outside of ``0..most``, or not whole where it counts something.
    """

    rate: float

    kind: ClassVar[str]
    """As ``--kind`` names it."""
    title: ClassVar[str]
    """What tables call it."""
    unit: ClassVar[str]
    """What a rate is: "of stored bits"."""
    rates: ClassVar[tuple[float, ...]]
    """What is tried if nothing else is said, ascending."""
    most: ClassVar[float] = 1.0
    """The largest rate."""
    whole: ClassVar[bool] = False
    """Whether a rate is a count."""

    def __post_init__(self) -> None:
        """Check the rate."""
        if not 0 <= self.rate <= self.most:
            raise InputError(
                f"{self.kind} at {self.rate:g}, expected 0 to {self.most:g} ({self.unit})",
                where="--rate",
                hint=f"For example {self.example()}.",
            )
        if self.whole and self.rate != int(self.rate):
            raise InputError(
                f"{self.kind} at {self.rate:g}, expected a whole number ({self.unit})",
                where="--rate",
                hint=f"For example {self.example()}.",
            )

    @property
    def text(self) -> str:
        """Return the rate as tables show it."""
        return f"{100 * self.rate:g} % {self.unit}"

    def obstacle(self, pair: Pair) -> SpikeproofError | None:
        """Return why this kind can do nothing to a pair on this machine; None: it can.

        Asked before anything is run: what a kind needs besides (a library) is looked for here.
        """
        return None

    @classmethod
    def example(cls) -> str:
        """Return the rates of its own as an option takes them."""
        return ",".join(f"{rate:g}" for rate in cls.rates)

    def applied(self, pair: Pair, seed: int, x: Images, y: Labels) -> Faulted:
        """Return both networks with the fault that ``seed`` draws.

        Args:
            pair: the networks without it.
            seed: of all that is drawn.
            x: uint8 images (N, C, H, W) and
            y: labels (N,) that a kind may look at to choose its places.

        Raises:
            IllegalFaultError: the chip, or the float dialect, cannot hold the network with the
                fault; the reasons are named.
        """
        found = self.strike(pair, seed, x, y)
        try:
            if found.chip is not pair.chip:
                check_chip(found.chip)
            if found.trained is not pair.trained:
                check_float(found.trained)
        except GraphError as error:
            raise IllegalFaultError(
                f"{self.kind} at {self.rate:g} with seed {seed} is no legal network: {error.what}",
                where=error.where,
                hint="Take a smaller --rate.",
            ) from error
        return found

    @abstractmethod
    def strike(self, pair: Pair, seed: int, x: Images, y: Labels) -> Faulted:
        """Return both networks with the fault; see :meth:`applied`, which checks them."""

    def draws(self, seed: int, *place: int | str) -> np.random.Generator:
        """Return random numbers for a place; those of others do not depend on how many it takes."""
        return draws(seed, self.kind, *place)


def draws(seed: int, *place: int | str) -> np.random.Generator:
    """Return random numbers that depend on the seed and a place, and on nothing else."""
    named = [one if isinstance(one, int) else crc32(one.encode()) for one in place]
    return np.random.default_rng([seed, *named])


def struck(generator: np.random.Generator, shape: tuple[int, ...], rate: float) -> NDArray[Any]:
    """Tell which of ``shape`` places a fault of this rate strikes: bool, none at 0, all at 1."""
    return np.asarray(generator.random(shape) < rate)
