"""A chip network as an ONNX model: standard operators, integer state, exact on any input.

Layer by layer, each as all its synaptic sums (onnx_synapse.py) and one Scan over the steps
(onnx_neuron.py): on its own clock a layer sees its source's step t at step t, so a chain needs no
loop around its layers, and the sums of all steps are one operator. Inside, time is the first axis
(Scan slices it without a copy); inputs and outputs have the batch first, as everywhere else here.
"""

from __future__ import annotations

import math
from typing import Any

from spikeproof import __version__
from spikeproof.errors import UnsupportedError, list_problems
from spikeproof.formats.onnx.build import GraphBuilder, need_onnx
from spikeproof.formats.onnx.neuron import BATCH, TIME, Frame, Population, add_population
from spikeproof.formats.onnx.synapse import Arriving, add_arriving, stored_bytes
from spikeproof.ir import chip
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.graph import chain_problems

OPSET = 17
IR_VERSION = 8
"""The oldest pair that has every operator in the form used, so that many runtimes accept it."""

MODEL_BYTES_MAX = (1 << 31) - (1 << 20)
"""A model is one protobuf message, which ends at 2 GiB; names and shapes take the rest."""

INPUT, TIMESTEPS, LOGITS = "input", "timesteps", "logits"


def onnx_problems(network: chip.ChipNetwork) -> list[str]:
    """List every reason why a legal network has no exact ONNX form (empty: it has)."""
    found, total = chain_problems(network), 0
    if found:
        return found
    for index, layer in enumerate(network.layers):
        size = stored_bytes(layer.synapse, network.payload_of(index - 1))
        if not size:
            inputs = f"{layer.synapse.fan_in:,} inputs"
            found.append(f"{layer.name}: a sum over {inputs} does not fit float32 exactly")
        total += size + 4 * layer.neuron.bias.size
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
    source, frame = _inputs(g, network)
    for index, layer in enumerate(network.layers):
        arriving = _arriving(g, network, index, source, frame)
        population = add_population(g, layer, arriving, frame, traces)
        source = population.spikes or ""
        if traces:
            _trace_outputs(g, layer, population, frame)
    _logits(g, network.layers[-1], population)
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
    g: GraphBuilder, network: chip.ChipNetwork, index: int, source: str, frame: Frame
) -> Arriving:
    """Add a layer's synapse: payloads (time, batch, *inputs) to currents (time, batch, *neurons).

    The first layer of a pixel network has no time axis on either side.
    """
    layer, payload = network.layers[index], network.payload_of(index - 1)
    before = network.shape_of(index - 1)
    constant = payload > 1
    convolves = isinstance(layer.synapse, chip.ConvSynapse)
    kept = [0] if constant else [0, 0]
    if convolves and not constant:
        form = g.constant(f"{layer.name}/image_shape", [-1, *before], "int64")
        source = g.op(
            "Reshape", [source, form], f"{layer.name}/images", doc="time and batch in one"
        )
    elif not convolves and len(before) > 1:
        form = g.constant(f"{layer.name}/flat_shape", [*kept, -1], "int64")
        source = g.op("Reshape", [source, form], f"{layer.name}/flat")
    current, bias, worst = add_arriving(g, layer, source, payload)
    if current and convolves and not constant:
        rest = g.constant(f"{layer.name}/neuron_shape", [-1, *layer.shape], "int64")
        form = g.op("Concat", [frame.time, rest], f"{layer.name}/steps_shape", axis=0)
        current = g.op("Reshape", [current, form], f"{layer.name}/current_by_time")
    elif current and not convolves and len(layer.shape) > 1:
        form = g.constant(f"{layer.name}/neuron_shape", [*kept, *layer.shape], "int64")
        current = g.op("Reshape", [current, form], f"{layer.name}/current_by_neuron")
    if layer.neuron.bias.any():
        bias = g.constant(f"{layer.name}/bias", layer.neuron.bias_units(), "int32")
    return Arriving(current, bias, constant, worst)


def _logits(g: GraphBuilder, layer: chip.ChipLayer, population: Population) -> None:
    """Give v at the last step, or for a spiking layer the number of its spikes."""
    values = g.cast(population.spikes or population.final, "int64", "last_values")
    if population.spikes:
        first = g.constant("time_axis", [0], "int64")
        values = g.op("ReduceSum", [values, first], "spike_counts", keepdims=0)
    form = g.constant("logits_shape", [0, -1], "int64")
    g.op("Reshape", [values, form], LOGITS)
    g.output(LOGITS, "int64", [BATCH, math.prod(layer.shape)])


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
    return (
        f"Spiking network {network.name} in the integers of a neuromorphic chip, written by "
        f"spikeproof {__version__}. {INPUT}: {given}. {LOGITS}: the readout's membrane after the "
        f"last step, or spike counts; the prediction is the first of the largest. Trained for "
        f"{network.timesteps} steps. Every value is exact."
    )


def _facts(network: chip.ChipNetwork) -> dict[str, str]:
    return {
        "spikeproof.version": __version__,
        "spikeproof.network": network.name,
        "spikeproof.coding": network.coding,
        "spikeproof.timesteps": str(network.timesteps),
    }
