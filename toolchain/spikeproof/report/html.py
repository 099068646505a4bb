"""Render a report as one HTML file: no network, no script, printable, light and dark."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from spikeproof.attacks.validity.plain import NAIVE_TITLE
from spikeproof.document import numbers as n
from spikeproof.document.shown import Line
from spikeproof.io.files import write_atomic
from spikeproof.io.marks import PAGE_MARK
from spikeproof.report import (
    charts,
    charts_membrane,
    charts_rows,
    predictions,
    resources,
    summary,
    tables,
    why,
)
from spikeproof.verify.certificate import RangeLayer
from spikeproof.verify.checks import registry
from spikeproof.verify.checks.accuracy import Accuracy
from spikeproof.verify.checks.errors import LayerErrors
from spikeproof.verify.checks.overflow import Ranges
from spikeproof.verify.checks.response import Response
from spikeproof.verify.checks.threshold import Boundary
from spikeproof.verify.document import Report, as_report

MOST_REASONS = 60
_TEMPLATES = Path(__file__).parent / "templates"


def write_html(report: dict[str, Any] | Report, path: Path | str) -> None:
    """Write the page for ``report``; an existing file is replaced in one step.

    Raises:
        InputError: the report is damaged, or ``path`` cannot be written.
    """
    write_atomic(path, render_html(report))


def render_html(report: dict[str, Any] | Report) -> str:
    """Return the page for ``report``; the same report gives the same text.

    Raises:
        InputError: the report is damaged.
    """
    typed = as_report(report)
    page = _environment().get_template("report.html.j2")
    return page.render(r=typed, **_tables(typed), **_charts(typed), **_facts(typed))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(groups=_groups, tied=_tied)
    environment.globals.update(n=n, mark=Markup(PAGE_MARK), swatch=charts_membrane.swatch)
    return environment


def _tied(text: str) -> Markup:
    """Keep a number and its per cent sign on one line; what stands between backticks is code.

    An option and a name such as ``pgd-20 8/255`` are not broken. Drawings are left as they are.
    """
    if isinstance(text, Markup):
        return text
    plain = escape(_PER_CENT.sub("\N{NO-BREAK SPACE}%", text))
    whole = _WHOLE.sub(r'<span class="whole">\g<0></span>', str(plain))
    return Markup(_CODE.sub(r"<code>\1</code>", whole))


def _groups(rows: tuple[Line, ...]) -> list[tuple[str, list[Line]]]:
    return [(name, list(found)) for name, found in groupby(rows, key=lambda row: row.group)]


_PER_CENT = re.compile(r"(?<=\d) %")
_CODE = re.compile("`([^`]+)`")
_WHOLE = re.compile(r"(?<![\w-])(?:--[a-z][a-z-]*|[a-z]+(?:-\d+)? \d+/255|[a-z]+-\d+)(?![\w/-])")

_PLACED = {
    "differences": {"exact", "stages", "divergence", "errors", "boundary"},
    "quantisation": {"ranges"},
    "accuracy": {"attacks"},
    "membrane": set[str](),
    "provenance": set[str](),
}
"""The sections of the page, and the checks' tables that stand at a place of their own there."""


def _tables(r: Report) -> dict[str, Any]:
    own = registry.tables(r.checks)
    placed = {k: own[section][k] for section, names in _PLACED.items() for k in names}
    more = {
        section: [t for k, t in found.items() if k not in _PLACED.get(section, ())]
        for section, found in own.items()
    }
    sections = {kind.section: kind.title for kind in reversed(registry.CHECKS)}
    return {
        **placed,
        "ranges": tables.range_table(r, placed["ranges"]),
        "accuracy": tables.accuracy_table(r),
        "mppd": tables.mppd_table(r),
        "energy": tables.energy_table(r),
        "quantisation": tables.quantisation_table(r),
        "every_check": tables.check_table(r),
        "fit": resources.fit_table(r),
        "connections": resources.connection_table(r),
        "operations": resources.operation_table(r),
        "disagreements": predictions.disagreement_table(r),
        "mistakes": predictions.mistake_table(r),
        "more": more,
        "more_sections": {k: v for k, v in sections.items() if k not in _PLACED},
        "section_of": {kind.id: kind.section for kind in registry.CHECKS},
    }


def _charts(r: Report) -> dict[str, Any]:
    response = r.result(Response)
    attacks = response.attacks
    naively = [row.naive_accuracy is not None for row in r.result(Accuracy).rows]
    return {
        "naive": f"{NAIVE_TITLE} (naive)" if any(naively) else "",
        "accuracy_charts": charts.accuracy_curves(r.result(Accuracy).rows),
        "residuals": charts_membrane.mppd_residuals(attacks, response.limits),
        "energies": charts_membrane.energy_curves(attacks),
        "flips": charts_rows.flip_rows(r.result(LayerErrors).layers, r.network.readouts),
        "margins": charts_rows.margin_rows(r.result(Boundary).layers),
        "headroom": charts_rows.headroom_bars(_ranges(r)),
        "attack_names": [a.name for a in attacks],
        "limits": response.limits,
    }


def _ranges(r: Report) -> list[RangeLayer]:
    proved = r.result(Ranges).layers
    return proved or [
        RangeLayer(name=e.layer, v_low=e.v_low, v_high=e.v_high, headroom_bits=e.headroom_bits)
        for e in r.network.layers
    ]


def _facts(r: Report) -> dict[str, Any]:
    rows = r.result(Accuracy).rows
    synapses = [e.synapses for e in r.network.layers if e.synapses is not None]
    p = r.provenance
    software = {"spikeproof": p.spikeproof, "python": p.python, "numpy": p.numpy, **p.packages}
    return {
        "explained": why.explain(r.checks),
        "explained_fully": why.explain(r.checks, MOST_REASONS),
        "help": why.HELP,
        "kinds": [c for c in summary.kinds(r) if c.checks],
        "about": summary.about(r),
        "strips": predictions.strips(r),
        "confusion": predictions.confusion(r),
        "key_figures": summary.key_figures(r),
        "warnings": summary.warnings(r),
        "synapses": sum(synapses) if synapses else None,
        "margin": " or ".join(n.anything(100 * v) for v in sorted({r.margin for r in rows})),
        "accuracy_notes": tables.accuracy_notes(rows),
        "forced_ties": r.result(Boundary).forced_ties,
        "software": {k: n.anything(v) for k, v in software.items() if v is not None},
        "seeds": _flat(p.seeds),
        "suite": _flat(p.suite),
        "total_time": sum(v for c in r.checks if (v := n.finite(r.timing.get(c.id))) is not None),
        "date": summary.date_text(r),
        "level": _level(r),
    }


def _level(r: Report) -> str | None:
    """Return the confidence of two one-sided tests' intervals in per cent, where it is known."""
    suite = r.provenance.suite
    alpha = n.finite(suite.get("alpha")) if isinstance(suite, dict) else None
    return None if alpha is None else f"{100 * (1 - 2 * alpha):g}"


def _flat(value: object, prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to ``a.b.c: value``."""
    if isinstance(value, dict):
        parts = [_flat(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
        return {k: v for part in parts for k, v in part.items()}
    return {} if value is None and not prefix else {prefix or "value": _quoted(value)}


def _quoted(value: object) -> str:
    """Write a setting out in words: lists by commas, records by semicolons."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_quoted(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        apart = "; " if any(isinstance(v, dict) for v in value) else ", "
        return apart.join(map(_quoted, value)) or n.MISSING
    # A seed or a setting is quoted as it was given: 20250101 is no count to be grouped.
    return value if isinstance(value, str) else json.dumps(value)
