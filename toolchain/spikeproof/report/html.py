"""Render a report as one HTML file: no network, no script, printable, light and dark."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from spikeproof.io.files import write_atomic
from spikeproof.io.kinds import PAGE_MARK
from spikeproof.report import (
    charts,
    charts_membrane,
    charts_rows,
    predictions,
    resources,
    summary,
    tables,
    tables_layers,
    why,
)
from spikeproof.report import numbers as n
from spikeproof.report.data import (
    AccuracyData,
    AccuracyRow,
    BoundaryData,
    ErrorData,
    MatchData,
    RangeData,
    RangeLayer,
)
from spikeproof.report.model import Report, as_report

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
    environment.filters["groups"] = _groups
    environment.globals.update(n=n, mark=Markup(PAGE_MARK), swatch=charts_membrane.swatch)
    return environment


def _groups(rows: tuple[tables.Line, ...]) -> list[tuple[str, list[tables.Line]]]:
    return [(name, list(found)) for name, found in groupby(rows, key=lambda row: row.group)]


def _tables(r: Report) -> dict[str, tables.Table]:
    return {
        "accuracy": tables.accuracy_table(r),
        "mppd": tables.mppd_table(r),
        "energy": tables.energy_table(r),
        "exact": tables_layers.exact_table(r),
        "stages": tables_layers.stage_table(r),
        "divergence": tables_layers.divergence_table(r),
        "errors": tables_layers.error_table(r),
        "boundary": tables_layers.boundary_table(r),
        "quantisation": tables_layers.quantisation_table(r),
        "ranges": tables_layers.range_table(r),
        "every_check": tables.check_table(r),
        "fit": resources.fit_table(r),
        "operations": resources.operation_table(r),
        "disagreements": predictions.disagreement_table(r),
        "mistakes": predictions.mistake_table(r),
    }


def _charts(r: Report) -> dict[str, Any]:
    attacks = r.data("V5", MatchData).attacks
    return {
        "accuracy_charts": charts.accuracy_curves(r.data("V7", AccuracyData).rows),
        "residuals": charts_membrane.mppd_residuals(attacks, r.limits),
        "energies": charts_membrane.energy_curves(attacks),
        "flips": charts_rows.flip_rows(r.data("V4", ErrorData).layers, r.network.readouts),
        "margins": charts_rows.margin_rows(r.data("V13", BoundaryData).layers),
        "headroom": charts_rows.headroom_bars(_ranges(r)),
        "attack_names": [a.name for a in attacks],
    }


def _ranges(r: Report) -> list[RangeLayer]:
    proved = r.data("V9", RangeData).layers
    return proved or [
        RangeLayer(name=e.layer, v_low=e.v_low, v_high=e.v_high, headroom_bits=e.headroom_bits)
        for e in r.network.layers
    ]


def _facts(r: Report) -> dict[str, Any]:
    rows = r.data("V7", AccuracyData).rows
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
        "margin": _common_margin(rows),
        "accuracy_notes": tables.accuracy_notes(rows),
        "forced_ties": r.data("V13", BoundaryData).forced_ties,
        "software": {k: n.anything(v) for k, v in software.items() if v is not None},
        "seeds": _flat(p.seeds),
        "suite": _flat(p.suite),
        "total_time": sum(v for c in r.checks if (v := n.finite(r.timing.get(c.id))) is not None),
        "date": summary.date_text(r),
    }


def _common_margin(rows: list[AccuracyRow]) -> str:
    found = sorted({v for r in rows if (v := n.finite(r.margin)) is not None})
    return " or ".join(n.anything(100 * v) for v in found)


def _flat(value: object, prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to ``a.b.c: value``."""
    if isinstance(value, dict):
        flat: dict[str, str] = {}
        for key, inner in value.items():
            flat.update(_flat(inner, f"{prefix}.{key}" if prefix else str(key)))
        return flat
    if value is None and not prefix:
        return {}
    return {prefix or "value": _quoted(value)}


def _quoted(value: object) -> str:
    """Write a setting out in words: lists by commas, records by semicolons."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_quoted(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        apart = "; " if any(isinstance(v, dict) for v in value) else ", "
        return apart.join(map(_quoted, value)) or n.MISSING
    # A seed or a setting is quoted as it was given: 20250101 is no count to be grouped.
    return value if isinstance(value, str) else json.dumps(value)
