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
            f"On up to {max(row['samples'] for row in accuracy):,} images per comparison the chip "
            f"network and the trained network are right equally often, clean and under every "
            f"tested perturbation, within the margins; perturbations are as large in their "
            f"membranes; {figures['engine']} gives the specification's integers bit for bit on "
            f"{figures['samples']:,} images; and no input can overflow."
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
