"""The active test: an attack must find an adversarial example that was planted inside the ball.

Source: Zimmermann et al., "Increasing confidence in adversarial robustness evaluations", NeurIPS
2022; here the features are the rates of the last hidden layer, and exact traces judge.

For each image the readout is replaced by a linear discriminator on those rates. It puts one random
corner of the ball, the plant, in another class, and dozens of other corners and the image itself in
the image's own. All below the readout stays, so whatever hides the gradient there still does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.grid import F64, Images
from spikeproof.attacks.twin import Forward, Twin
from spikeproof.attacks.twin.maps import dense_map, places
from spikeproof.attacks.twin.population import Feed, Population
from spikeproof.attacks.victim import Victim
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import run_float
from spikeproof.ir.chip import ChipNetwork

CORNERS = 32
"""Random corners of the ball that stay in the image's class."""
_TRIES = 4
_STANDS_OUT = 0.05
"""How far, in distances of the plant's rates from the mean, others lie behind the boundary."""
_CLASSES = 4
"""Two that decide, and two far below, which give the logits the spread that losses divide by."""
_NEVER = 1e30


@dataclass(frozen=True, eq=False)
class Plant:
    """A discriminator of one image: ``weight`` (d,) on rates, in C-order, and ``bias``.

    Above 0 is the planted class. point: the corner that was planted, (C, H, W). least: far below
    what the discriminator says of any point drawn.
    """

    weight: F64
    bias: float
    point: Images
    least: float

    def logits(self, rates: F64) -> F64:
        """Return the logits (N, classes) that rates (N, d) give; class 1 is the planted one."""
        value = rates @ self.weight + self.bias
        least = np.full_like(value, self.least)
        return np.stack([-value, value, least, least], axis=1)


@dataclass(frozen=True, eq=False)
class Planted(Victim):
    """A network whose readout is a discriminator; judged by the original's exact traces."""

    original: Victim | None = None
    found: Plant | None = None

    @cached_property
    def twin(self) -> Twin:
        """Return the original's twin with the discriminator for a readout."""
        assert self.original is not None and self.found is not None
        return planted_twin(self.original.twin, self.found)

    def logits(self, x: Images) -> F64:
        """Return what the discriminator says of exact rates."""
        assert self.original is not None and self.found is not None
        return self.found.logits(exact_rates(self.original, x))


def hidden(twin: Twin) -> tuple[int, ...]:
    """Return the populations that the readout hears; empty where it hears pixels alone."""
    return tuple(dict.fromkeys(f.source for f in twin.populations[-1].feeds if f.source >= 0))


def corners(x: Images, radius: int, count: int, rng: np.random.Generator) -> Images:
    """Return random corners of the ball around one image (C, H, W)."""
    signs = rng.choice([-radius, radius], (count, *x.shape))
    return np.asarray(np.clip(x.astype(np.int64) + signs, 0, 255), np.uint8)


def plant(twin: Twin, x: Images, radius: int, rng: np.random.Generator) -> Plant | None:
    """Plant an example in the ball of one image (C, H, W); None where no corner stands out."""
    for _ in range(_TRIES):
        drawn = corners(x, radius, CORNERS + 1, rng)
        rates = _rates(twin, twin.forward(np.concatenate([drawn, x[None]])))
        weight = rates[0] - rates[1:].mean(axis=0)
        values = rates @ weight
        highest = values[1:].max()
        size = (values[0] - highest) / 2
        if size > _STANDS_OUT * (weight @ weight):
            at = highest + size
            least = -4 * float(np.abs(values - at).max() / size)
            return Plant(weight / size, float(-at / size), drawn[0], least)
    return None


def planted_twin(twin: Twin, found: Plant) -> Twin:
    """Return the twin with the discriminator for a readout: class 0 is the image's own."""
    last, steps = len(twin.populations) - 1, twin.timesteps
    rows = np.zeros((_CLASSES, len(found.weight)))
    rows[0], rows[1] = -found.weight, found.weight
    feeds, start = [], 0
    for source in hidden(twin):
        shape = twin.populations[source].shape
        part = rows[:, start : start + int(np.prod(shape))]
        start += part.shape[1]
        feeds.append(Feed(source, 0, dense_map(part, shape, (_CLASSES,), twin.kind, twin.kind)))
    ones, none = np.ones((steps, _CLASSES), twin.kind), np.zeros(_CLASSES, twin.kind)
    readout = Population(
        "planted",
        (_CLASSES,),
        tuple(feeds),
        leak=ones,
        gain=ones,
        threshold=ones * twin.kind(_NEVER),
        unit=ones,
        keep=none,
        taken=none,
        initial=none,
        bias=np.array([-found.bias, found.bias, found.least, found.least], twin.kind),
        drive=twin.kind,
        hard=True,
        strict=True,
        chip=False,
        spiking=False,
    )
    return replace(twin, populations=(*twin.populations[:last], readout), rule="auto")


def exact_rates(victim: Victim, x: Images) -> F64:
    """Return the rates that the exact network has of images, (N, d)."""
    traces: Any
    if isinstance(victim.network, ChipNetwork):
        traces = FastEngine(1).run(victim.network, x, trace=True).traces
    else:
        traces = run_float(victim.network, x, trace=True).traces
    names = [victim.twin.populations[k].name for k in hidden(victim.twin)]
    return _joined([traces[name].s for name in names])


def _rates(twin: Twin, run: Forward) -> F64:
    parts = []
    for k in hidden(twin):
        spikes = np.empty_like(run.s[k])
        spikes[:, :, places(twin.populations[k].shape)] = run.s[k]
        parts.append(spikes)
    return _joined(parts)


def _joined(spikes: Sequence[NDArray[np.uint8]]) -> F64:
    return np.concatenate([s.reshape(*s.shape[:2], -1).mean(axis=1) for s in spikes], axis=1)
