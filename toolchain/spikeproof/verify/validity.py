"""Judge whether a suite's figure of one network can be believed (check V6).

Two kinds of findings, told apart everywhere. A *violation* says that the suite missed something it
should have found: its figure is no upper bound worth the name. *Masking* says that some estimator
or quoted attack is misled by the network while the suite is not: the other figure is misleading.

Tests are exact and one-sided, each at its part of alpha, so that one image in 32 raises no alarm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.validity.measure import SHORT
from spikeproof.attacks.validity.record import Examined
from spikeproof.document.values import Count, Number, Record, Text
from spikeproof.text import counted
from spikeproof.verify import statistics as st

GAIN = 0.005
"""Share of all images that another attack may break besides the suite."""
RARE = 0.01
"""Share of images for which an attack may fail where it must not."""
GAP = 0.05
"""Difference between estimators from which it is called masking."""
EASY = 0.05
"""Share of random corners in the planted class from which the plants are too easy to find."""
_TESTS = 9
"""Violations that are judged by a test: each gets this part of alpha."""
_PAIRS = (
    ("0.25 attached", "0.25 detached"),
    ("1 attached", "1 detached"),
    ("0.425 attached assg", "0.425 detached assg"),
    ("1 detached", "0.25 detached"),
    ("1 detached", "0.25 detached arctangent"),
    ("1 detached", "0.425 detached assg"),
)
"""Estimators compared with one another: reset attached against detached, and widths and forms."""
State = Literal["held", "open", "violated"]


class Assertion(Record):
    """One thing that must hold of an attack; ``value`` and ``limit`` are in ``unit``.

    state: "held", "violated", or "open": nothing speaks against it, but so few images cannot show
    it. masking: whether it speaks of other figures than the suite's.
    """

    name: Text
    state: State
    value: Number = None
    limit: Number = None
    unit: Text = "%"
    images: int = 0
    upper: Number = None
    """One-sided upper bound of the value at the level alpha; None where there is none."""
    p_value: Number = None
    images_needed: Count = None
    """Images that would show it, if they were like those used."""
    masking: bool = False
    told: Text = ""
    advice: Text = ""


class Judged(Record):
    """All assertions of one network, with what its figures come to (shares)."""

    network: Text
    examined: Examined
    assertions: list[Assertion]
    left: Number = None
    naive: Number = None
    misleading: Number = None
    """By how many points the naive figure is too high; None where no test shows it."""

    @property
    def violations(self) -> list[Assertion]:
        """Return what makes the suite's figure doubtful."""
        return [a for a in self.assertions if a.state == "violated" and not a.masking]

    @property
    def masking(self) -> list[Assertion]:
        """Return what shows that other figures mislead."""
        return [a for a in self.assertions if a.state == "violated" and a.masking]


def judge_examined(network: str, found: Examined, alpha: float = 0.05) -> Judged:
    """Judge one network; ``alpha``: the error rate of all its violations together."""
    if found.why_not or not found.samples:
        return Judged(network=network, examined=found, assertions=[])
    count = found.samples
    left, naive = sum(found.left) / count, sum(found.naive) / count
    flagged = _naive(found, alpha)
    assertions = [
        *_monotone(found, alpha / _TESTS),
        _converged(found, alpha),
        _doubled(found, alpha),
        _unbounded(found, alpha),
        _black_box(found, alpha),
        _others(found, alpha),
        _zero(found, alpha),
        _active(found, alpha),
        *_same(found),
        _estimators(found, alpha),
        flagged,
    ]
    return Judged(
        network=network,
        examined=found,
        assertions=assertions,
        left=left,
        naive=naive,
        misleading=100 * (naive - left) if flagged.state == "violated" else None,
    )


# --- shares of images ----------------------------------------------------------------------------


def _upper(successes: int, images: int, alpha: float) -> float:
    """Return the one-sided upper bound of a share."""
    return st.exact_interval(successes, images, 1 - 2 * alpha)[1]


def _needed(successes: int, images: int, limit: float, alpha: float) -> int | None:
    """Return how many images would show a share below a limit, if they were like these."""
    if not images or successes / images >= limit:
        return None
    low = math.ceil(math.log(alpha) / math.log1p(-limit))
    size = low
    while size < 1_000_000:
        if _upper(round(successes / images * size), size, alpha) <= limit:
            return size
        size = math.ceil(size * 1.05)
    return None


