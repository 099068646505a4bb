"""Choose the numbers of the first screen; each carries the place in the JSON it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from spikeproof.document.shown import Fact
from spikeproof.io.known import DataRecord
from spikeproof.report.tables import check_order
from spikeproof.text import counted
from spikeproof.verify.checks.base import Check
from spikeproof.verify.checks.registry import facts, headlines
from spikeproof.verify.document import Report
from spikeproof.verify.verdict import Verdict

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
    images = counted(p.data_samples, "image") if p.data_samples is not None else ""
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
    ordered, silent = sorted(report.checks, key=check_order), report.network.readouts
    return [
        Kind(
            key,
            title,
            meaning,
            tuple((c, tuple(facts(c, silent))) for c in ordered if c.kind == key),
        )
        for key, title, meaning in _KINDS
    ]


def warnings(report: Report) -> list[str]:
    """Say where the file contradicts itself, holds nothing to rely on, or the data are odd."""
    if not report.checks:
        return ["No check ran, so nothing is known about this conversion."]
    failed = [c.id for c in sorted(report.checks, key=check_order) if c.verdict is Verdict.FAIL]
    if report.verdict == "pass" and failed:
        return [f"This file says pass, yet {', '.join(failed)} failed. Do not rely on its verdict."]
    return [f"{w[:1].upper()}{w[1:]}." for w in report.provenance.warnings]


def key_figures(report: Report) -> list[Fact]:
    """Return the numbers that matter most; those without data are left out."""
    return headlines(report.checks)
