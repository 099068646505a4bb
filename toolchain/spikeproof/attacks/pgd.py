"""Projected gradient descent: many steps."""

from __future__ import annotations

from dataclasses import dataclass

from spikeproof.attacks.gradient import GradientAttack


@dataclass(frozen=True)
class PGD(GradientAttack):
    """Many steps along the sign of the gradient from a random start.

    A step is 2.5 * radius / steps by default, at least one grey level and at most the radius.

    Source: Madry et al., ICLR 2018.
    """

    steps: int = 20
    random_start: bool = True

    kind = "pgd"

    @classmethod
    def stream(cls) -> int:
        """Return the number under which recorded figures were drawn."""
        return 2

    @property
    def name(self) -> str:
        """The kind of attack with its number of steps."""
        return f"{self.kind}-{self.steps}"

    def step_size(self) -> float:
        """Return the length of a step where images are in [0, 1]."""
        if self.step is not None:
            return super().step_size()
        return default_step(self.radius, self.steps, 1 / 255)


def default_step(radius: float, steps: int, level: float = 1) -> float:
    """Return the length of a step in the unit of the radius; ``level``: a grey level in it."""
    return min(radius, max(2.5 * radius / steps, level))
