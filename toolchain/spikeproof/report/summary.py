"""Choose the numbers of the first screen; each carries the place in the JSON it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from spikeproof.io.known import DataRecord
from spikeproof.report import numbers as n
from spikeproof.report.data import AccuracyData, MatchData, RangeData
from spikeproof.report.facts import Fact, extreme, facts
from spikeproof.report.model import Check, Report
from spikeproof.report.tables import check_order

_KINDS = (
    ("proved", "Proved", "Holds for every possible input."),
    ("tested", "Tested", "Compared with a limit, on the cases counted here."),
    ("measured", "Measured", "Observed; there is no limit to pass or fail."),
)


@dataclass(frozen=True)
class Kind:
    """The checks of one kind: what is known, and how well."""

    key: str
    title: str
    meaning: str
    checks: tuple[tuple[Check, tuple[Fact, ...]], ...]


def date_text(report: Report) -> str:
    """Return when the run ended: ``31 May 2026, 12:00 UTC``; empty in reports without a date."""
    when = report.finished
    if when is None:
        return ""
    zone = " UTC" if when.utcoffset() == timedelta(0) else ""
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"


def data_title(data: DataRecord) -> str:
    """Name the data set; one that was not recognised by its file."""
    if data.name is not None:
        return f"{data.name} {data.split}" if data.split else data.name
    return f"{data.file} (not a data set known to spikeproof)" if data.file else "not recognised"


def about(report: Report) -> list[tuple[str, str]]:
    """Say what was verified on what, and when; what the report does not hold is left out."""
    p, suite = report.provenance, report.provenance.suite
    settings = suite if isinstance(suite, dict) else {}
    images = f"{n.integer(p.data_samples)} images" if p.data_samples is not None else ""
    data = [data_title(p.data)] if p.data is not None else []
    known = [
        ("Date", date_text(report)),
        ("Data", ", ".join([*data, *([images] if images else [])])),
        ("Chip target", str(settings.get("engine") or "")),
        (
            "Suite",
            str(settings.get("title") or settings.get("suite") or settings.get("name") or ""),
        ),
    ]
    return [(label, value) for label, value in known if value]


def kinds(report: Report) -> list[Kind]:
    """Sort the checks into proved, tested and measured."""
    ordered = sorted(report.checks, key=check_order)
    return [
        Kind(
            key,
            title,
            meaning,
            tuple((c, tuple(facts(report, c))) for c in ordered if c.kind == key),
        )
        for key, title, meaning in _KINDS
    ]


def warnings(report: Report) -> list[str]:
    """Say where the file contradicts itself, holds nothing to rely on, or the data are odd."""
    if not report.checks:
        return ["No check ran, so nothing is known about this conversion."]
    failed = [c.id for c in sorted(report.checks, key=check_order) if c.verdict == "fail"]
    if report.verdict == "pass" and failed:
        return [f"This file says pass, yet {', '.join(failed)} failed. Do not rely on its verdict."]
    return [f"{w[:1].upper()}{w[1:]}." for w in report.provenance.warnings]


def key_figures(report: Report) -> list[Fact]:
    """Return the up to four numbers that matter most; those without data are left out."""
    makers = (_key_exact, _key_accuracy, _key_mppd, _key_ranges)
    return [fact for maker in makers if (fact := maker(report)) is not None]


def _key_exact(report: Report) -> Fact | None:
    check = report.check("V1")
    if check is None or n.finite(check.figures.get("mismatches")) is None:
        return None
    compared = n.anything(check.figures.get("compared"))
    target = n.anything(check.figures.get("engine") or "the target")
    label = f"of {compared} values differ between {target} and the specification"
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
    name += f"; {row.bound_note}" if row.bound_note else ""
    return Fact(
        n.points(row.difference),
        f"largest change of accuracy ({name}){_allowed(row.margin, '±', 'points')}",
        f"V7.data.rows.{found}.difference",
        "points",
    )


def _key_reason(report: Report, identifier: str) -> Fact | None:
    """Return the worst reason of a check that did not pass: no good figure may hide it."""
    check = report.check(identifier)
    reason = check.reasons[0] if check is not None and check.reasons else None
    if reason is None or reason.value is None:
        return None
    source = f"{identifier}.reasons.0"
    label = f"{reason.criterion} ({reason.where}), limit {reason.allowed}"
    if reason.verdict == "fail":
        value, _, unit = reason.measured.partition(" ")
        return Fact(value, label, f"{source}.value", unit)
    # A value that meets its limit would read as a pass: say what is shown.
    low, high = reason.interval or (None, None)
    if (low is None) != (high is None):
        end = reason.shown.removeprefix("at most ").removeprefix("at least ")
        value, _, unit = end.partition(" ")
        lead = "shown so far, at most" if low is None else "shown so far, at least"
        return Fact(value, f"{lead}: {label}", f"{source}.interval.{int(low is None)}", unit)
    told = f"; shown so far {reason.shown}" if reason.shown else ""
    told += f"; {reason.evidence}" if reason.evidence else ""
    value, _, unit = reason.measured.partition(" ")
    return Fact(value, f"not decided: {label}{told}", f"{source}.value", unit)


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
        f"largest median difference in MPPD ({layer.name}, {attacks[i].name})"
        + _allowed(report.limits.median_difference, "", "%"),
        f"V5.data.attacks.{i}.layers.{j}.median_rel_diff",
        "%",
    )


def _allowed(limit: float | None, sign: str, unit: str) -> str:
    share = n.finite(limit)
    return "" if share is None else f"; allowed: {sign}{100 * share:g} {unit}"


def _key_ranges(report: Report) -> Fact | None:
    layers = report.data("V9", RangeData).layers
    if not any(e.ok is not None for e in layers):
        return None
    safe = sum(e.ok is True for e in layers)
    return Fact(
        n.integer(safe),
        "can never overflow the chip’s registers, whatever the input",
        "count V9.data.layers.*.ok=True",
        f"of {n.integer(len(layers))} layers",
    )
