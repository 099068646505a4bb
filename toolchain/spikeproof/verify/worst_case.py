"""Attack the trained and the chip network themselves with a suite, some images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.suites import Suite, suite_of
from spikeproof.attacks.validity.plain import naive_draws, naive_pgd
from spikeproof.attacks.victim import Victim
from spikeproof.attacks.worst_case import CHIP, SIDES, TRAINED, WorstCase
from spikeproof.errors import UnsupportedError
from spikeproof.jobs.threads import inner_threads
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.responses import CLEAN, Responses
from spikeproof.verify.stages import Stages

T = TypeVar("T")
Images = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def victims_of(stages: Stages) -> dict[str, Victim]:
    """Return the networks that are attacked, by name."""
    folded = stages["folded"].floats
    return {TRAINED: Victim(stages.source, folded), CHIP: Victim(stages.chip)}


def obstacle(victims: dict[str, Victim], suite: str) -> str:
    """Say why a suite cannot attack one of the networks; empty if it can attack both."""
    if not suite_of(suite).white_box:
        return ""
    for side in SIDES:
        try:
            victims[side].twin  # noqa: B018 (made here, and kept)
        except UnsupportedError as error:
            return error.what
    return ""


@dataclass(frozen=True, eq=False)
class Found:
    """What a suite found on some images of one network; rows are radii.

    images: uint8 (R, n, C, H, W). broken_by: (R, n), as :meth:`Suite.run` says it. naive: which
    images the network gets right under the naive attack, (R, n); empty where it was not run.
    """

    images: Images
    broken_by: NDArray[np.int64]
    naive: Mask


def attack_part(
    victim: Victim,
    suite: Suite,
    x: Images,
    y: NDArray[np.int64],
    radii: Sequence[int],
    names: Sequence[int],
    *,
    seed: int,
    naive: bool,
) -> Found:
    """Attack some images; ``names``: their places among all, on which random draws depend."""
    with inner_threads(1):  # the last bit of a product may depend on them
        found, by = suite.run(victim, x, y, radii, seed=seed, names=names)
        right = np.zeros((0, len(x)), np.bool_)
        if naive:
            clean = victim.predictions(x) == y
            starts = [naive_draws(seed, r, np.asarray(names), x.shape[1:]) for r in radii]
            points = [naive_pgd(victim, x, y, *both) for both in zip(radii, starts, strict=True)]
            right = np.stack([clean & (victim.predictions(point) == y) for point in points])
    return Found(found.images, by, right)


@dataclass
class Tried:
    """What one network withstood, by radius; lists are as long as its images.

    broken_by: members of the suite, as :meth:`Suite.run` says it. naive: right under the naive
    attack; empty where it was not run.
    """

    broken_by: list[list[int]] = field(default_factory=list)
    naive: list[list[bool]] = field(default_factory=list)

    def extend(self, broken_by: list[list[int]], naive: list[list[bool]]) -> None:
        """Add the results of the next images."""
        self.broken_by = _joined(self.broken_by, broken_by)
        self.naive = _joined(self.naive, naive)


def _joined(held: list[list[T]], more: list[list[T]]) -> list[list[T]]:
    return [a + b for a, b in zip(held, more, strict=True)] if held else more


Attacked = dict[str, Tried]
"""By network, one of ``SIDES``."""


@dataclass(frozen=True, eq=False)
class Worst:
    """Who is right on the same images in one ball, whatever was found on either network.

    right: by network, bool (n,). shown: by the network the examples were crafted on and the one
    they were shown to, which of them are misclassified there, and not unperturbed; bool (n,).
    """

    epsilon: int
    right: dict[str, Mask]
    shown: dict[tuple[str, str], Mask]


def worst_cases_of(
    responses: Responses, planned: Sequence[Perturbation], labels: NDArray[np.int64]
) -> list[Worst]:
    """Return what both networks withstand, by radius, the smallest first.

    An image counts as right in a ball only if the network is right about it unperturbed, about
    what was found on itself and about what was found on the other, in this ball and in all smaller.
    """
    found: list[Worst] = []
    radii = sorted({int(p.strength) for p in planned})
    for radius in radii:
        here = {crafted_on(p): responses[p.name] for p in planned if p.strength == radius}
        count = min(len(part.trained) for part in here.values())
        truth = labels[:count]
        clean = _right(responses, CLEAN, truth)
        right = dict(found[-1].right) if found else dict(clean)
        shown = {}
        for made_on, part in here.items():
            said = {TRAINED: part.trained, CHIP: part.chip}
            for side in SIDES:
                correct = np.asarray(said[side][:count]) == truth
                right[side] = right[side] & correct
                shown[made_on, side] = clean[side] & ~correct
        found.append(Worst(radius, right, shown))
    return found


def _right(responses: Responses, name: str, truth: NDArray[np.int64]) -> dict[str, Mask]:
    part = responses[name].right(truth)
    return {TRAINED: part["float"], CHIP: part["chip"]}


def crafted_on(item: Perturbation) -> str:
    """Return which network a perturbation of a suite was crafted on."""
    assert isinstance(item.attack, WorstCase)
    return item.attack.crafted_on
