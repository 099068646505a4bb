"""Convert a trained network to chip integers: preflight, fold, gain, quantise, ranges, check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import cast

import numpy as np
from numpy.typing import NDArray

from spikeproof.certify.lower_rail import LowerRail
from spikeproof.certify.ranges import certify_ranges
from spikeproof.convert.activity import Activity
from spikeproof.convert.base import Condition, Pass, apply_pass
from spikeproof.convert.board import BOARD_BIAS_EXPONENT, check_for_board
from spikeproof.convert.conversion import STATE_UNIT, Conversion, Relation, sequence
from spikeproof.convert.fold import ALTERNATING, CONSISTENT, FOLD
from spikeproof.convert.gain import FOLD_GAIN
from spikeproof.convert.mappable import preflight
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.quantise import Coding, FloatLayer, Wire, dequantise
from spikeproof.convert.score import Inputs
from spikeproof.convert.search import Chosen, Setting, Tell, choose
from spikeproof.convert.table import rounding_bound, table_row
from spikeproof.engines.trace import Progress
from spikeproof.errors import (
    GraphError,
    InputError,
    RangeError,
    UnsupportedError,
    list_problems,
)
from spikeproof.io.record import TableRow
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_float import LARGEST, SMALLEST
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import Conv2d, FloatNetwork, FloatNode, Lif, Linear, Readout
from spikeproof.ir.limits import INPUT, PIXEL_MAX
from spikeproof.ir.readouts import FROM_SPIKES, ReadoutRule
from spikeproof.ir.shapes import network_shapes
from spikeproof.numerics.affine import Affine, Parallel


@dataclass(frozen=True, eq=False)
class Quantised:
    """What the quantise pass returns: integers, their float image, and the record per layer."""

    chip: ChipNetwork
    floats: FloatNetwork
    units: dict[str, float]
    table: list[TableRow]
    rounding: float


def convert_network(
    source: FloatNetwork,
    calibration: NDArray[np.uint8],
    options: ConvertOptions | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Conversion:
    """Convert a float network with the help of calibration images, uint8 (N, C, H, W).

    ``progress`` is called with (layers done, layers in all), ``tell`` with what is being done.

    Raises:
        UnsupportedError: something cannot be mapped (every obstacle is listed).
        RangeError: no scale, or a forced scale, keeps a layer inside the chip's ranges.
        GraphError, InputError: the network, the images or the options are malformed.
    """
    chosen = options or ConvertOptions()
    preflight(source)
    _check_inputs(source, calibration, chosen)
    folded = fold_network(source)
    if chosen.profile == "loihi":
        check_for_board(folded)
    images = calibration[: chosen.calibration_samples]
    quantise = Pass(
        "quantise",
        Relation("behavioural"),
        lambda network: quantise_network(network, images, chosen, progress, tell),
        requires=(CONSISTENT, ALTERNATING),
        ensures=(
            Condition("a chip network with legal integers", _chip_problems),
            Condition("certified ranges", partial(_range_problems, chosen.lower_rail)),
        ),
    )
    done = apply_pass(quantise, folded)
    lower: Pass[Quantised, ChipNetwork] = Pass(
        "lower", Relation("bounded", done.rounding, STATE_UNIT), lambda q: q.chip
    )
    networks: dict[str, FloatNetwork | ChipNetwork] = {
        "folded": folded,
        "quantised": done.floats,
        "chip": apply_pass(lower, done),
    }
    relations = {p.name: p.relation for p in (FOLD, FOLD_GAIN, quantise, lower)}
    return Conversion(sequence(source, networks, relations), done.units, done.table)


def fold_network(source: FloatNetwork) -> FloatNetwork:
    """Fold everything that is exact into the weights; the same network gives the same result."""
    return apply_pass(FOLD_GAIN, apply_pass(FOLD, source))


def float_layers(folded: FloatNetwork) -> list[FloatLayer]:
    """Pair the linear maps of a folded network with the neurons they end in."""
    layers: list[FloatLayer] = []
    shapes = network_shapes(folded)
    for end, into in zip(folded.nodes, folded.incoming, strict=True):
        if not isinstance(end, Lif | Readout) or _reads_spikes(end):
            continue
        maps = [
            (node, folded.incoming[one.source][0])
            for one in into
            if isinstance(node := folded.nodes[one.source], Conv2d | Linear)
        ]
        names = [folded.nodes[one.source].name if one.source >= 0 else INPUT for _, one in maps]
        wires = tuple(
            Wire(name if folded.edges else None, one.lag)
            for name, (_, one) in zip(names, maps, strict=True)
        )
        inputs = tuple(shapes[one.source] for _, one in maps)
        linear: Affine | Parallel = maps[0][0]
        if len(maps) > 1:
            linear = Parallel(end.name, tuple(node for node, _ in maps), inputs)
        shape = inputs[0] if len(maps) == 1 else (sum(map(prod, inputs)),)
        layers.append(FloatLayer(linear, end, shape, folded.timesteps, INPUT in names, wires))
    return layers


def _reads_spikes(end: Lif | Readout) -> bool:
    """Tell whether a readout is no layer of its own, but counts the spikes of the last one."""
    return isinstance(end, Readout) and end.rule in FROM_SPIKES


def quantise_network(
    folded: FloatNetwork,
    images: NDArray[np.uint8],
    options: ConvertOptions,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Quantised:
    """Round every layer, each on the float network's own activity (errors do not add up)."""
    layers = float_layers(folded)
    activity = Activity(folded, layers, images)
    reachable = {layer.name: np.ones(layer.shape, np.int64) for layer in layers}
    reachable[INPUT] = np.full(folded.input_shape, PIXEL_MAX, np.int64)
    nodes: dict[str, FloatNode] = {}
    chosen: list[Chosen] = []
    table: list[TableRow] = []
    bound = 0.0
    for i, layer in enumerate(layers):
        say = partial(_tell_of, tell, layer.name)
        before = layers[i - 1].name if i else INPUT
        highest = [reachable[wire.source or before] for wire in layer.wires]
        best, rates = _choose_coding(layer, activity.of(layer), highest, options, say)
        chosen.append(best)
        nodes |= {node.name: node for node in dequantise(layer, best.candidate)}
        table.append(table_row(layer, best, options.weight_bits, rates))
        bound = max(bound, rounding_bound(layer, best))
        reachable[layer.name] = best.reachable
        if i + 1 < len(layers):
            say("its spikes, for those that read them")
            activity.run(layer)
        if progress:
            progress(i + 1, len(layers))
    network = ChipNetwork(
        folded.name,
        folded.input_shape,
        folded.timesteps,
        tuple(c.candidate.layer for c in chosen),
        "pixels",
        _readout_rule(folded),
    )
    units = {c.candidate.layer.name: c.candidate.units for c in chosen}
    quantised = replace(folded, nodes=tuple(nodes.get(n.name, n) for n in folded.nodes))
    return Quantised(network, quantised, units, table, bound)