def _share(
    name: str,
    successes: int,
    images: int,
    limit: float,
    alpha: float,
    *,
    told: str,
    advice: str,
    scale: float = 1.0,
) -> Assertion:
    """Judge "at most ``limit`` of all images", of which those tried are the share ``scale``."""
    allowed = min(1.0, limit / scale) if scale else 1.0
    p = st.share_above(successes, images, allowed) if images and successes else 1.0
    upper = scale * _upper(successes, images, alpha) if images else 0.0
    needed = _needed(successes, images, allowed, alpha)
    state: State = "violated" if p < alpha / _TESTS and allowed < 1 else "open"
    if upper <= limit:
        state = "held"
    return Assertion(
        name=name,
        state=state,
        value=100 * scale * successes / images if images else 0.0,
        limit=100 * limit,
        images=images,
        upper=100 * upper,
        p_value=p,
        images_needed=None if state == "held" or needed is None else math.ceil(needed / scale),
        told=told,
        advice=advice,
    )


def _converged(found: Examined, alpha: float) -> Assertion:
    return _share(
        "converged: images that fell within the last tenth of the steps",
        found.late,
        found.samples,
        GAIN,
        alpha,
        told=f"{counted(found.late, 'image')} of {found.samples:,} fell within the last tenth of "
        "a member's steps",
        advice="The suite was still finding examples when it stopped: attack with one of more "
        "steps.",
    )


def _doubled(found: Examined, alpha: float) -> Assertion:
    tried = found.doubled
    return _share(
        "converged: survivors that fall with twice as many steps",
        tried.successes,
        tried.images,
        GAIN,
        alpha,
        scale=sum(found.left) / found.samples,
        told=f"twice as many steps break {tried.successes:,} of {tried.images:,} survivors",
        advice="The suite needs more steps on this network: attack with one of more steps.",
    )


def _unbounded(found: Examined, alpha: float) -> Assertion:
    tried = found.unbounded
    missed = tried.images - tried.successes
    return _share(
        "unbounded: images that withstand a ball of 255 grey levels",
        missed,
        tried.images,
        RARE,
        alpha,
        told=f"{missed:,} of {tried.images:,} images withstand although every image is allowed",
        advice="The attack fails where it cannot but succeed: it has no usable gradient here. "
        "Look for saturated neurons, or inputs rounded before they enter the network.",
    )


def _black_box(found: Examined, alpha: float) -> Assertion:
    tried = found.black_box
    return _share(
        "black box: survivors that fall without gradients",
        tried.successes,
        tried.images,
        GAIN,
        alpha,
        scale=sum(found.left) / found.samples,
        told=f"{found.queries:,} queries without gradients break {tried.successes:,} of "
        f"{tried.images:,} survivors",
        advice="An attack without gradients finds what the suite missed: the network hides its "
        "gradients from the suite. Judge it by attacks without gradients, with many queries.",
    )


def _others(found: Examined, alpha: float) -> Assertion:
    """Ask whether the suite missed what a short walk or the naive attack finds."""
    survivors = [i for i, left in enumerate(found.left) if left]
    others = {**found.estimators, "naive PGD-7": found.naive}
    broken = {name: sum(not row[i] for i in survivors) for name, row in others.items()}
    union = sum(any(not row[i] for row in others.values()) for i in survivors)
    best = max(broken, key=lambda name: broken[name])
    return _share(
        "estimators: survivors that fall to another estimator",
        union,
        len(survivors),
        GAIN,
        alpha,
        scale=len(survivors) / found.samples,
        told=f"other estimators, with fewer steps, break {union:,} of {len(survivors):,} survivors"
        + (f" (most: {best})" if union else ""),
        advice="The suite follows the wrong gradient here: attack with the estimator named.",
    )


def _zero(found: Examined, alpha: float) -> Assertion:
    return _share(
        "gradients: images of which half of the gradients or more are zero",
        found.masked,
        found.samples,
        RARE,
        alpha,
        told=f"{100 * found.zero_share:.2g} % of all gradients are zero everywhere",
        advice="No direction is left to follow: use a wider slope, or attack without gradients.",
    )


def _active(found: Examined, alpha: float) -> Assertion:
    tried, guessed = found.planted, found.guessed
    missed = tried.images - tried.successes
    one = _share(
        "active test: planted examples that the suite missed",
        missed,
        tried.images,
        RARE,
        alpha,
        told=f"{tried.successes:,} of {tried.images:,} planted examples found",
        advice="The suite misses examples that are known to be there: its figure says nothing.",
    )
    if not tried.images:
        return one.model_copy(update={"state": "open", "told": "nothing could be planted"})
    easy = guessed.images > 0 and guessed.successes / guessed.images > EASY
    if easy and one.state == "held":
        return one.model_copy(
            update={
                "state": "open",
                "told": f"{one.told}, but random corners lie there in {guessed.successes:,} of "
                f"{guessed.images:,} cases: too easy to show anything",
            }
        )
    return one


