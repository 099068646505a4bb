"""Render a report as a short Markdown card for a README, a pull request or a model page."""

from __future__ import annotations

import re
from typing import Any

from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact
from spikeproof.io.marks import CARD_END, CARD_MARK
from spikeproof.report.summary import key_figures, kinds, warnings
from spikeproof.report.tables import accuracy_notes, attack_name
from spikeproof.report.why import HELP, Explained, explain
from spikeproof.verify.accuracy_rows import AccuracyRow
from spikeproof.verify.checks.accuracy import Accuracy
from spikeproof.verify.document import Report, as_report

# Everything that could start a tag, a link, a table cell, an emphasis or a code span.
_SPACES = re.compile(r"\s+")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#|!~&])")


def render_card(report: dict[str, Any] | Report) -> str:
    """Return the card: verdict, key figures, what is known and how, accuracy, provenance.

    Raises:
        InputError: the report is damaged.
    """
    r = as_report(report)
    explained = explain(r.checks)
    parts = [
        f"## {_text(r.network.name)}: {r.verdict}",
        _text(r.sentence),
        *(f"**{_text(w)}**" for w in warnings(r)),
        *(_reasons(e) for e in explained),
        HELP if explained else "",
        "\n".join(f"- {_fact(f)}" for f in key_figures(r)),
        _known(r),
        _accuracy(r),
        _origin(r),
    ]
    return CARD_MARK + "\n\n".join(p for p in parts if p) + f"\n\n{CARD_END}"


def _text(value: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(value.split()))


def _reasons(told: Explained) -> str:
    """Say why one check did not pass, and what to try."""
    head = f"**{_text(told.check.title)}** ({_text(told.check.id)}): {told.check.verdict}"
    points = [r.sentence for r in told.reasons] + [told.rest] * bool(told.rest)
    lines = [_text(point) for point in points] + [f"Try: {_coded(a)}" for a in told.advice]
    return "\n".join([f"{head}\n", *(f"- {line}" for line in lines)])


def _coded(value: str) -> str:
    """Write a text whose commands stand between backticks: they stay as they are typed."""
    parts = value.split("`")
    if len(parts) % 2 == 0:
        return _text(value)
    return "".join(f"`{part}`" if i % 2 else _spaced(part) for i, part in enumerate(parts))


def _spaced(value: str) -> str:
    """As :func:`_text`, with the spaces at its ends."""
    return _SPECIAL.sub(r"\\\1", _SPACES.sub(" ", value))


def _fact(fact: Fact) -> str:
    unit = f" {fact.unit}" if fact.unit else ""
    return f"**{_text(fact.value)}**{unit} {_text(fact.words)}"


def _known(r: Report) -> str:
    rows = [
        f"| {c.title.lower()} | {_text(check.id)} {_text(check.title)} | {check.verdict} | "
        + ", ".join(_fact(f) for f in counts)
        + " |"
        for c in kinds(r)
        for check, counts in c.checks
    ]
    head = ["| kind | check | verdict | counts |", "|---|---|---|---|"]
    return "\n".join(head + rows) if rows else ""


def _accuracy(r: Report) -> str:
    rows = r.result(Accuracy).rows
    head = [
        "| perturbation | 1/255 | images | trained % | chip % | difference (points) | TOST |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    if not rows:
        return ""
    table = "\n".join(head + [_row(row) for row in rows])
    return "\n\n".join([table, *map(_text, accuracy_notes(rows))])


def _row(row: AccuracyRow) -> str:
    cells = (
        _text(attack_name(row)),
        n.anything(row.strength),
        n.integer(row.samples),
        n.accuracy(row.float_accuracy),
        n.accuracy(row.chip_accuracy),
        f"{n.points(row.difference)} {n.interval(row.ci, n.points)}",
        str(row.tost),
    )
    return "| " + " | ".join(cells) + " |"


def _origin(r: Report) -> str:
    p = r.provenance
    hashes = (("bundle", p.bundle_hash), ("checkpoint", p.checkpoint_hash), ("data", p.data_hash))
    told = ", ".join(f"{label} {_text(value[:12])}" for label, value in hashes if value)
    lines = [f"Hashes: {told}."] if told else []
    if p.command:
        lines.append("Repeat it with:\n\n" + "\n".join(f"    {c}" for c in p.command.splitlines()))
    return "\n\n".join(lines)
