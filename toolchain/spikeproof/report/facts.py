"""Count what stands behind each check: values, images, layers, comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spikeproof.report import numbers as n
from spikeproof.report.data import (
    AccuracyData,
    BoundaryData,
    DivergenceData,
    ErrorData,
    MatchData,
    RangeData,
    StageData,
)
from spikeproof.report.model import Check, Report

_SINGULAR = {
    "values differ": "value differs",
    "values compared": "value compared",
    "images": "image",
    "layers": "layer",
    "steps": "step",
    "pairs of stages": "pair of stages",
    "perturbations": "perturbation",
    "comparisons": "comparison",
    "states": "state",
    "states compared in runs that force ties": "state compared in runs that force ties",
}

_MAX_FIGURES = 3


@dataclass(frozen=True)
class Fact:
    """A number, what it counts, and its source.

    ``source`` is a path below a check, ``V7.data.rows.3.difference``; ``len``, ``sum`` or
    ``count`` before it say that the number is a length, a sum or a count of true entries.
    """

    value: str
    label: str
    source: str
    unit: str = ""

    @property
    def words(self) -> str:
        """Return the label in the number that the value asks for."""
        return _SINGULAR.get(self.label, self.label) if self.value == "1" else self.label


def extreme(pairs: Iterable[tuple[float, int]]) -> int | None:
    """Return the index of the largest value, the first one of equals; None without any."""
    best = max(pairs, default=None, key=lambda pair: (pair[0], -pair[1]))
    return None if best is None else best[1]


def facts(report: Report, check: Check) -> list[Fact]:
    """Return the counts behind one check: how many values, images, layers, comparisons."""
    makers = {
        "V1": _exact,
        "V2": _stages,
        "V3": _divergence,
        "V4": _errors,
        "V5": _match,
        "V7": _accuracy,
        "V9": _ranges,
        "V13": _boundary,
    }
    maker = makers.get(check.id)
    found = maker(report, check) if maker else []
    return found or _plain_figures(check)


def _figure(check: Check, key: str, label: str) -> list[Fact]:
    value = check.figures.get(key)
    return [] if value is None else [Fact(n.anything(value), label, f"{check.id}.figures.{key}")]


def _plain_figures(check: Check) -> list[Fact]:
    numeric = [k for k, v in check.figures.items() if n.finite(v) is not None]
    return [f for k in numeric[:_MAX_FIGURES] for f in _figure(check, k, k.replace("_", " "))]


def _exact(_: Report, check: Check) -> list[Fact]:
    return [
        *_figure(check, "mismatches", "values differ"),
        *_figure(check, "compared", "values compared"),
        *_figure(check, "samples", "images"),
    ]


def _length(items: Sequence[object], label: str, path: str) -> list[Fact]:
    return [Fact(n.integer(len(items)), label, f"len {path}")] if items else []


def _largest_sample(samples: Sequence[int | None], path: str) -> list[Fact]:
    known = [(v, i) for i, v in enumerate(samples) if v is not None]
    if not known:
        return []
    value, index = max(known, key=lambda pair: (pair[0], -pair[1]))
    return [Fact(n.integer(value), "images", path.format(index))]


def _stages(report: Report, _: Check) -> list[Fact]:
    stages = report.data("V2", StageData).stages
    kept = sum(s.verdict == "pass" for s in stages)
    return [
        *_length(stages, "steps", "V2.data.stages"),
        *(
            [Fact(n.integer(kept), "do what they declare", "count V2.data.stages.*.verdict=pass")]
            if stages
            else []
        ),
    ]


def _divergence(report: Report, _: Check) -> list[Fact]:
    pairs = report.data("V3", DivergenceData).pairs
    differ = sum(p.found for p in pairs)
    return [
        *_length(pairs, "pairs of stages", "V3.data.pairs"),
        *(
            [Fact(n.integer(differ), "of them differ", "count V3.data.pairs.*.found=True")]
            if pairs
            else []
        ),
    ]


def _errors(report: Report, _: Check) -> list[Fact]:
    layers = report.data("V4", ErrorData).layers
    silent = report.network.readouts
    found = extreme(
        (v, i)
        for i, e in enumerate(layers)
        if e.name not in silent and (v := n.finite(e.accumulated.flip_rate)) is not None
    )
    counted = _length(layers, "layers", "V4.data.layers")
    if found is None:
        return counted
    worst = layers[found]
    return [
        *counted,
        Fact(
            n.rate(worst.accumulated.flip_rate),
            f"of states flip in {worst.name}, the most of all layers",
            f"V4.data.layers.{found}.accumulated.flip_rate",
            "%",
        ),
    ]


def _match(report: Report, _: Check) -> list[Fact]:
    attacks = report.data("V5", MatchData).attacks
    if not attacks:
        return []
    first = attacks[0].layers
    return [
        *_length(attacks, "perturbations", "V5.data.attacks"),
        *_length(first, "layers", "V5.data.attacks.0.layers"),
        *_largest_sample([e.samples for e in first], "V5.data.attacks.0.layers.{}.samples"),
    ]


def _accuracy(report: Report, _: Check) -> list[Fact]:
    rows = report.data("V7", AccuracyData).rows
    return [
        *_length(rows, "comparisons", "V7.data.rows"),
        *_largest_sample([r.samples for r in rows], "V7.data.rows.{}.samples"),
    ]


def _ranges(report: Report, _: Check) -> list[Fact]:
    layers = report.data("V9", RangeData).layers
    if not layers:
        return []
    safe = sum(e.ok is True for e in layers)
    return [
        *_length(layers, "layers", "V9.data.layers"),
        Fact(n.integer(safe), "cannot overflow", "count V9.data.layers.*.ok=True"),
    ]


def _boundary(report: Report, _: Check) -> list[Fact]:
    data = report.data("V13", BoundaryData)
    states = sum(e.states or 0 for e in data.layers)
    found = [Fact(n.integer(states), "states", "sum V13.data.layers.*.states")] if states else []
    ties = data.forced_ties
    if ties is not None and ties.states is not None:
        found += [
            Fact(
                n.integer(ties.states),
                "states compared in runs that force ties",
                "V13.data.forced_ties.states",
            ),
            Fact(
                n.integer(ties.mismatches),
                "decided differently",
                "V13.data.forced_ties.mismatches",
            ),
        ]
    return found
