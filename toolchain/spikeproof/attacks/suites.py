"""Named, versioned lists of attacks: the worst case of all members, image by image.

A suite that was released never changes, because its name and version stand beside figures. One that
should find more is another one, with the next version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import ADAPTIVE, GAUSSIAN, Estimator
from spikeproof.attacks.grid import GridAttack, Images, Labels, described
from spikeproof.attacks.rays import RayS
from spikeproof.attacks.square import Square
from spikeproof.attacks.victim import Broken, Victim, attack_radii
from spikeproof.attacks.walks import APGD, SAPGD
from spikeproof.errors import InputError


@dataclass(frozen=True)
class Member:
    """One attack of a suite, and how it takes gradients, if it does; the radius is filled in."""

    attack: GridAttack
    estimator: Estimator | None = None

    def __post_init__(self) -> None:
        """Check that there is an estimator where one is needed, and only there."""
        if self.attack.white_box != (self.estimator is not None):
            takes = "gradients, but has no" if self.attack.white_box else "no gradients, but has an"
            raise InputError(f"takes {takes} estimator", where=self.attack.name)

    @property
    def name(self) -> str:
        """Attack and estimator: ``sa-pgd-margin-100, 0.425 detached assg``, ``square-1000``."""
        if self.estimator is None:
            return self.attack.name
        return f"{self.attack.name}, {self.estimator.name}"

    def describe(self) -> dict[str, Any]:
        """Return what defines it as plain JSON."""
        attack = {k: v for k, v in described(self.attack).items() if k != "strength"}
        estimator = None if self.estimator is None else described(self.estimator)
        return {"kind": self.attack.kind, "attack": attack, "estimator": estimator}


@dataclass(frozen=True)
class Suite:
    """Members in the order they are tried, each on the images that survived those before it."""

    family: str
    version: int
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """Family and version: ``sp-quick-1``."""
        return f"{self.family}-{self.version}"

    @property
    def white_box(self) -> bool:
        """Whether a member takes gradients: then a network needs a twin."""
        return any(member.attack.white_box for member in self.members)

    @property
    def gradients(self) -> int:
        """Gradients of an image that survives everything, at one radius."""
        return sum(member.attack.gradients for member in self.members)

    def describe(self) -> dict[str, Any]:
        """Return what defines it as plain JSON."""
        return {"name": self.name, "members": [member.describe() for member in self.members]}

    def run(
        self,
        victim: Victim,
        x: Images,
        y: Labels,
        radii: Sequence[int],
        *,
        seed: int = 0,
        names: Sequence[int] | None = None,
    ) -> tuple[Broken, NDArray[np.int64]]:
        """Attack images with every member in turn, at each radius those that survive.

        Images that the network gets wrong unperturbed are broken from the start. Other arguments as
        :func:`spikeproof.attacks.victim.attack_radii`.

        Returns:
            What was found, and which member did it, (R, N): -1 for none yet, -2 for images that
            need none.
        """
        shape = (len(radii), len(x))
        clean = victim.predictions(x) != y
        broken = np.repeat(clean[None], len(radii), axis=0)
        by = np.where(broken, -2, -1).astype(np.int64)
        images = np.repeat(x[None], len(radii), axis=0)
        for r, radius in enumerate(radii):
            if r:
                fresh = broken[r - 1] & ~broken[r]
                images[r, fresh], by[r, fresh] = images[r - 1, fresh], by[r - 1, fresh]
                broken[r] |= fresh
            for k, member in enumerate(self.members):
                found = attack_radii(
                    member.attack,
                    victim,
                    member.estimator,
                    x,
                    y,
                    [radius],
                    seed=(seed, k),
                    names=names,
                    done=broken[r : r + 1],
                )
                tried, new = ~broken[r], found.broken[0]
                images[r, tried], by[r, new] = found.images[0, tried], k
                broken[r] |= new
        assert broken.shape == shape
        return Broken(images, broken), by


_ASSG = Estimator(0.425, "detached", ADAPTIVE)
SP_QUICK_1 = Suite(
    "sp-quick",
    1,
    (
        Member(SAPGD(0, steps=100, loss="margin"), _ASSG),
        Member(SAPGD(0, steps=100, loss="margin", random_start=True), _ASSG),
        Member(SAPGD(0, steps=100, loss="ce"), _ASSG),
    ),
)
"""Chosen by measurement on the shipped networks: ``python -m spikeproof_models.suite_members``."""
_ARCTANGENT = Estimator(0.25, "detached", "arctangent")
_THROUGH_RESET = Estimator(1.0, "attached")
SP_STANDARD_1 = Suite(
    "sp-standard",
    1,
    (
        *SP_QUICK_1.members,
        Member(SAPGD(0, steps=200, loss="margin"), _ASSG),
        Member(SAPGD(0, steps=200, loss="ce"), _ASSG),
        Member(SAPGD(0, steps=100, loss="ce", random_start=True, restarts=3), _ASSG),
        Member(SAPGD(0, steps=100, loss="targeted-dlr", targets=3), _ASSG),
        Member(APGD(0, steps=50, loss="ce"), _ARCTANGENT),
        Member(APGD(0, steps=50, loss="dlr"), _THROUGH_RESET),
        Member(Square(0, queries=300)),
    ),
)
"""What one publishes. The first seven were chosen by what they add on the shipped networks
(``python -m spikeproof_models.suite_members --candidates``); the last three take gradients in other
ways, or none, for networks that hide from those."""
SP_RIGOROUS_1 = Suite(
    "sp-rigorous",
    1,
    (
        *SP_STANDARD_1.members[:-1],
        Member(SAPGD(0, steps=1000, loss="margin"), _ASSG),
        Member(SAPGD(0, steps=1000, loss="ce"), _ASSG),
        Member(SAPGD(0, steps=200, loss="margin", random_start=True, restarts=5), _ASSG),
        Member(SAPGD(0, steps=200, loss="ce", random_start=True, restarts=5), _ASSG),
        Member(SAPGD(0, steps=200, loss="targeted-dlr", targets=9), _ASSG),
        Member(SAPGD(0, steps=200, loss="targeted-margin", targets=9), _ASSG),
        Member(SAPGD(0, steps=200, loss="margin"), Estimator(0.46, "detached", ADAPTIVE)),
        Member(SAPGD(0, steps=200, loss="margin"), Estimator(0.425, "attached", ADAPTIVE)),
        Member(APGD(0, steps=200, loss="ce"), _ARCTANGENT),
        Member(APGD(0, steps=200, loss="dlr"), Estimator(0.25, "detached")),
        Member(APGD(0, steps=200, loss="dlr"), Estimator(1.0, "detached")),
        Member(APGD(0, steps=200, loss="margin"), Estimator(1.0, "detached", GAUSSIAN)),
        Member(
            APGD(0, steps=200, loss="margin"),
            Estimator(0.25, "detached", "arctangent", through="rates"),
        ),
        Member(Square(0, queries=5000)),
        Member(RayS(0, queries=2000)),
    ),
)
"""For releases: 1 000 steps, restarts, many ways to take a gradient, and none."""
SUITES: dict[str, Suite] = {
    suite.name: suite for suite in (SP_QUICK_1, SP_STANDARD_1, SP_RIGOROUS_1)
}


def suite_of(name: str) -> Suite:
    """Return a suite by its name with version.

    Raises:
        InputError: there is none; near misses and all that exist are named.
    """
    if name in SUITES:
        return SUITES[name]
    near = get_close_matches(name, SUITES, n=1, cutoff=0.4)
    raise InputError(
        f"no suite {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        where="--suite",
        hint=f"Suites of attacks: {', '.join(SUITES)}.",
    )
