"""The verdict of the whole verification, and one sentence that says it."""

from __future__ import annotations

from typing import Any

from spikeproof.verify.verdict import Verdict, combine

Json = dict[str, Any]


def overall(checks: list[Json]) -> Verdict:
    """Combine all checks: any fail fails, else anything inconclusive decides."""
    return combine(c["verdict"] for c in checks)


def sentence(checks: list[Json]) -> str:
    """Say in one plain sentence what was found."""
    by_id = {c["id"]: c for c in checks}
    verdict = overall(checks)
    figures = by_id["V1"]["figures"]
    accuracy = by_id["V7"]["data"]["rows"]
    if verdict is Verdict.PASS:
        return (
            f"On {accuracy[0]['samples']:,} images the chip network and the trained network are "
            f"right equally often, clean and under every tested perturbation, within the margins; "
            f"their membranes respond to perturbation alike; {figures['engine']} gives the "
            f"specification's integers bit for bit; and no input can overflow."
        )
    judged = [c for c in checks if c["verdict"] != str(Verdict.INFO)]
    found = [c for c in judged if c["verdict"] == str(verdict)]
    named = "; ".join(f"{c['title']} ({c['id']})" for c in found)
    if verdict is Verdict.FAIL:
        return f"{len(found)} of {len(judged)} checks failed, so this does not hold: {named}."
    return (
        f"Nothing failed, but the evidence is too thin for {len(found)} of {len(judged)} checks; "
        f"not established: {named}."
    )
