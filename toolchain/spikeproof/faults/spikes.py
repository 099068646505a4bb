"""Faults of spikes: neurons that never send one or always do, and spikes lost or late.

They act between the neuron and whoever reads it, so they are exact in both networks and need no
neuron that the chip has not: the membrane goes on as if the spike had been sent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.trace import Channel
from spikeproof.faults.base import Fault, Faulted, Images, Labels, Pair, Places, struck

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SpikeFault(Fault):
    """A fault that leaves both networks as they are and changes what their neurons send."""

    def strike(self, pair: Pair, seed: int, x: Images, y: Labels) -> Faulted:
        """Say what becomes of spikes."""
        shapes = {
            layer.name: (pair.chip.timesteps, *layer.shape)
            for layer in pair.chip.layers
            if layer.neuron.spiking
        }
        return Faulted(pair.trained, pair.chip, lambda images: self._channel(shapes, seed, images))

    def _channel(self, shapes: dict[str, tuple[int, ...]], seed: int, images: Places) -> Channel:
        ways: dict[str, Callable[[int, Bools], Bools]] = {}

        def send(layer: str, t: int, fired: Bools) -> Bools:
            if t == 0:
                ways[layer] = self.way(layer, shapes[layer], seed, images)
            shape = shapes[layer][1:]
            return ways[layer](t, fired.reshape(-1, *shape)).reshape(fired.shape)

        return send

    @abstractmethod
    def way(
        self, layer: str, shape: tuple[int, ...], seed: int, images: Places
    ) -> Callable[[int, Bools], Bools]:
        """Return what becomes of a layer's spikes.

        Args:
            layer: its name.
            shape: (T, *neurons).
            seed: of what is drawn.
            images: positions of the images of the batch.

        Returns:
            Called with (t, who fires (N, *neurons)) for t = 0, 1, ...; returns whose spikes are
            sent at t.
        """

    def of_neurons(self, layer: str, shape: tuple[int, ...], seed: int) -> Bools:
        """Tell which neurons are struck, for all images."""
        return np.asarray(struck(self.draws(seed, layer), shape[1:], self.rate))

    def of_spikes(self, layer: str, shape: tuple[int, ...], seed: int, images: Places) -> Bools:
        """Tell at which steps which neurons' spikes are struck, (N, T, *neurons)."""
        found: list[Any] = [
            struck(self.draws(seed, layer, image), shape, self.rate) for image in images
        ]
        return np.stack(found)


@dataclass(frozen=True)
class DeadNeurons(SpikeFault):
    """Neurons that send no spike."""

    kind = "dead"
    title = "dead neurons"
    unit = "of neurons"
    rates = (0.05, 0.2, 0.5)

    def way(
        self, layer: str, shape: tuple[int, ...], seed: int, images: Places
    ) -> Callable[[int, Bools], Bools]:
        """Take their spikes away."""
        dead = self.of_neurons(layer, shape, seed)
        return lambda t, fired: fired & ~dead


@dataclass(frozen=True)
class StuckNeurons(SpikeFault):
    """Neurons that send a spike at every step."""

    kind = "stuck"
    title = "neurons stuck at firing"
    unit = "of neurons"
    rates = (0.01, 0.05, 0.2)

    def way(
        self, layer: str, shape: tuple[int, ...], seed: int, images: Places
    ) -> Callable[[int, Bools], Bools]:
        """Add their spikes."""
        stuck = self.of_neurons(layer, shape, seed)
        return lambda t, fired: fired | stuck


@dataclass(frozen=True)
class DroppedSpikes(SpikeFault):
    """Spikes that are lost on their way to everyone who reads the neuron."""

    kind = "dropped"
    title = "spikes dropped"
    unit = "of spikes"
    rates = (0.05, 0.2, 0.5)

    def way(
        self, layer: str, shape: tuple[int, ...], seed: int, images: Places
    ) -> Callable[[int, Bools], Bools]:
        """Lose them."""
        lost = self.of_spikes(layer, shape, seed, images)
        return lambda t, fired: fired & ~lost[:, t]


@dataclass(frozen=True)
class JitteredSpikes(SpikeFault):
    """Spikes that arrive one step late.

    One that meets the neuron's next spike there is one with it; one that is late at the last step
    never arrives.
    """

    kind = "jittered"
    title = "spikes a step late"
    unit = "of spikes"
    rates = (0.05, 0.2, 0.5)

    def way(
        self, layer: str, shape: tuple[int, ...], seed: int, images: Places
    ) -> Callable[[int, Bools], Bools]:
        """Hold them back."""
        late = self.of_spikes(layer, shape, seed, images)
        held = np.zeros_like(late[:, 0])

        def send(t: int, fired: Bools) -> Bools:
            sent = (fired & ~late[:, t]) | held
            held[...] = fired & late[:, t]
            return sent

        return send
