"""Compare one layer of a bundle with the checkpoint: its form first, then every number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spikeproof.convert.options import ConvertOptions
from spikeproof.ir import chip
from spikeproof.ir.floats import Conv2d, Lif
from spikeproof.verify.checked_relation import CheckedRelation
from spikeproof.verify.requantise.exact import Exact, part_of
from spikeproof.verify.requantise.findings import Findings
from spikeproof.verify.requantise.host import compare_host
from spikeproof.verify.requantise.neurons import compare_neuron
from spikeproof.verify.requantise.weights import Inputs, compare_chip_weights
from spikeproof.verify.verdict import combine


def requantise(
    layer: Exact,
    built: chip.ChipLayer,
    scale: float,
    options: ConvertOptions,
    inputs: Inputs | None,
    *,
    fitted: bool,
) -> Findings:
    """Compare one layer of a bundle with the checkpoint.

    Args:
        layer: what was trained, folded.
        built: what the bundle holds.
        scale: units of weight times spike per unit of float membrane, as the bundle declares.
        options: those the bundle declares; they decide step widths and which rounding is legal.
        inputs: what reaches the layer, to judge compensated rounding; None: too few are known.
        fitted: whether that is on the images compensated rounding was fitted to.
    """
    found = Findings(built.name)
    if _form(layer, built, options, found):
        return found
    compare_neuron(layer, built.neuron, scale, found)
    on_host = [k for k, one in enumerate(built.inputs) if one.host is not None]
    if not on_host:
        compare_chip_weights(layer, built, scale, options, inputs, fitted, found)
        return found
    pixels, alone = part_of(layer, built, on_host, layer.linear.bias)
    rest = [k for k in range(len(built.inputs)) if k not in on_host]
    if rest:  # beside a host current weights are rounded to nearest, and there is no other bias
        spikes, held = part_of(layer, built, rest, None)
        held = held.changed(neuron=built.neuron.changed(bias_exponent=0))
        if isinstance(spikes.end, Lif):  # what fires at equality is raised by the host's offset
            spikes = replace(spikes, end=replace(spikes.end, strict=True))
        nearest = options.model_copy(update={"compensate": False, "profile": "default"})
        compare_chip_weights(spikes, held, scale, nearest, None, fitted, found)
    clipped = found.clipped_share
    if alone.host is not None:
        compare_host(pixels, alone, alone.host, scale, options, found)
    found.clipped_share = clipped or 0.0
    return found


def _form(layer: Exact, built: chip.ChipLayer, options: ConvertOptions, found: Findings) -> int:
    """Compare kinds, shapes and strides; returns how many are wrong (values then mean nothing)."""
    neuron: type[Any] = chip.ReadoutNeuron
    if isinstance(layer.end, Lif):
        neuron = chip.LifNeuron if layer.end.gain is None else chip.TableLifNeuron
        neuron = chip.GeneralLifNeuron if layer.end.general else neuron
    wrong = found.equal("number of connections", len(built.inputs), len(layer.maps))
    if wrong:
        return wrong
    for k, one in enumerate(built.inputs):
        wrong += _connection_form(layer, k, one, options, found)
    wrong += found.equal("kind of neuron", isinstance(built.neuron, neuron), True)
    wrong += _same_numbers(found, "shape of the neurons", built.shape, layer.shape)
    return wrong


def _connection_form(
    layer: Exact, k: int, one: chip.Connection, options: ConvertOptions, found: Findings
) -> int:
    linear, shape, inner, host = layer.maps[k], layer.shapes[k], one.synapse, one.host is not None
    convolution = isinstance(linear, Conv2d)
    kinds: dict[bool, type[Any]] = {True: chip.ConvSynapse, False: chip.DenseSynapse}
    wrong = found.equal("kind of synapse", isinstance(inner, kinds[convolution]), True)
    allowed = {"bias": host, "graded": not host}.get(options.input_coding, True)
    wrong += found.equal("input coding", allowed if layer.reads_pixels(k) else not host, True)
    wrong += found.equal("source", (one.source, one.lag) == tuple(layer.wires[k]), True)
    wrong += _same_numbers(found, "shape of the weights", inner.weight.shape, linear.weight.shape)
    wrong += found.equal("weight exponent", inner.exponent, 0)
    if isinstance(linear, Conv2d) and isinstance(inner, chip.ConvSynapse):
        for name in ("stride", "padding", "dilation"):
            wrong += _same_numbers(found, name, getattr(inner, name), getattr(linear, name))
        wrong += found.equal("groups", inner.groups, linear.groups)
        wrong += _same_numbers(found, "shape of the input", inner.input_shape, shape)
    return wrong


def _same_numbers(found: Findings, parameter: str, held: Any, wanted: Any) -> int:
    same = len(held) == len(wanted)
    return found.equal(parameter, held, wanted) if same else found.equal(parameter, 0, 1)


def rounding_step(findings: list[Findings], options: list[str]) -> CheckedRelation:
    """Return the step of V2 that this is, with one row per layer; ``options``: not default."""
    return CheckedRelation(
        source="folded",
        target="integers",
        relation="rounding",
        bound=1.0,
        unit="of its rounding bound",
        max_difference=max((f.largest for f in findings), default=0.0),
        flipped_spikes=None,
        spikes=None,
        agreement=None,
        values=sum(f.values for f in findings),
        outside=sum(f.outside for f in findings),
        verdict=combine(f.verdict for f in findings),
        layers=[f.row for f in findings],
        options=options,
    )
