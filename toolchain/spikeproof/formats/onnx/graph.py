"""A chip network as an ONNX model: standard operators, integer state, exact on any input.

Layer by layer, each as all its synaptic sums (synapse.py) and one Scan over the steps (neuron.py):
on its own clock a layer sees its source's step t at step t, so only layers on a cycle need a loop
around them, and the sums of all steps are one operator. A connection that lags is padded with
zeros. Inside, time is the first axis (Scan slices it without a copy); inputs and outputs have the
batch first, as everywhere else here.
"""

from __future__ import annotations

import math
from typing import Any

from spikeproof import __version__
from spikeproof import fixedpoint as fx
from spikeproof.errors import UnsupportedError, list_problems
from spikeproof.formats.onnx.build import GraphBuilder, need_onnx
from spikeproof.formats.onnx.neuron import (
    BATCH,
    TIME,
    Frame,
    Member,
    Population,
    Within,
    add_populations,
    step_numbers,
)
from spikeproof.formats.onnx.synapse import Arriving, add_current, add_host_bias, stored_bytes
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.graph import groups
from spikeproof.ir.readouts import FROM_SPIKES, ReadoutRule, settled
from spikeproof.text import counted

OPSET = 17
IR_VERSION = 8
"""The oldest pair that has every operator in the form used, so that many runtimes accept it."""

MODEL_BYTES_MAX = (1 << 31) - (1 << 20)
"""A model is one protobuf message, which ends at 2 GiB; names and shapes take the rest."""

_SUMS: dict[ReadoutRule, str] = {"count": "spike_counts", "mean": "membrane_sums"}
_ANSWERS: dict[ReadoutRule, str] = {
    "last": "the last layer's membrane at the last step, before the reset",
    "mean": "the sum of the last layer's membrane over the steps",
    "max": "the largest membrane of all steps",
    "max-abs": "the largest magnitude of the membrane of all steps",
    "count": "spike counts",
    "first": "the steps that are left at the first spike, that one included; 0 for none",
}

INPUT, TIMESTEPS, LOGITS = "input", "timesteps", "logits"


def onnx_problems(network: chip.ChipNetwork) -> list[str]:
    """List every reason why a legal network has no exact ONNX form (empty: it has)."""
    found, stored = list[str](), dict[tuple[int, int], int]()
    total = sum(4 * layer.neuron.bias.size for layer in network.layers)
    for index, layer in enumerate(network.layers):
        for one, source in zip(layer.inputs, network.sources[index], strict=True):
            payload = network.payload_of(source)
            size = stored_bytes(one.synapse, payload)
            if not size:
                inputs = f"{one.synapse.fan_in:,} inputs"
                found.append(f"{layer.name}: a sum over {inputs} does not fit float32 exactly")
            stored[id(one.synapse), payload] = size
    total += sum(stored.values())
    if total > MODEL_BYTES_MAX:
        found.append(f"weights and biases take {total:,} bytes; a model holds {MODEL_BYTES_MAX:,}")
    return found


def build_model(
    network: chip.ChipNetwork, *, traces: bool = False, metadata: dict[str, str] | None = None
) -> Any:
    """Translate a chip network into an onnx.ModelProto.

    Args:
        network: a legal chip network.
        traces: also give u, v and s of every layer, ``NAME/u`` and so on, (batch, time, *neurons).
        metadata: text stored with the model, besides what is known of the network.

    Returns:
        The model. Input ``input``: uint8 (batch, C, H, W), or (batch, time, C, H, W) of 0 and 1
        for spike coding. For pixels a second, optional input ``timesteps`` (int64 scalar).
        Output ``logits``: int64 (batch, classes). The same network gives the same bytes.

    Raises:
        MissingExtraError: onnx is not installed. GraphError: the network is not legal.
        UnsupportedError: it has no ONNX form, with every reason.
    """
    need_onnx()
    from onnx import helper

    check_chip(network)
    problems = onnx_problems(network)
    if problems:
        raise UnsupportedError(list_problems(problems), where=f"{network.name} as ONNX")
    graph = _graph(network, traces)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="spikeproof",
        producer_version=__version__,
        doc_string=_text(network),
    )
    helper.set_model_props(model, {**_facts(network), **(metadata or {})})
    return model