# --- pairs of attacks ----------------------------------------------------------------------------


def _monotone(found: Examined, level: float) -> list[Assertion]:
    """Ask that more of anything leaves no more images, each attack made afresh."""
    steps = f"{found.radii[0]} to {found.radii[-1]} grey levels"
    return [
        _no_more(
            f"monotone in epsilon, {steps}",
            found.afresh[-1],
            found.afresh[0],
            level,
            "A larger ball is harder for the attack: it loses its way. Attack with a smaller "
            "first step, or more of them.",
        ),
        _no_more(
            "monotone in steps, a quarter to all",
            found.first,
            found.afresh[-1],
            level,
            "More steps find less: the attack does not climb its loss.",
        ),
    ]


def _no_more(
    name: str, stronger: Sequence[bool], weaker: Sequence[bool], level: float, advice: str
) -> Assertion:
    """Judge "the stronger attack leaves no more images than the weaker"."""
    gained = sum(s and not w for s, w in zip(stronger, weaker, strict=True))
    lost = sum(w and not s for s, w in zip(stronger, weaker, strict=True))
    more = (gained - lost) / len(stronger)
    p = st.share_above(gained, gained + lost, 0.5) if gained else 1.0
    state: State = "held" if more <= 0 else "violated" if p < level else "open"
    return Assertion(
        name=name,
        state=state,
        value=100 * more,
        limit=0,
        unit="points",
        images=len(stronger),
        p_value=p,
        told=f"leaves {100 * more:+.3g} points",
        advice=advice,
    )


def _same(found: Examined) -> list[Assertion]:
    """Ask that nothing changes when it is done again; one image is enough to refute that."""
    return [
        Assertion(
            name="deterministic: images that a repeated attack changes otherwise",
            state="violated" if found.unequal else "held",
            value=found.unequal,
            limit=0,
            unit="images",
            images=found.repeated,
            told=f"{found.unequal:,} of {found.repeated:,} differ",
            advice="The attack gives something else each time: fix its seeds and threads.",
        ),
        Assertion(
            name="stable: images whose class changes when they are shown again",
            state="violated" if found.unstable else "held",
            value=found.unstable,
            limit=0,
            unit="images",
            images=2 * found.samples,
            told=f"{found.unstable:,} of {2 * found.samples:,} change",
            advice="The network is random at inference, and an attack on one draw shows nothing. "
            "Fix the draw, or attack the expectation over many.",
        ),
    ]


# --- masking -------------------------------------------------------------------------------------


def _estimators(found: Examined, alpha: float) -> Assertion:
    """Ask that estimators agree; the largest difference that chance does not explain is told."""
    rows = found.estimators
    pairs = [p for p in _PAIRS if p[0] in rows and p[1] in rows]
    counts = [st.paired_counts(*map(_mask, (rows[a], rows[b]))) for a, b in pairs]
    adjusted = st.holm([st.mcnemar_exact(c) for c in counts])
    beyond = [k for k, c in enumerate(counts) if abs(c.difference) > GAP and adjusted[k] < alpha]
    order = beyond or range(len(pairs))
    k = max(order, key=lambda k: abs(counts[k].difference))
    gap, (a, b) = counts[k].difference, pairs[k]
    left = [100 * sum(rows[e]) / found.samples for e in (a, b)]
    return Assertion(
        name="estimators agree",
        state="violated" if beyond else "held" if abs(gap) <= GAP else "open",
        value=100 * abs(gap),
        limit=100 * GAP,
        unit="points",
        images=found.samples,
        p_value=adjusted[k],
        masking=True,
        told=f"the same {SHORT.steps} steps leave {left[0]:.3g} % with {a} "
        f"and {left[1]:.3g} % with {b}",
        advice="Some estimators are misled by this network: trust no figure of one of them alone.",
    )


def _mask(right: Sequence[bool]) -> NDArray[np.bool_]:
    return np.array(right, np.bool_)


def _naive(found: Examined, alpha: float) -> Assertion:
    counts = st.paired_counts(_mask(found.naive), _mask(found.left))
    gap, p = counts.difference, st.mcnemar_exact(counts)
    shares = [100 * sum(row) / found.samples for row in (found.naive, found.left)]
    return Assertion(
        name="the figure that papers quote agrees (PGD-7)",
        state="violated" if gap > GAP and p < alpha else "held" if gap <= GAP else "open",
        value=100 * gap,
        limit=100 * GAP,
        unit="points",
        images=found.samples,
        p_value=p,
        masking=True,
        told=f"PGD-7 leaves {shares[0]:.3g} %, {found.suite} {shares[1]:.3g} %",
        advice=f"Quote the figure of {found.suite}; that of PGD-7 is misleading.",
    )
