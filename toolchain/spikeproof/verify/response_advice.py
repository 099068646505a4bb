"""What to try where membranes do not react as before: limits, perturbations, images (V5)."""

from __future__ import annotations

import math
from typing import Any

from pydantic import ValidationError

from spikeproof.document.values import Json, message_of
from spikeproof.reasons import Reason
from spikeproof.verify.advice import (
    Needed,
    Supply,
    image_request,
    images_needed,
    more_images,
)
from spikeproof.verify.config import MppdLimits, VerifyConfig
from spikeproof.verify.layer_match import Comparison, Criterion, criterion_verdict
from spikeproof.verify.verdict import Verdict

_STRONGEST = 255


def limit_advice(matches: list[Comparison], failed: set[str], limits: MppdLimits) -> str:
    """Name the limits under which what failed would pass, or the one that no setting can reach.

    failed: names of criteria. Every layer and perturbation is judged by the same limits, so that
    each must reach the worst of them.
    """
    changes = {
        c.setting: _reaching(
            [d for m in matches for d in m.criteria if d.name == c.name], c.setting, limits
        )
        for m in matches
        for c in m.criteria
        if c.name in failed
    }
    for setting, value in changes.items():
        try:
            MppdLimits.model_validate({**limits.model_dump(), setting: value})
        except ValidationError as error:
            rule = message_of(error.errors()[0])
            return (
                f"No other limit helps: mppd.{setting} would have to be {_written(value)}, and "
                f"it {rule}."
            )
    told = " ".join(f"--set mppd.{key}={_written(value)}" for key, value in changes.items())
    return f"Or, if your use allows that much, with other limits: verify {told}." if told else ""


def _reaching(criteria: list[Criterion], setting: str, limits: MppdLimits) -> Any:
    """Return the strictest limit, rounded to the lenient side, that all of one kind reach."""
    told = [c.measured for c in criteria]
    if setting == "ratio":
        ends = [r.interval or (r.value, r.value) for r in told]
        lows = [low for low, _ in ends if low is not None]
        highs = [high for _, high in ends if high is not None]
        return (
            min([_down(x) for x in lows] + [limits.ratio[0]]),
            max([_up(x) for x in highs] + [limits.ratio[1]]),
        )
    if setting == "spearman":
        found = [r.interval[0] if r.interval else r.value for r in told]
        return min([_down(x) for x in found if x is not None] + [limits.spearman])
    shown = [r.interval[1] if r.interval else r.value for r in told]
    allowed = float(getattr(limits, setting))
    return max([_up(x / 100) for x in shown if x is not None] + [allowed])


def _up(value: float) -> float:
    """Round up to three decimals; one more than needed, as the value itself must be within."""
    return (math.floor(value * 1000) + 1) / 1000


def _down(value: float) -> float:
    return (math.ceil(value * 1000) - 1) / 1000


def _written(value: Any) -> str:
    """Write a limit as it is given on the command line."""
    return f"'[{value[0]:g}, {value[1]:g}]'" if isinstance(value, tuple) else f"{value:g}"


def weak_advice(
    matches: list[Comparison], failed: set[str], lost: dict[str, str], config: VerifyConfig
) -> str:
    """Say that a perturbation hardly arrives, where only a few images differ much.

    lost: perturbations that failed in some layer, each with its kind. Half of the images being
    within the limit tells it from weights that are too coarse, which miss it at every strength.
    """
    most = max((m.figures.median_rel_diff for m in matches), default=0.0)
    if "p99" not in failed or "ratio" in failed or most >= config.mppd.median_difference:
        return ""
    kind = next(iter(lost.values()))
    strengths = sorted(getattr(config.perturbations, kind))
    ends = tuple(name.rpartition(" ")[2] for name in lost if lost[name] == kind)
    weak = [s for s in strengths if f"{s:g}/{_STRONGEST}" in ends] or strengths[-1:]
    stronger = [s for s in strengths if s > weak[-1]]
    if not stronger:
        stronger = [s for s in (2 * weak[-1], 4 * weak[-1]) if s <= _STRONGEST]
    told = (
        "Half of the images differ by less than the limit, so the perturbation may "
        "hardly reach a layer: a few spikes more or less are then a large share of it. "
    )
    if not stronger:
        return f"{told}Train longer. Else: "
    listed = ", ".join(f"{s:g}" for s in stronger)
    judge = f"verify --set perturbations.{kind}='[{listed}]'"
    return f"{told}Judge with stronger ones only ({judge}) or train longer. Else: "


def undecided_reason(
    criterion: Criterion, used: int, family: int, alpha: float, supply: Supply, kind: str
) -> Reason:
    """Give the reason for a criterion that is neither established nor refuted.

    Args:
        criterion: one of ``family`` that are judged together.
        used: images it was measured on.
        family: criteria of all layers and perturbations.
        alpha: level of the tests.
        supply: the images there are.
        kind: of the perturbation.
    """
    needed = _images_to_decide(criterion, used, family, alpha)
    told: Json = {"try_": supply.useless} if supply.useless else {}
    if not criterion.measured.try_ and not supply.useless:
        told.update(
            try_=more_images(needed, supply, kind), request=image_request(needed, supply, kind)
        )
    if needed is not None:
        told.update(images_needed=needed.images, would=needed.would)
    return criterion.measured.model_copy(update=told)


def _images_to_decide(criterion: Criterion, used: int, family: int, alpha: float) -> Needed | None:
    if criterion.at is None:
        fixed = criterion.measured.images_needed
        return None if fixed is None else Needed(fixed, None)
    show = criterion.at

    def at(images: int) -> Verdict:
        established, p_holds = show(images)
        return criterion_verdict(established, min(1.0, p_holds * family), alpha)

    return images_needed(at, used)
