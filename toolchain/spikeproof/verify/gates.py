"""The verdict of the whole verification, and one sentence that says it."""

from __future__ import annotations

from typing import Any

from spikeproof.reasons import Reason
from spikeproof.verify.verdict import Verdict, combine

Json = dict[str, Any]


def overall(checks: list[Json]) -> Verdict:
    """Combine all checks: any fail fails, else anything inconclusive decides."""
    return combine(c["verdict"] for c in checks)


MASKING = "Accuracy under attack is not to be trusted: gradient masking suspected (V7)."


def sentence(checks: list[Json]) -> str:
    """Say in plain words what was found, and where a figure beside it is not to be trusted."""
    by_id = {c["id"]: c for c in checks}
    masked = by_id["V7"]["figures"].get("masking_suspected", False)
    return _found(checks, by_id) + (f" {MASKING}" if masked else "")


def _found(checks: list[Json], by_id: dict[str, Json]) -> str:
    verdict = overall(checks)
    figures = by_id["V1"]["figures"]
    accuracy = by_id["V7"]["data"]["rows"]
    if verdict is Verdict.PASS:
        return (
            f"The chip network is as accurate as the trained network on clean images and under "
            f"every perturbation tested (up to {max(row['samples'] for row in accuracy):,} images "
            f"each, within the margins), and its membranes react to perturbations equally "
            f"strongly. On {figures['samples']:,} images {figures['engine']} reproduces the "
            f"specification bit for bit, and no input can overflow the chip's registers."
        )
    judged = [c for c in checks if c["verdict"] != str(Verdict.INFO)]
    found = [c for c in judged if c["verdict"] == str(verdict)]
    named = "; ".join(_named(c) for c in found)
    if verdict is Verdict.FAIL:
        return f"{len(found)} of {len(judged)} checks failed. This does not hold: {named}."
    return (
        f"Nothing failed, but {len(found)} of {len(judged)} checks could not be decided. Not yet "
        f"shown: {named}."
    )


def _named(check: Json) -> str:
    """Name a check and the worst of its reasons."""
    worst = Reason.model_validate(check["reasons"][0])
    return f"{check['title']} ({check['id']}): {worst.brief}"
