"""Choose the numbers of the first screen; each carries the place in the JSON it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from spikeproof.report import numbers as n
from spikeproof.report.data import AccuracyData, MatchData, RangeData
from spikeproof.report.facts import Fact, extreme, facts
from spikeproof.report.model import Check, Report
from spikeproof.report.tables import check_order

_KINDS = (
    ("proved", "Proved", "Holds for every possible input."),
    ("tested", "Tested", "Checked on every case counted here."),
    ("measured", "Measured", "Observed on a sample; describes, promises nothing."),
)


@dataclass(frozen=True)
class Column:
    """One of the three columns: what is known, and how well."""

    key: str
    title: str
    meaning: str
    checks: tuple[tuple[Check, tuple[Fact, ...]], ...]


def columns(report: Report) -> list[Column]:
    """Sort the checks into proved, tested and measured."""
    ordered = sorted(report.checks, key=check_order)
    return [
        Column(
            key,
            title,
            meaning,
            tuple((c, tuple(facts(report, c))) for c in ordered if c.kind == key),
        )
        for key, title, meaning in _KINDS
    ]


def warnings(report: Report) -> list[str]:
    """Say where the file contradicts itself, or holds nothing to rely on."""
    if not report.checks:
        return ["No check ran, so nothing is known about this conversion."]
    failed = [c.id for c in sorted(report.checks, key=check_order) if c.verdict == "fail"]
    if report.verdict == "pass" and failed:
        return [f"This file says pass, yet {', '.join(failed)} failed. Do not rely on its verdict."]
    return []


def key_figures(report: Report) -> list[Fact]:
    """Return the up to four numbers that matter most; those without data are left out."""
    makers = (_key_exact, _key_accuracy, _key_mppd, _key_headroom)
    return [fact for maker in makers if (fact := maker(report)) is not None]


def _key_exact(report: Report) -> Fact | None:
    check = report.check("V1")
    if check is None or n.finite(check.figures.get("mismatches")) is None:
        return None
    compared = n.anything(check.figures.get("compared"))
    label = f"mismatches in {compared} values, chip against specification"
    return Fact(n.anything(check.figures["mismatches"]), label, "V1.figures.mismatches")


def _key_accuracy(report: Report) -> Fact | None:
    rows = report.data("V7", AccuracyData).rows
    found = extreme(
        (abs(v), i) for i, r in enumerate(rows) if (v := n.finite(r.difference)) is not None
    )
    if found is None:
        return None
    row = rows[found]
    name = row.perturbation + (f" {row.strength:g}/255" if row.strength else "")
    return Fact(
        n.points(row.difference),
        f"largest change of accuracy ({name})",
        f"V7.data.rows.{found}.difference",
        "points",
    )


def _key_reason(report: Report, identifier: str) -> Fact | None:
    """Return the worst reason of a check that did not pass: no good figure may hide it."""
    check = report.check(identifier)
    reason = check.reasons[0] if check is not None and check.reasons else None
    if reason is None or reason.value is None:
        return None
    value, _, unit = reason.measured.partition(" ")
    label = f"{reason.criterion} ({reason.where}), limit {reason.allowed}"
    return Fact(value, label, f"{identifier}.reasons.0.value", unit)


def _key_mppd(report: Report) -> Fact | None:
    if (worst := _key_reason(report, "V5")) is not None:
        return worst
    attacks = report.data("V5", MatchData).attacks
    spots = [(i, j) for i, a in enumerate(attacks) for j, _ in enumerate(a.layers)]
    found = extreme(
        (v, k)
        for k, (i, j) in enumerate(spots)
        if (v := n.finite(attacks[i].layers[j].median_rel_diff)) is not None
    )
    if found is None:
        return None
    i, j = spots[found]
    layer = attacks[i].layers[j]
    return Fact(
        n.percent(layer.median_rel_diff, 2),
        f"largest median MPPD difference ({layer.name}, {attacks[i].name})",
        f"V5.data.attacks.{i}.layers.{j}.median_rel_diff",
        "%",
    )


def _key_headroom(report: Report) -> Fact | None:
    layers = report.data("V9", RangeData).layers
    found = extreme(
        (-v, i) for i, e in enumerate(layers) if (v := n.finite(e.headroom_bits)) is not None
    )
    if found is None:
        return None
    layer = layers[found]
    return Fact(
        n.fixed(layer.headroom_bits, 1),
        f"smallest worst-case headroom ({layer.name})",
        f"V9.data.layers.{found}.headroom_bits",
        "bits",
    )
