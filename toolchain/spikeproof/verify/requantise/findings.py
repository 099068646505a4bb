"""What was compared of a layer: integers, the bounds they must keep, and what violates them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikeproof.verify.checked_relation import RoundedLayer, Violation
from spikeproof.verify.verdict import Verdict

LISTED = 200
"""Violations listed per layer; the others are counted."""

ROUNDOFF = 1e-9
"""Relative error of the float64 products that give the exact values."""


@dataclass(eq=False)
class Findings:
    """What was compared in one layer."""

    layer: str
    rounding: str = ""
    """nearest, compensated, objective (compensated, but its calibration images are not known)."""
    values: int = 0
    outside: int = 0
    largest: float = 0.0
    """Largest distance of an integer from its exact value, in units of its bound."""
    violations: list[Violation] = field(default_factory=list)
    undecided: str = ""
    doubts: list[str] = field(default_factory=list)
    """What a declared option excuses, so that right numbers show little."""
    unclaimed: list[str] = field(default_factory=list)
    """Columns of the conversion's table that say nothing of this layer."""
    error_ratio: float | None = None
    clipped_share: float | None = None
    clipped_most: float | None = None
    """Share of weights at the end of their range; where what was rounded is not known."""

    @property
    def verdict(self) -> Verdict:
        """Return fail if a number is wrong, inconclusive if one could not be judged."""
        if self.outside:
            return Verdict.FAIL
        doubtful = self.undecided or self.doubts or self.unclaimed or not self.values
        return Verdict.INCONCLUSIVE if doubtful else Verdict.PASS

    def compare(
        self, parameter: str, found: Any, low: Any, high: Any, *, expected: Any = None
    ) -> int:
        """Require low <= found <= high everywhere; broadcast. Returns how many are outside."""
        held, least, most = np.broadcast_arrays(
            *(np.asarray(x, np.float64) for x in (found, low, high))
        )
        exact = (least + most) / 2 if expected is None else np.broadcast_to(expected, held.shape)
        bound = np.maximum(np.maximum(most - exact, exact - least), 0)
        wrong = ~((least <= held) & (held <= most))
        off = np.abs(held - exact)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(bound > 0, off / bound, np.where(off > 0, np.inf, 0.0))
        count = int(wrong.sum())
        self.values += held.size
        self.outside += count
        finite = share[np.isfinite(share)]
        self.largest = max(self.largest, float(finite.max(initial=0.0)))
        places = np.argwhere(wrong)[: max(0, LISTED - len(self.violations))]
        for place in places:
            at = tuple(int(i) for i in place)
            self.violations.append(
                Violation(
                    parameter=parameter,
                    index=list(at),
                    expected=float(exact[at]),
                    found=float(held[at]),
                    low=float(least[at]),
                    high=float(most[at]),
                )
            )
        return count

    def equal(self, parameter: str, found: Any, expected: Any) -> int:
        """Require equality."""
        return self.compare(parameter, found, expected, expected)

    def near(self, parameter: str, exact: Any, held: Any, bound: Any) -> int:
        """Require what is held to lie within ``bound`` of the exact value, but for its roundoff."""
        reach = bound + ROUNDOFF * np.maximum(1.0, np.abs(exact))
        return self.compare(parameter, held, exact - reach, exact + reach, expected=exact)

    @property
    def row(self) -> RoundedLayer:
        """Return a row of the report."""
        return RoundedLayer(
            layer=self.layer,
            rounding=self.rounding,
            values=self.values,
            outside=self.outside,
            largest=self.largest,
            undecided=self.undecided,
            doubts=list(self.doubts),
            unclaimed=list(self.unclaimed),
            error_ratio=self.error_ratio,
            clipped_share=self.clipped_share,
            violations=list(self.violations),
            verdict=self.verdict,
        )