def model_bytes(model: Any) -> bytes:
    """Serialise a model; the same model gives the same bytes."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _graph(network: chip.ChipNetwork, traces: bool) -> Any:
    g = GraphBuilder()
    given, frame = _inputs(g, network)
    sent, made, last = {chip.INPUT_INDEX: given}, dict[int, Population](), len(network.layers) - 1
    for group in groups(network):
        members = {}
        for i in group:
            keep = "uv" if traces else "v" if i == last and _reads_steps(network) else ""
            arriving = _arriving(g, network, i, sent, frame)
            members[i] = Member(network.layers[i], arriving, _within(network, i, group), keep)
        made |= add_populations(g, members, frame)
        sent |= {i: made[i].spikes for i in group}
        if traces:
            for i in group:
                _trace_outputs(g, network.layers[i], made[i], frame)
    _logits(g, network, made[last], frame)
    return g.graph(network.name, _text(network))


def _inputs(g: GraphBuilder, network: chip.ChipNetwork) -> tuple[str, Frame]:
    """Declare the inputs; return the payloads (time first, if they have a time axis)."""
    shape = list(network.input_shape)
    if network.coding == "spikes":
        given = g.input(INPUT, "uint8", [BATCH, TIME, *shape])
        batch = g.op("Shape", [given], "batch_size", start=0, end=1)
        time = g.op("Shape", [given], "time_size", start=1, end=2)
        x = g.op("Transpose", [given], "input_by_time", perm=[1, 0, 2, 3, 4])
        return x, Frame(time, batch, "", network.timesteps)
    x = g.input(INPUT, "uint8", [BATCH, *shape])
    steps = g.default_input(TIMESTEPS, network.timesteps, "int64")
    batch = g.op("Shape", [x], "batch_size", start=0, end=1)
    time = g.op("Reshape", [steps, g.constant("one", [1], "int64")], "time_size")
    bounds = [g.number(0, "int64"), steps, g.number(1, "int64")]
    return x, Frame(time, batch, g.op("Range", bounds, "step_numbers"), network.timesteps)


def _arriving(
    g: GraphBuilder, network: chip.ChipNetwork, index: int, sent: dict[int, str], frame: Frame
) -> Arriving:
    """Add what reaches a layer from the sources in ``sent``, at all steps.

    Payloads are (time, batch, *inputs), currents (time, batch, *neurons). Pixels have no time axis
    on either side, unless they lag.
    """
    layer, current, bias, constant, worst = network.layers[index], None, None, True, 0
    for k, (one, source) in enumerate(zip(layer.inputs, network.sources[index], strict=True)):
        if source not in sent:
            continue
        label, payload = _label(layer, k), network.payload_of(source)
        by_time = network.coding == "spikes" or source != chip.INPUT_INDEX
        if one.host:
            values = _payloads(g, network, index, k, sent[source], by_time=False)
            exponent = layer.neuron.bias_exponent
            bias = add_host_bias(g, label, one, values, payload, exponent)
            bias = _shaped(g, network, index, k, bias, None)
            continue
        values = _payloads(g, network, index, k, sent[source], by_time=by_time)
        found = add_current(g, label, one.synapse, values, payload)
        found = _shaped(g, network, index, k, found, frame if by_time else None)
        if one.lag:
            found = _late(g, label, found, one.lag, len(layer.shape), frame, by_time)
        constant = constant and not by_time and not one.lag
        current = g.op("Add", [current, found], f"{label}/added") if current else found
        worst += one.synapse.largest_shifted_sum(payload) * fx.CURRENT_UNIT
    if layer.neuron.bias.any():
        bias = g.constant(f"{layer.name}/bias", layer.neuron.bias_units(), "int32")
    return Arriving(current, bias, constant, worst)


def _within(network: chip.ChipNetwork, index: int, group: tuple[int, ...]) -> tuple[Within, ...]:
    """Return a layer's connections from its own group."""
    layer, found = network.layers[index], []
    for k, (one, source) in enumerate(zip(layer.inputs, network.sources[index], strict=True)):
        if source in group:

            def add(body: GraphBuilder, spikes: str, k: int = k) -> str:
                synapse, label = layer.inputs[k].synapse, _label(layer, k)
                values = _payloads(body, network, index, k, spikes, by_time=False)
                current = add_current(body, label, synapse, values, 1)
                return _shaped(body, network, index, k, current, None)

            worst = one.synapse.largest_shifted_sum(1) * fx.CURRENT_UNIT
            found.append(Within(source, one.lag, worst, add))
    return tuple(found)


