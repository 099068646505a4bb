"""Show what a board can do with a network: what a profile costs, and the chips' limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeproof.cli.console import wrapped
from spikeproof.text import accuracy_text, counted

if TYPE_CHECKING:
    from spikeproof.cli.console import Console
    from spikeproof.io.record import ProfileCost

Row = dict[str, Any]
_LEAST = " (at least)"


def show_cost(console: Console, cost: ProfileCost) -> None:
    """Print what a profile costs, from a bundle's record."""
    console.table(
        ["layer", "flips, default profile", f"flips, profile {cost.profile}"],
        [(row.layer, f"{row.flips_default:.4%}", f"{row.flips:.4%}") for row in cost.layers],
        f"cost of the profile {cost.profile}: spikes unlike the trained network's, end to end",
    )
    images = f"on the {counted(cost.samples, 'calibration image')}"
    if cost.accuracy is not None:
        console.say(
            f"accuracy {images}: {_share(cost.accuracy_trained)} trained, "
            f"{_share(cost.accuracy_default)} default profile, "
            f"{_share(cost.accuracy)} {cost.profile}"
        )
    console.say(
        f"same class as the trained network {images}: "
        f"{_share(cost.agreement_default)} default profile, {_share(cost.agreement)} {cost.profile}"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else accuracy_text(value)


def show_limits(console: Console, limits: list[Row]) -> None:
    """Print the comparison with the chips, and how much such an estimate is worth."""
    from spikeproof.convert.board import BOARDS

    counts = [_needed(row) for row in limits]
    needed = [count.rjust(max(map(len, counts))) for count in counts]
    console.table(
        ["chip", "resource", "needed", "available", "fits"],
        [
            (r["chip"], r["resource"].removesuffix(_LEAST), n, r["available"], r["fits"])
            for r, n in zip(limits, needed, strict=True)
        ],
    )
    over = [f"{r['chip']}: {r['resource']}" for r in limits if not r["fits"]]
    verdict = (
        f"beyond published limits: {'; '.join(over)}" if over else "no published limit exceeded"
    )
    notes = "; ".join(board.note for board in BOARDS.all().values())
    console.say_lines(wrapped(f"{verdict}; {notes}"))


def _needed(row: Row) -> str:
    """Write what is needed; a lower bound is short this way, so that the table fits 60 columns."""
    return f"{'≥ ' if row['resource'].endswith(_LEAST) else ''}{row['needed']:,}"
