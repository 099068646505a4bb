"""What is attacked: a twin for gradients, and the exact network that judges every example.

A trained network is judged by the float engine in float64, a chip network by an engine that equals
the reference. What fools only the twin counts for nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import ADAPTIVE, Estimator
from spikeproof.attacks.grid import F64, Draws, GridAttack, Images, Labels, Oracle
from spikeproof.attacks.walks import TwinOracle
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import run_float
from spikeproof.errors import InputError, MissingExtraError, UnsupportedError
from spikeproof.extras import need
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork

if TYPE_CHECKING:
    from spikeproof.attacks.twin import Twin


_ANY_SLOPE = Estimator(0.425, "detached", ADAPTIVE)
"""All slopes share their kernels; this one uses all of them."""


@dataclass(frozen=True, eq=False)
class Victim:
    """A network under attack.

    Args:
        network: a trained network or a chip network: the judge.
        folded: of a trained network, the same with its linear maps folded
            (``spikeproof.convert.fold``); its twin is made of it.
    """

    network: FloatNetwork | ChipNetwork
    folded: FloatNetwork | None = None

    @cached_property
    def twin(self) -> Twin:
        """Return the twin, made once in each process.

        Raises:
            UnsupportedError: the network has none, and why. MissingExtraError: numba is absent.
        """
        need("numba", extra="fast", purpose="gradients of a twin")
        from spikeproof.attacks.twin import chip_twin, float_twin

        if isinstance(self.network, ChipNetwork):
            return chip_twin(self.network)
        return float_twin(self.folded or self.network)

    def prepare(self) -> None:
        """Compile what its gradients need, by taking one; nothing where it has no twin."""
        with contextlib.suppress(UnsupportedError, MissingExtraError):
            blank = np.zeros((1, *self.network.input_shape), np.uint8)
            logits, back = TwinOracle(self.twin, _ANY_SLOPE).ask(blank)
            back(np.ones_like(logits))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the twin to each process."""
        return {"network": self.network, "folded": self.folded}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the networks."""
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @cached_property
    def classes(self) -> int:
        """Return how many logits the network has."""
        return int(self.logits(np.zeros((1, *self.network.input_shape), np.uint8)).shape[1])

    def predictions(self, x: Images) -> Labels:
        """Return what the exact network says of images, uint8 (N, C, H, W)."""
        return np.asarray(self.logits(x).argmax(axis=1))

    def logits(self, x: Images) -> F64:
        """Return the logits (N, K) of the exact network; of equal ones the first is its answer."""
        if isinstance(self.network, ChipNetwork):
            return FastEngine(1).run(self.network, x).logits.astype(np.float64)
        return run_float(self.network, x).logits.astype(np.float64).reshape(len(x), -1)


@dataclass(frozen=True, eq=False)
class _AskedVictim:
    """A victim, and how the gradients of its twin are taken."""

    victim: Victim
    estimator: Estimator | None
    made: Callable[[], Oracle] | None = None

    def oracle(self) -> Oracle:
        if self.made is not None:
            return self.made()
        assert self.estimator is not None
        return TwinOracle(self.victim.twin, self.estimator)

    def logits(self, x: Images) -> F64:
        return self.victim.logits(x)


@dataclass(frozen=True, eq=False)
class Broken:
    """What an attack found, by radius: images (R, N, C, H, W), and which fooled the network (R, N).

    An image that fooled it in a smaller ball does in every larger one, and is the same there. Of
    an image that withstood, the strongest that was found is kept; of one that was not attacked,
    itself.
    """

    images: Images
    broken: NDArray[np.bool_]


def attack_radii(
    attack: GridAttack,
    victim: Victim,
    estimator: Estimator | None,
    x: Images,
    y: Labels,
    radii: Sequence[int],
    *,
    seed: Sequence[int],
    names: Sequence[int] | None = None,
    done: NDArray[np.bool_] | None = None,
    oracle: Callable[[], Oracle] | None = None,
) -> Broken:
    """Attack images in balls of several radii, the smallest first.

    Args:
        attack: its strength is replaced by each radius in turn.
        victim: the network; a twin is made of it only if the attack takes gradients.
        estimator: how gradients are taken; None: the attack takes none.
        x: uint8 (N, C, H, W).
        y: labels (N,).
        radii: whole grey levels, ascending.
        seed: of all random draws.
        names: whole numbers that tell images apart (their places by default), so that an image's
            draws do not depend on its company.
        done: images that need no attack at a radius, bool (R, N).
        oracle: makes what answers an attack with gradients; None: the twin with the estimator.

    Raises:
        InputError: the attack takes gradients, and no estimator was given.
    """
    if attack.white_box and estimator is None:
        raise InputError(
            "takes gradients, and was given no estimator to take them with", where=attack.name
        )
    broken = np.zeros((len(radii), len(x)), np.bool_)
    images = np.repeat(x[None], len(radii), axis=0)
    known = np.asarray(names if names is not None else range(len(x)))
    for r, radius in enumerate(radii):
        if r:
            broken[r], images[r] = broken[r - 1], images[r - 1]
        skip = broken[r] if done is None else broken[r] | done[r]
        left = np.flatnonzero(~skip)
        if not len(left):
            continue
        draws = Draws((*seed, int(radius)), known[left], x.shape[1:])
        at_radius = replace(attack, strength=float(radius))
        asked = _AskedVictim(victim, estimator, oracle)
        found = at_radius.find(asked, x[left], y[left], draws)
        found = within(found, x[left], radius)
        wrong = victim.predictions(found) != y[left]
        images[r, left] = found
        broken[r, left[wrong]] = True
    return Broken(images, broken)


def within(found: Images, x: Images, radius: int) -> Images:
    """Return the nearest images on the 8-bit grid inside the ball."""
    levels = x.astype(np.int16)
    return np.clip(found, np.maximum(levels - radius, 0), np.minimum(levels + radius, 255)).astype(
        np.uint8
    )


def check_radii(radii: Sequence[float]) -> list[int]:
    """Return radii as whole numbers, ascending and each once.

    Raises:
        InputError: one is no whole number of grey levels in 1..255, or there is none.
    """
    if not radii:
        raise InputError("no radius was given", where="--epsilon", hint="For example 2,4,8.")
    for radius in radii:
        if 0 < radius < 1:
            raise InputError(
                f"found {radius:g}, expected whole grey levels 1..255",
                where="--epsilon",
                hint=f"If that is a share of the range 0..1, {_levels(radius)}.",
            )
        if radius != round(radius) or not 1 <= radius <= 255:
            raise InputError(
                f"found {radius:g}, expected whole grey levels 1..255",
                where="--epsilon",
                hint="Images are 8-bit: 8 stands for 8/255.",
            )
    return sorted({int(radius) for radius in radii})


def _levels(share: float) -> str:
    near = max(1, round(share * 255))
    return f"write {near}, which is {near}/255 = {near / 255:.3f}"