def _label(layer: chip.ChipLayer, k: int) -> str:
    """Return what begins the names of a connection's nodes: the layer's name if it has but one."""
    return layer.name if len(layer.inputs) == 1 else f"{layer.name}/in{k}"


def _payloads(
    g: GraphBuilder, network: chip.ChipNetwork, index: int, k: int, values: str, *, by_time: bool
) -> str:
    """Bring payloads into the form in which their sums are made: images or flat."""
    layer = network.layers[index]
    before, label = network.shape_of(network.sources[index][k]), _label(layer, k)
    convolves = isinstance(layer.inputs[k].synapse, chip.ConvSynapse)
    if convolves and by_time:
        form = g.constant(f"{label}/image_shape", [-1, *before], "int64")
        return g.op("Reshape", [values, form], f"{label}/images", doc="time and batch in one")
    if not convolves and len(before) > 1:
        form = g.constant(f"{label}/flat_shape", [*[0, 0][: 1 + by_time], -1], "int64")
        return g.op("Reshape", [values, form], f"{label}/flat")
    return values


def _shaped(
    g: GraphBuilder, network: chip.ChipNetwork, index: int, k: int, values: str, frame: Frame | None
) -> str:
    """Bring sums into the neurons' form; without a ``frame`` they have no time axis."""
    layer = network.layers[index]
    label, by_time = _label(layer, k), frame is not None
    convolves = isinstance(layer.inputs[k].synapse, chip.ConvSynapse)
    if convolves and frame is not None:
        rest = g.constant(f"{label}/neuron_shape", [-1, *layer.shape], "int64")
        form = g.op("Concat", [frame.time, rest], f"{label}/steps_shape", axis=0)
        return g.op("Reshape", [values, form], f"{label}/current_by_time")
    if not convolves and len(layer.shape) > 1:
        kept = [*[0, 0][: 1 + by_time], *layer.shape]
        form = g.constant(f"{label}/neuron_shape", kept, "int64")
        return g.op("Reshape", [values, form], f"{label}/current_by_neuron")
    return values


def _late(
    g: GraphBuilder, label: str, current: str, lag: int, axes: int, frame: Frame, by_time: bool
) -> str:
    """Let a current arrive ``lag`` steps later: zeros before, and the last steps cut off."""
    if not by_time:
        ones = g.constant(f"{label}/one_each", [1] * (1 + axes), "int64")
        full = g.op("Concat", [frame.time, ones], f"{label}/every_step", axis=0)
        current = g.op("Expand", [current, full], f"{label}/current_by_time")
    pads = g.constant(f"{label}/lag", [lag, *[0] * (3 + 2 * axes)], "int64")
    padded = g.op("Pad", [current, pads], f"{label}/late", doc=f"nothing for {lag} steps")
    start = g.constant(f"{label}/late_start", [0], "int64")
    return g.op("Slice", [padded, start, frame.time], f"{label}/arriving_late")


def _reads_steps(network: chip.ChipNetwork) -> bool:
    """Tell whether the answer needs v of several steps, or of a step before its reset."""
    spiking = network.layers[-1].neuron.spiking
    rule = settled(network.readout, spiking)
    return rule not in FROM_SPIKES and (rule != "last" or spiking)


def _logits(
    g: GraphBuilder, network: chip.ChipNetwork, population: Population, frame: Frame
) -> None:
    """Give the answer by the network's rule (ir/readouts.py), int64 (batch, neurons)."""
    layer = network.layers[-1]
    rule = settled(network.readout, layer.neuron.spiking)
    values = _answers(g, rule, population, frame, len(layer.shape))
    form = g.constant("logits_shape", [0, -1], "int64")
    g.op("Reshape", [values, form], LOGITS)
    g.output(LOGITS, "int64", [BATCH, math.prod(layer.shape)])


