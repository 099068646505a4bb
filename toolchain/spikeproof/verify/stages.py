"""The stages of a conversion, rebuilt from the checkpoint and the chip network.

Folding is deterministic, so it is repeated; the quantised network is read back from the chip's
own integers. Nothing is taken on trust from the bundle except its units and declared relations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from spikeproof.convert.conversion import Relation, StageSequence, sequence
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import float_layers, fold_network
from spikeproof.convert.quantise import V_UNITS, Candidate, FloatLayer, dequantise
from spikeproof.document.values import explain
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import FloatResult, run_float
from spikeproof.engines.numpy_engine import lagged, run_alone
from spikeproof.engines.trace import Engine, LayerTrace, RunResult
from spikeproof.errors import ConversionError, InputError, list_problems
from spikeproof.io.record import BundleRecord, CalibrationRecord, TableRow, read_table
from spikeproof.ir.chip import INPUT_INDEX, ChipLayer, ChipNetwork
from spikeproof.ir.floats import FloatNetwork, FloatNode, Lif, Readout
from spikeproof.ir.readouts import ReadoutRule, settled
from spikeproof.ir.shapes import arranged_neurons

F64 = NDArray[np.float64]
Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Stages(StageSequence):
    """All stages of one conversion, and what the bundle's record says of it.

    units: chip v-units per unit of float membrane, per layer. claims: the rows of the conversion
    table, by layer. calibration: the images it was made with.
    """

    units: dict[str, float]
    options: ConvertOptions
    claims: dict[str, TableRow]
    calibration: CalibrationRecord


@dataclass(frozen=True, eq=False)
class Membrane:
    """One layer of any stage in common terms; arrays (N, T, *neurons).

    v: before the reset, in units of the threshold (a readout: in its float units, summed over
    the steps so far). s: spikes, None for a readout. lsb: chip v-units per unit of v, (T, ...) that
    broadcasts to (T, *neurons).
    """

    name: str
    v: F64
    s: NDArray[np.uint8] | None
    lsb: F64


def rebuild_stages(network: ChipNetwork, source: FloatNetwork, record: BundleRecord) -> Stages:
    """Rebuild every stage; ``record`` is the bundle's.

    Raises:
        ConversionError: the bundle's steps, input or layers are not the checkpoint's.
        InputError: the record lacks a scale or holds options that are none.
    """
    folded = fold_network(source)
    units = record.units
    layers = float_layers(folded)
    _check_frame(network, source, layers)
    _check_units([layer.name for layer in network.layers], units, network.name)
    nodes: dict[str, FloatNode] = {}
    for layer, built in zip(layers, network.layers, strict=True):
        candidate = Candidate(built, units[built.name] / V_UNITS, 0.0, ())
        nodes |= {node.name: node for node in dequantise(layer, candidate)}
    quantised = replace(folded, nodes=tuple(nodes.get(n.name, n) for n in folded.nodes))
    relations = {k: Relation(**dict(v)) for k, v in record.relations.items()}
    claims = {row.layer: row for row in conversion_table(record)}
    networks: dict[str, FloatNetwork | ChipNetwork] = {
        "folded": folded,
        "quantised": quantised,
        "chip": network,
    }
    return Stages(
        sequence(source, networks, relations),
        units,
        _options(record.options),
        claims,
        record.calibration or CalibrationRecord(),
    )


def conversion_table(record: BundleRecord) -> list[TableRow]:
    """Return the rows of the table in a bundle's record.

    Raises:
        InputError: they are none of a conversion's.
    """
    try:
        return read_table(record.document.get("table", []), record.spikeproof)
    except ValueError as error:
        raise InputError(
            str(error), where="table in the bundle's record", hint="Convert the checkpoint again."
        ) from error


def _options(declared: Json) -> ConvertOptions:
    """Return the options a bundle declares; one that declares none is judged by the defaults.

    Raises:
        InputError: they are none of a conversion's.
    """
    try:
        return ConvertOptions.model_validate(declared)
    except ValidationError as error:
        raise InputError(
            explain(error),
            where="options in the bundle's record",
            hint="Convert the checkpoint again with this version.",
        ) from error


def _check_frame(network: ChipNetwork, source: FloatNetwork, layers: list[FloatLayer]) -> None:
    """Compare what holds for the whole network; with another frame no number can be compared.

    Raises:
        ConversionError: steps, input or layers are not the checkpoint's.
    """
    found = (
        network.timesteps,
        tuple(network.input_shape),
        network.coding,
        [(layer.name, tuple(layer.shape)) for layer in network.layers],
        _wiring([[(one.source, one.lag) for one in layer.inputs] for layer in network.layers]),
        settled(network.readout, network.layers[-1].neuron.spiking),
    )
    wanted = (
        source.timesteps,
        tuple(source.input_shape),
        "pixels",
        [(layer.name, tuple(layer.shape)) for layer in layers],
        _wiring([[tuple(wire) for wire in layer.wires] for layer in layers]),
        settled(_readout(source), isinstance(layers[-1].end, Lif)),
    )
    what = (
        "number of timesteps",
        "shape of the input",
        "coding of the input",
        "list of layers",
        "wiring",
        "readout",
    )
    problems = [
        f"the {name} is {held} in the bundle, {right} in the checkpoint"
        for name, held, right in zip(what, found, wanted, strict=True)
        if held != right
    ]
    if problems:
        raise ConversionError(
            f"V2 fails at stage folded to integers: {list_problems(problems)}",
            where=network.name,
            hint="The bundle says it was made from this checkpoint, but it was altered or wrongly "
            "converted. Convert the checkpoint again.",
        )


def _wiring(inputs: list[list[Any]]) -> str:
    """Write who feeds each layer as messages show it; "" for a chain."""
    chain = [[(None, 0)]] * len(inputs)
    return "" if inputs == chain else "; ".join(str(one) for one in inputs)


def _readout(source: FloatNetwork) -> ReadoutRule:
    last = source.nodes[-1]
    return last.rule if isinstance(last, Readout) else "auto"


def _check_units(names: list[str], units: dict[str, float], where: str) -> None:
    """Check that the record has a usable scale for every layer.

    Raises:
        InputError: it has not; all problems are named.
    """
    missing = [name for name in names if name not in units]
    problems = [f"the bundle's record has no units for {', '.join(missing)}"] if missing else []
    problems += [
        f"the scale of {name} is {units[name]:g} v-units per unit, must be positive and finite"
        for name in names
        if name in units and not 0 < units[name] < np.inf
    ]
    if problems:
        raise InputError(list_problems(problems), where=where, hint="Convert the checkpoint again.")


def float_membranes(network: FloatNetwork, run: FloatResult, stages: Stages) -> list[Membrane]:
    """Return the layers of a traced float run; v / threshold is the same with and without gain."""
    neurons, found = arranged_neurons(network), []
    for layer in stages.chip.layers:
        trace, lsb = run.traces[layer.name], layer_lsb(layer, stages)
        if layer.name in neurons and trace.v is not None:
            v = trace.v / neurons[layer.name].threshold
            found.append(Membrane(layer.name, v, trace.s, lsb))
        else:
            found.append(Membrane(layer.name, trace.current.cumsum(axis=1), None, lsb))
    return found


def chip_membranes(traces: dict[str, LayerTrace], stages: Stages) -> list[Membrane]:
    """Return the layers of a traced chip run."""
    return [chip_membrane(_layer(stages.chip, name), t, stages) for name, t in traces.items()]


def chip_membrane(layer: ChipLayer, trace: LayerTrace, stages: Stages) -> Membrane:
    """Return one layer of a traced chip run."""
    lsb = layer_lsb(layer, stages)
    return Membrane(layer.name, trace.v / lsb, trace.s, lsb)


def layer_lsb(layer: ChipLayer, stages: Stages) -> F64:
    """Return chip v-units per unit of :class:`Membrane` v: the threshold of each step."""
    steps = stages.chip.timesteps
    if not layer.neuron.spiking:
        return np.full((steps, *(1,) * len(layer.shape)), stages.units[layer.name])
    return np.maximum(layer.thresholds(steps), 1).astype(np.float64)


def run_local(stages: Stages, fed: FloatResult, x: NDArray[np.uint8]) -> list[Membrane]:
    """Run every integer layer on the spikes of a float run, so that errors do not add up.

    Args:
        stages: the conversion.
        fed: a traced run of a float stage on the images x.
        x: uint8 images, the input of the first layer.
    """
    found = []
    steps = stages.chip.timesteps
    sent: dict[int, NDArray[np.uint8]] = {INPUT_INDEX: x[:, None]}
    for i, layer in enumerate(stages.chip.layers):
        spikes = fed.traces[layer.name].s
        if spikes is not None:
            sent[i] = spikes
    for layer, sources in zip(stages.chip.layers, stages.chip.sources, strict=True):
        if len(sources) == 1 and not layer.inputs[0].lag:
            pixels = sources[0] == INPUT_INDEX
            source = x if pixels else sent[sources[0]]
            run = run_one_layer(layer, source, steps, FastEngine(), pixels=pixels)
            trace = (run.traces or {})[layer.name]
        else:
            arriving = [
                lagged(sent[source], one.lag, steps)
                for one, source in zip(layer.inputs, sources, strict=True)
            ]
            trace = run_alone(layer, arriving, len(x), steps)
        found.append(chip_membrane(layer, trace, stages))
    return found


def run_one_layer(
    layer: ChipLayer, source: NDArray[np.uint8], steps: int, engine: Engine, *, pixels: bool
) -> RunResult:
    """Run a layer with one connection alone, on images (N, C, H, W) or spikes (N, T, *inputs)."""
    if not pixels and source.ndim == 3:
        source = source.reshape(*source.shape, 1, 1)
    shape = source.shape[1:] if pixels else source.shape[2:]
    coding: Literal["pixels", "spikes"] = "pixels" if pixels else "spikes"
    alone = layer.changed(inputs=(layer.inputs[0].changed(source=None, lag=0),))
    network = ChipNetwork(layer.name, shape, steps, (alone,), coding)
    return engine.run(network, source, trace=True)


def _layer(network: ChipNetwork, name: str) -> ChipLayer:
    return next(layer for layer in network.layers if layer.name == name)


@dataclass(frozen=True, eq=False)
class StageRuns:
    """Traced runs of all stages on the same images, in common terms, by the stage's name.

    whole: the stage itself. local: every integer layer alone, fed with the spikes of that float
    stage.
    """

    whole: dict[str, list[Membrane]]
    local: dict[str, list[Membrane]]
    predictions: dict[str, NDArray[np.int64]]


def run_stages(stages: Stages, x: NDArray[np.uint8]) -> StageRuns:
    """Run every stage on images x, and every integer layer alone on float spikes.

    The raw traces of a stage are dropped before the next runs: they are the larger part of the
    memory.
    """
    whole, local, predictions = {}, {}, {}
    for stage in stages.stages[:-1]:
        run = run_float(stage.floats, x, trace=True)
        whole[stage.name] = float_membranes(stage.floats, run, stages)
        predictions[stage.name] = run.predictions
        if stage is not stages.stages[0]:  # not folded yet: its layers are not the chip's
            local[stage.name] = run_local(stages, run, x)
    chip = FastEngine().run(stages.chip, x, trace=True)
    last = stages.stages[-1].name
    whole[last] = chip_membranes(chip.traces or {}, stages)
    predictions[last] = chip.predictions
    return StageRuns(whole, local, predictions)
