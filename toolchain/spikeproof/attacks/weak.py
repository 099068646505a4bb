"""The attack that suites and cards share: one definition, so that equal images give equal figures.

It is a weak attack, and its name says so wherever a figure stands: it fixes its step size, its loss
and its estimators beforehand, and an attack that adapts to the network lowers the figures further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spikeproof.attacks.base import Attack
from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.registry import ATTACKS

TRANSFER = (
    "Where the chip is right more often under attack than the trained network, that is an artefact "
    "of transfer, not robustness: the examples were crafted on the trained network, and some lose "
    "their effect in the rounding to integers."
)
"""Stands wherever an accuracy under attack of the chip can be seen above the trained network's."""


@dataclass(frozen=True)
class WeakAttack:
    """An attack of any kind, tried with several estimators; one success is enough.

    Args:
        version: raised whenever figures may change.
        kinds: of attacks that go by its name; any other is made with the same estimators, and is
            none that was published under a name.
        steps: gradient steps, of an attack that takes several.
        members: tried in this order, each on the images that survive those before it.
        control: the first member with the reset handled otherwise. It does not take part; on some
            images it is run beside the first member, and where the two disagree, the network's
            gradients mislead one of them.
    """

    version: int
    kinds: tuple[str, ...]
    steps: int
    members: tuple[Estimator, ...]
    control: Estimator

    @property
    def name(self) -> str:
        """Name and version: ``weak-1``."""
        return f"weak-{self.version}"

    @property
    def bound(self) -> str:
        """What stands beside every figure of the kinds that go by its name."""
        return f"upper bound: weak attack {self.name}"

    def bound_of(self, attack: Attack) -> str:
        """Return what stands beside an accuracy under an attack; empty for clean and noise."""
        if not attack.adversarial:
            return ""
        if attack.kind in self.kinds:
            return self.bound
        return f"upper bound: attack {attack.name}, of no named suite"

    def at(self, kind: str, strength: float) -> Attack:
        """Return the attack of a kind with a radius in grey levels.

        Raises:
            InputError: no attack of this kind is registered.
        """
        return ATTACKS.get(kind).at(strength, self.steps)

    def describe(self) -> dict[str, Any]:
        """Return everything that defines it as plain JSON."""
        return {
            "name": self.name,
            "bound": self.bound,
            "steps": self.steps,
            "members": [member.describe() for member in self.members],
            "control": self.control.describe(),
        }


WEAK = WeakAttack(
    version=1,
    kinds=("fgsm", "pgd"),
    steps=20,
    members=(Estimator(0.25, "detached"), Estimator(1.0, "detached")),
    control=Estimator(0.25, "attached"),
)
"""Chosen by measurement on the shipped networks: ``python -m spikeproof_models.members``."""