def _answers(
    g: GraphBuilder, rule: ReadoutRule, population: Population, frame: Frame, axes: int
) -> str:
    if rule == "last":
        final = population.final
        if population.spikes:  # whose state is what the reset left
            final = g.op("Gather", [population.v_by_time, g.number(-1, "int64")], "last_step")
        return g.cast(final, "int64", "last_values")
    if rule in ("max", "max-abs"):
        steps = population.v_by_time
        if rule == "max-abs":
            steps = g.op("Abs", [steps], "magnitudes")
        largest = g.op("ReduceMax", [steps], "largest", axes=[0], keepdims=0)
        return g.cast(largest, "int64", "largest_int64")
    given = population.v_by_time if rule == "mean" else population.spikes
    values = g.cast(given, "int64", "last_values")
    if rule == "first":
        left = step_numbers(g, frame, down=True)
        form = g.constant("steps_left_shape", [-1, *[1] * (1 + axes)], "int64")
        left = g.op(
            "Reshape", [left, form], "steps_left_by_time", doc="time at first, then down to 1"
        )
        fired = g.op("Mul", [values, left], "steps_left_where_fired")
        return g.op("ReduceMax", [fired], "left_at_first_spike", axes=[0], keepdims=0)
    first = g.constant("time_axis", [0], "int64")
    return g.op("ReduceSum", [values, first], _SUMS[rule], keepdims=0)


def _trace_outputs(
    g: GraphBuilder, layer: chip.ChipLayer, population: Population, frame: Frame
) -> None:
    """Give NAME/u, NAME/v and NAME/s, batch first."""
    name, neurons = layer.name, list(layer.shape)
    swapped = [1, 0, *range(2, 2 + len(neurons))]
    if population.u_by_time:
        g.op("Transpose", [population.u_by_time], f"{name}/u", perm=swapped)
    else:
        sizes = g.constant(f"{name}/trace_sizes", neurons, "int64")
        full = g.op("Concat", [frame.batch, frame.time, sizes], f"{name}/trace_shape", axis=0)
        if population.u_constant:
            axis = g.constant(f"{name}/trace_axis", [1], "int64")
            one = g.op("Unsqueeze", [population.u_constant, axis], f"{name}/u_once")
            g.op("Expand", [one, full], f"{name}/u", doc="the same at every step")
        else:
            g.zeros(full, f"{name}/u")
    g.op("Transpose", [population.v_by_time], f"{name}/v", perm=swapped)
    g.output(f"{name}/u", "int32", [BATCH, TIME, *neurons])
    g.output(f"{name}/v", "int32", [BATCH, TIME, *neurons])
    if population.spikes:
        bits = g.cast(population.spikes, "uint8", f"{name}/s_by_time")
        g.op("Transpose", [bits], f"{name}/s", perm=swapped)
        g.output(f"{name}/s", "uint8", [BATCH, TIME, *neurons])


def _text(network: chip.ChipNetwork) -> str:
    given = "uint8 pixels (batch, C, H, W), the same at every step"
    if network.coding == "spikes":
        given = "uint8 spikes 0 or 1, (batch, time, C, H, W)"
    spiking = network.layers[-1].neuron.spiking
    rule, told = settled(network.readout, spiking), "the readout's membrane after the last step, "
    told += "or spike counts"
    if rule != settled("auto", spiking):
        told = _ANSWERS[rule]
    return (
        f"Spiking network {network.name} in the integers of a neuromorphic chip, written by "
        f"spikeproof {__version__}. {INPUT}: {given}. {LOGITS}: {told}; the "
        "prediction is the first of the largest. Trained for "
        f"{counted(network.timesteps, 'step')}. Every "
        f"value is exact."
    )


def _facts(network: chip.ChipNetwork) -> dict[str, str]:
    facts = {
        "spikeproof.version": __version__,
        "spikeproof.network": network.name,
        "spikeproof.coding": network.coding,
        "spikeproof.timesteps": str(network.timesteps),
    }
    if network.readout != "auto":
        facts["spikeproof.readout"] = network.readout
    return facts
