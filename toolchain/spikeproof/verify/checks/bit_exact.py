"""V1: the target computes what the reference computes, value by value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, Head, Table, lines
from spikeproof.document.values import Record, Text
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import Engine
from spikeproof.ir.chip import ChipNetwork
from spikeproof.reasons import Reason
from spikeproof.text import counted
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Job, Outcome
from spikeproof.verify.compare import (
    LayerComparison,
    compare_traces,
    judge_comparison,
    run_traced,
)
from spikeproof.verify.effort import engine_milliseconds
from spikeproof.verify.first_difference import FirstDifference, first_unequal_state
from spikeproof.verify.material import Material
from spikeproof.verify.verdict import Verdict


class BitExact(Record):
    """Values compared in each layer."""

    layers: list[LayerComparison] = Field(default_factory=list)


class ExactFigures(Record):
    """Values compared over all layers, how many differ, on how many images, and of which engine."""

    compared: int
    engine: Text
    mismatches: int
    reference: Text
    samples: int


class EngineComparison(Record):
    """One engine against the reference."""

    name: Text
    layers: list[LayerComparison]
    verdict: Verdict
    divergence: FirstDifference

    @property
    def mismatches(self) -> int:
        """Count the values that differ."""
        return sum(layer.mismatches for layer in self.layers)


class EngineComparisons(Record):
    """All engines against the reference, the target last."""

    samples: int
    engines: list[EngineComparison]


# --- measure -------------------------------------------------------------------------------------


def compare_engines(
    network: ChipNetwork, x: NDArray[np.uint8], engines: list[Engine]
) -> EngineComparisons:
    """Compare every u, v and s of each engine with the reference.

    Raises:
        UnsupportedError: an engine cannot run this network.
        TargetError: an engine failed, or returned something that cannot be compared.
    """
    expected = run_traced(ReferenceEngine(), network, x)
    rows = []
    for engine in engines:
        found = run_traced(engine, network, x)
        layers = compare_traces(expected, found)
        rows.append(
            EngineComparison(
                name=engine.name,
                layers=layers,
                verdict=judge_comparison(layers),
                divergence=first_unequal_state(
                    network, expected, found, ReferenceEngine.name, engine.name
                ),
            )
        )
    return EngineComparisons(samples=len(x), engines=rows)


def _measure(material: Material) -> EngineComparisons:
    x = material.x[: material.config.lava_samples]
    return compare_engines(material.stages.chip, x, material.engines())


FEWEST = 20
"""Images on which the target must agree, where there are so many."""


def _cost(material: Material) -> float:
    samples, network = material.images(material.config.lava_samples), material.stages.chip
    slow = sum(engine_milliseconds(engine, network, samples) for engine in material.engines())
    return samples * (10 + 4 * material.effort) + slow


EXACT = Job("exact", _measure, EngineComparisons, _cost)


# --- judge ---------------------------------------------------------------------------------------


def exact_outcome(
    measured: EngineComparisons, engine: str, available: int = 0
) -> Outcome[BitExact]:
    """Judge the target, named ``engine``; ``available``: images that could have been compared."""
    row = next(r for r in measured.engines if r.name == engine)
    compared, mismatches = sum(layer.values for layer in row.layers), row.mismatches
    verdict, reasons = row.verdict, unequal_layers(row, measured.samples)
    fewest = min(FEWEST, available)
    if verdict is Verdict.PASS and measured.samples < fewest:
        verdict, reasons = Verdict.INCONCLUSIVE, [_too_few(measured.samples, fewest)]
    where = "in every value"
    if mismatches:
        where = f"in all but {mismatches:,} of {counted(compared, 'value')}"
    return Outcome(
        verdict,
        f"On {counted(measured.samples, 'image')} {engine} agrees with the reference simulator "
        f"{where} of u, v and s.",
        ExactFigures(
            compared=compared,
            mismatches=mismatches,
            samples=measured.samples,
            engine=engine,
            reference=ReferenceEngine.name,
        ),
        BitExact(layers=row.layers),
        reasons,
    )


def _too_few(samples: int, fewest: int) -> Reason:
    return Reason(
        verdict="inconclusive",
        criterion="images compared value by value",
        value=samples,
        relation="at least",
        limit=fewest,
        images=samples,
        images_needed=fewest,
        try_=f"Compare more of the images at hand: verify --lava-samples {fewest}.",
    )


def unequal_layers(row: EngineComparison, samples: int) -> list[Reason]:
    """Give a reason for every layer in which an engine differs, or that was not compared."""
    engine = row.name
    reasons = [
        Reason(
            verdict="fail",
            criterion=f"values of {engine} that differ from the specification",
            stage=f"reference to {engine}",
            layer=layer.name,
            value=layer.mismatches,
            relation="exactly",
            limit=0,
            images=samples,
            try_=f"Run `spikeproof run BUNDLE --self-test --engine {engine}`, and `spikeproof "
            "doctor` to see whether the engine is one this version supports. The first difference "
            "is listed under V3.",
        )
        for layer in row.layers
        if layer.mismatches
    ]
    missing = [layer.name for layer in row.layers if not layer.values]
    if missing or not row.layers:
        reasons.append(
            Reason(
                verdict="fail",
                criterion="values compared with the specification",
                stage=f"reference to {engine}",
                layer=", ".join(missing) or None,
                value=0,
                relation="more than",
                limit=0,
                images=samples,
                try_=f"{engine} gave no traces, so nothing was compared: give images (--data, "
                "--limit), or compare another engine (--engine).",
            )
        )
    return reasons


def _judge(found: Findings) -> Outcome[BitExact]:
    measured = found.of(EXACT)
    return exact_outcome(measured, measured.engines[-1].name, len(found.material.x))


# --- show ----------------------------------------------------------------------------------------


def _facts(check: Check, result: BitExact, silent: set[str]) -> list[Fact]:
    if not result.layers:
        return []
    told, path = check.figures_of(ExactFigures), f"{check.id}.figures"
    return [
        Fact(n.integer(told.mismatches), "values differ", f"{path}.mismatches"),
        Fact(n.integer(told.compared), "values compared", f"{path}.compared"),
        Fact(n.integer(told.samples), "images", f"{path}.samples"),
    ]


def _headline(check: Check, result: BitExact) -> Fact | None:
    if not result.layers:
        return None
    told = check.figures_of(ExactFigures)
    compared = n.integer(told.compared)
    label = f"of {compared} values differ between {told.engine} and the specification"
    return Fact(n.integer(told.mismatches), label, f"{check.id}.figures.mismatches")


def _clause(check: Check, result: BitExact) -> str:
    told = check.figures_of(ExactFigures)
    images = counted(told.samples, "image")
    return f"on {images} {told.engine} reproduces the specification bit for bit"


def _tables(result: BitExact) -> dict[str, Table]:
    head = (
        Head("layer", "name"),
        Head("values compared"),
        Head("that differ", unit="limit 0"),
    )
    rows = [(e.name, n.integer(e.values), n.integer(e.mismatches)) for e in result.layers]
    caption = "Chip target against specification: every u, v and spike"
    return {"exact": Table(caption, head, lines(rows))}


CHECK = CheckKind(
    id="V1",
    title="The target computes the specification, bit for bit",
    kind="tested",
    result=BitExact,
    judge=_judge,
    section="differences",
    figures=ExactFigures,
    jobs=(EXACT,),
    facts=_facts,
    headline=_headline,
    lead=1,
    clause=_clause,
    tables=_tables,
)