def _readout_rule(folded: FloatNetwork) -> ReadoutRule:
    last = folded.nodes[-1]
    return last.rule if isinstance(last, Readout) else "auto"


def _tell_of(tell: Tell | None, where: str, text: str) -> None:
    if tell is not None:
        tell(f"{where}: {text}")


def _choose_coding(
    layer: FloatLayer,
    inputs: Inputs,
    highest: Sequence[NDArray[np.int64]],
    options: ConvertOptions,
    tell: Tell,
) -> tuple[Chosen, dict[str, float]]:
    """Return the best candidate, and the flip rate of each input coding that was tried."""
    forced = (options.scale or {}).get(layer.name)
    exponent = BOARD_BIAS_EXPONENT if options.profile == "loihi" else None
    setting = Setting(
        inputs,
        highest,
        options.weight_bits,
        options.search,
        options.compensate,
        forced,
        exponent,
        options.lower_rail,
        tell,
    )
    if not layer.pixels:
        return choose(layer, setting, "spikes"), {}
    wanted = options.input_coding
    codings = ("graded", "bias") if wanted == "auto" else (wanted,)
    grey = [wire for wire in layer.wires if layer.is_pixels(wire)]
    if len(grey) > 1 or grey[0].lag:
        if wanted == "bias":
            raise UnsupportedError(
                "pixels reach it over several connections, or late: no current of the host is that",
                where=layer.name,
                hint="Let pixels enter as graded spikes (--input-coding graded), or auto.",
            )
        codings = ("graded",)
    found: list[Chosen] = []
    refused: list[RangeError] = []
    for coding in codings:
        try:
            found.append(choose(layer, setting, cast(Coding, coding)))
        except RangeError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return min(found, key=lambda c: c.score), {c.coding: c.score.rate for c in found}


def _check_inputs(
    source: FloatNetwork, calibration: NDArray[np.uint8], options: ConvertOptions
) -> None:
    """Check calibration images and the names and values of forced scales."""
    shape = tuple(source.input_shape)
    found = getattr(calibration, "dtype", type(calibration)), getattr(calibration, "shape", ())
    if found[0] != np.uint8 or tuple(found[1][1:]) != shape or not len(calibration):
        raise InputError(
            f"calibration images are {found[0]} of shape {found[1]}, expected uint8 (N, "
            f"{str(shape)[1:]} with N >= 1",
            where=source.name,
            hint="use training images with values 0..255",
        )
    known = [n.name for n in source.nodes if isinstance(n, Lif | Readout)]
    problems = []
    for name, scale in (options.scale or {}).items():
        if name not in known:
            problems.append(f"scale is given for {name!r}; layers are {', '.join(known)}")
        if not SMALLEST <= scale <= LARGEST:
            text = (
                f"scale of {name!r} is {scale}, must be positive and in {SMALLEST:g}..{LARGEST:g}"
            )
            problems.append(text)
    if problems:
        hint = "Name a layer and a scale in that range, or leave it out: it is searched then."
        raise InputError(list_problems(problems), where=source.name, hint=hint)


def _chip_problems(done: Quantised) -> list[str]:
    try:
        check_chip(done.chip)
    except GraphError as error:
        return [error.what]
    return []


def _range_problems(lower_rail: LowerRail, done: Quantised) -> list[str]:
    ranges = certify_ranges(done.chip, lower_rail)
    return [f"{r.name}: {p}" for r in ranges for p in r.problems]
