"""Attacks that a next suite might hold, each tried alone on the images that survive a suite.

``python -m spikeproof_models.suite_members --candidates`` prints what they find.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import ADAPTIVE, FIRED, GAUSSIAN, RAMP, Estimator
from spikeproof.attacks.grid import Images, Labels
from spikeproof.attacks.plain import PlainPGD
from spikeproof.attacks.rays import RayS
from spikeproof.attacks.square import Square
from spikeproof.attacks.suites import Member, Suite
from spikeproof.attacks.victim import Victim, attack_radii
from spikeproof.attacks.walks import APGD, SAPGD
from spikeproof.jobs.threads import inner_threads

SURVIVORS = 150
_PART = 50
_RULE = "|---|---:|---:|---:|"
_ASSG = Estimator(0.425, "detached", ADAPTIVE)
_ARCTANGENT = Estimator(0.25, "detached", "arctangent")
_TRIANGLE = Estimator(0.25, "detached")
_GAUSSIAN = Estimator(1.0, "detached", GAUSSIAN)
CANDIDATES = (
    Member(SAPGD(0, steps=200), _ASSG),
    Member(SAPGD(0, steps=100, random_start=True, restarts=3), _ASSG),
    Member(SAPGD(0, steps=200, loss="ce"), _ASSG),
    Member(SAPGD(0, steps=100, loss="ce", random_start=True, restarts=3), _ASSG),
    Member(SAPGD(0, steps=100, loss="targeted-margin", targets=3), _ASSG),
    Member(SAPGD(0, steps=100, loss="targeted-dlr", targets=3), _ASSG),
    Member(APGD(0, steps=100, loss="ce"), _ASSG),
    Member(APGD(0, steps=100), _ASSG),
    Member(APGD(0, steps=100, loss="targeted-margin", targets=3), _ASSG),
    Member(SAPGD(0, steps=100), Estimator(0.46, "detached", ADAPTIVE)),
    Member(SAPGD(0, steps=100), Estimator(0.35, "detached", ADAPTIVE)),
    Member(SAPGD(0, steps=100), Estimator(0.425, "attached", ADAPTIVE)),
    Member(SAPGD(0, steps=100), replace(_ASSG, leak="detached")),
    Member(APGD(0, steps=100, loss="ce"), _ARCTANGENT),
    Member(APGD(0, steps=100, loss="ce"), _TRIANGLE),
    Member(APGD(0, steps=100, loss="ce"), _GAUSSIAN),
    Member(SAPGD(0, steps=100), Estimator(0.5, "detached", "arctangent", through="rates")),
    Member(SAPGD(0, steps=100), replace(_ASSG, through="rates")),
    Member(SAPGD(0, steps=100), Estimator(1.0, "detached", FIRED, through="rates")),
    Member(SAPGD(0, steps=100), Estimator(1.0, "detached", RAMP, through="rates")),
    Member(PlainPGD(0, steps=7), Estimator(1.0)),
    Member(Square(0, queries=1000)),
    Member(RayS(0, queries=1000)),
)
"""Tried alone on what survives a suite."""


def survivors(
    victim: Victim, suite: Suite, x: Images, y: Labels, epsilon: int, most: int
) -> NDArray[np.int64]:
    """Return the positions of the first images that a suite leaves at one radius."""
    found: list[int] = []
    with inner_threads(1):
        for first in range(0, len(x), _PART):
            names = range(first, min(first + _PART, len(x)))
            part = slice(names.start, names.stop)
            _, by = suite.run(victim, x[part], y[part], [epsilon], names=names)
            found += [names[k] for k in np.flatnonzero(by[0] == -1)]
            if len(found) >= most:
                break
    return np.array(found[:most], np.int64)


def alone(
    victim: Victim, member: Member, x: Images, y: Labels, names: Labels, epsilon: int
) -> tuple[NDArray[np.bool_], float]:
    """Return which images one member breaks, and the processor time an image took."""
    broken = []
    start = time.process_time()
    with inner_threads(1):
        for first in range(0, len(x), _PART):
            part = slice(first, first + _PART)
            how = (member.attack, victim, member.estimator)
            whose = names[part].tolist()
            found = attack_radii(*how, x[part], y[part], [epsilon], seed=(1, 0), names=whose)
            broken.append(found.broken[0])
    return np.concatenate(broken), (time.process_time() - start) / len(x)


def try_candidates(
    victim: Victim, suite: Suite, x: Images, y: Labels, epsilon: int, most: int
) -> list[str]:
    """Return a Markdown table, a line for each candidate; each is shown as soon as it is known."""
    left = survivors(victim, suite, x, y, epsilon, most)
    taken = np.zeros(len(left), np.bool_)
    lines = [f"| alone, of {len(left)} | breaks | not by those above | ms per image |", _RULE]
    sys.stderr.write("\n".join(lines) + "\n")
    for member in CANDIDATES:
        broken, seconds = alone(victim, member, x[left], y[left], left, epsilon)
        new = int((broken & ~taken).sum())
        taken |= broken
        lines.append(f"| {member.name} | {broken.sum()} | {new} | {1000 * seconds:.0f} |")
        sys.stderr.write(lines[-1] + "\n")
    lines.append(f"| all of them | {taken.sum()} | | |")
    return lines
