"""V4: what each layer adds to the error, and what adds up."""

from __future__ import annotations

from pydantic import Field

from spikeproof.document import numbers as n
from spikeproof.document.shown import Fact, Head, Table, extreme, length, lines
from spikeproof.document.values import Figure, Record, Text
from spikeproof.verify.checks.base import Check, CheckKind, Findings, Outcome, percent
from spikeproof.verify.layer_errors import ErrorFigures, LayerError
from spikeproof.verify.stage_measurement import STAGES
from spikeproof.verify.verdict import Verdict


class LayerErrors(Record):
    """The error of all layers."""

    layers: list[LayerError] = Field(default_factory=list)


class WorstLayer(Record):
    """The layer whose spikes change most often, and the share of its states that do, 0..1."""

    samples: int
    worst_flip_rate: Figure
    worst_layer: Text


def errors_outcome(layers: list[LayerError], samples: int) -> Outcome[LayerErrors]:
    """Name the layer in which spikes change most often."""
    spiking = layers[:-1] or layers
    worst = max(spiking, key=lambda row: row.accumulated.flip_rate)
    accumulated, local = worst.accumulated.flip_rate, worst.local.flip_rate
    return Outcome(
        Verdict.INFO,
        f"Spikes change most often in {worst.name}: in {percent(accumulated, 3)} of its states "
        f"when the whole chip network runs, and in {percent(local, 3)} when only this layer is "
        "converted.",
        WorstLayer(samples=samples, worst_layer=worst.name, worst_flip_rate=accumulated),
        LayerErrors(layers=layers),
    )


def _judge(found: Findings) -> Outcome[LayerErrors]:
    stages = found.of(STAGES)
    return errors_outcome(stages.errors, stages.samples)


# --- show ----------------------------------------------------------------------------------------


def _facts(check: Check, result: LayerErrors, silent: set[str]) -> list[Fact]:
    path, layers = f"{check.id}.data.layers", result.layers
    counted = length(layers, "layers", path)
    found = extreme(
        (e.accumulated.flip_rate, i) for i, e in enumerate(layers) if e.name not in silent
    )
    if found is None:
        return counted
    worst = layers[found]
    label = f"of states flip in {worst.name}, the most of all layers"
    source = f"{path}.{found}.accumulated.flip_rate"
    return [*counted, Fact(n.rate(worst.accumulated.flip_rate), label, source, "%")]


def _tables(result: LayerErrors) -> dict[str, Table]:
    head = (
        Head("layer", "name"),
        Head("the layer receives", "text"),
        Head("spikes that flip", unit="% of states"),
        Head("SQNR", unit="dB"),
        Head("|Δv| median", unit="θ"),
        Head("99 %", unit="θ"),
        Head("largest", unit="θ"),
    )
    layers = result.layers
    both = [e for layer in layers for e in (layer.local, layer.accumulated)]
    names = [layer.name for layer in layers for _ in range(2)]
    inputs = [
        "spikes of the trained network (this layer alone)",
        "spikes of the chip network (all layers)",
    ] * len(layers)
    flips = n.column([100 * e.flip_rate for e in both])
    sizes = [n.column([getattr(e, key) for e in both]) for key in ("dv_p50", "dv_p99", "dv_max")]
    rows = list(zip(names, inputs, flips, map(_sqnr, both), *sizes, strict=True))
    caption = "Error of each layer, by itself and with all layers before it"
    return {"errors": Table(caption, head, lines(rows))}


def _sqnr(e: ErrorFigures) -> str:
    return "∞" if e.sqnr_db is None and e.dv_max == 0 else n.fixed(e.sqnr_db, 1)


CHECK = CheckKind(
    id="V4",
    title="Conversion error, layer by layer",
    kind="measured",
    result=LayerErrors,
    judge=_judge,
    section="differences",
    figures=WorstLayer,
    jobs=(STAGES,),
    facts=_facts,
    tables=_tables,
)
