"""What a suite of attacks did to both networks: who broke what, what carries over, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spikeproof.attacks.suites import suite_of
from spikeproof.attacks.validity.plain import NAIVE_TITLE
from spikeproof.attacks.worst_case import SIDES, WORST_CASE
from spikeproof.document import numbers as n
from spikeproof.document.shown import Head, Table, by_columns
from spikeproof.document.values import Json, Record, Text
from spikeproof.reasons import Reason
from spikeproof.text import accuracy_text, counted
from spikeproof.verify.accuracy_rows import AccuracyRow
from spikeproof.verify.attacked import SURVIVED
from spikeproof.verify.config import WorstCase
from spikeproof.verify.worst_case import Attacked, Mask, Worst


class Transfer(Record):
    """What fooled one network, shown to the other; counts of images right unperturbed in both."""

    epsilon: int
    crafted_on: Text
    fooled: int
    """Of the network it was crafted on."""
    also: int
    """Of those, the images that fool the other network as well."""


class Tally(Record):
    """How many images each member of the suite was the first to break, at one radius."""

    epsilon: int
    network: Text
    broken_by: list[int]
    survived: int


@dataclass(frozen=True)
class Attacks:
    """What a suite of attacks did; ``obstacle``: why it could not be run."""

    transfers: list[Transfer] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    suite: str | None = None
    obstacle: str = ""


def count_transfers(worst: Sequence[Worst], right: Mask) -> list[Transfer]:
    """Count what fools one network and the other; ``right``: by both unperturbed."""
    found = []
    for one in worst:
        for side in SIDES:
            (other,) = (s for s in SIDES if s != side)
            own = one.shown[side, side] & right[: len(one.shown[side, side])]
            also = own & one.shown[side, other]
            found.append(
                Transfer(
                    epsilon=one.epsilon,
                    crafted_on=side,
                    fooled=int(own.sum()),
                    also=int(also.sum()),
                )
            )
    return found


def count_tallies(config: WorstCase, attacked: Attacked) -> list[Tally]:
    """Count by network and radius which member broke an image first."""
    members = range(len(suite_of(config.suite).members))
    return [
        Tally(
            epsilon=radius,
            network=side,
            broken_by=[row.count(k) for k in members],
            survived=row.count(SURVIVED),
        )
        for side, tried in attacked.items()
        for radius, row in zip(config.epsilons, tried.broken_by, strict=True)
    ]


def worst_figures(rows: list[AccuracyRow], attacks: Attacks) -> Json:
    """Return the figures of the worst case; none where no suite was run."""
    worst = [row for row in rows if row.part == WORST_CASE]
    if not worst:
        return {}
    return {
        "suite": attacks.suite,
        "samples": worst[0].samples,
        "worst_case_float": {f"{r.strength:g}": r.float_accuracy for r in worst},
        "worst_case_chip": {f"{r.strength:g}": r.chip_accuracy for r in worst},
    }


def about_worst_case(rows: list[AccuracyRow], attacks: Attacks) -> str:
    """Say what is left in the worst case, and how far from it the naive figure is."""
    worst = [row for row in rows if row.part == WORST_CASE]
    if attacks.obstacle:
        return f" The suite of attacks was not run: {attacks.obstacle}."
    if not worst:
        return ""
    strongest = worst[-1]
    text = (
        f" In the worst case of {attacks.suite}, each network attacked itself and with what fooled "
        f"the other, {accuracy_text(strongest.float_accuracy)} and "
        f"{accuracy_text(strongest.chip_accuracy)} of {counted(strongest.samples, 'image')} stay "
        f"right at {strongest.strength:g}/255: an upper bound."
    )
    if strongest.naive_accuracy is not None:
        text += (
            f" {NAIVE_TITLE}, which papers quote, leaves the trained network "
            f"{accuracy_text(strongest.naive_accuracy)}."
        )
    return text


def not_attacked(why: str) -> Reason:
    """Give the reason of a verification without attacks, though they were asked for."""
    return Reason(
        verdict="inconclusive",
        criterion="networks that the suite of attacks can be run on",
        value=0,
        relation="at least",
        limit=2,
        try_=f"Nothing is known of these networks under attack: {why}. "
        "verify --set worst_case.epsilons=[] verifies everything else.",
    )


def attack_table(
    tallies: Sequence[Tally], transfers: Sequence[Transfer], members: Sequence[str]
) -> Table:
    """Lay out what was found on each network, and how much of it fools the other."""
    first = {(t.epsilon, t.crafted_on): t for t in transfers}
    return by_columns(
        "What the suite of attacks found on each network, and how much of it fools the other",
        tallies,
        (Head("attacked", "name"), lambda t: f"{t.network} network"),
        (Head("radius", unit="1/255"), lambda t: n.integer(t.epsilon)),
        (
            Head("first broken by", "text", "images"),
            lambda t: "; ".join(
                f"{n.integer(count)}: {name}"
                for name, count in zip(members, t.broken_by, strict=True)
                if count
            ),
        ),
        (Head("not broken", unit="images"), lambda t: n.integer(t.survived)),
        (
            Head("fools the other as well", unit="images"),
            lambda t: _of(first.get((t.epsilon, t.network))),
        ),
    )


def _of(found: Transfer | None) -> str:
    return n.MISSING if found is None else f"{found.also:,} of {found.fooled:,}"
