"""Network checks list everything at once; serialisation loses nothing and trusts nothing."""

import json

import numpy as np
import pytest

from spikeproof.errors import BundleError, GraphError
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_float import check_float
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    Sign,
)
from spikeproof.ir.floats import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Edge,
    Flatten,
    FloatNetwork,
    InputScale,
    Lif,
    Linear,
    Readout,
)
from spikeproof.ir.limits import ACCUMULATOR_MAX, FILTERED_SUM_MAX
from spikeproof.ir.serial import network_from_parts, network_to_parts


def every_float_node() -> FloatNetwork:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return FloatNetwork(
        "all",
        (2, 8, 8),
        3,
        (
            InputScale("scale", draw(2), np.ones(2, np.float32)),
            Conv2d("c", draw(4, 1, 3, 3), draw(4), (1, 1), (1, 1), (1, 1), 2),
            BatchNorm2d("bn", draw(4), draw(4), draw(4), np.ones(4, np.float32)),
            Lif("l1", 0.99, 1.0, True, np.ones(3, np.float32)),
            AvgPool2d("p", (2, 2), (2, 2)),
            Flatten("f"),
            Linear("fc", draw(5, 64), None),
            Readout("out"),
        ),
    )


def test_float_network_round_trip() -> None:
    network = every_float_node()
    check_float(network)
    document, tensors = network_to_parts(network)
    again = network_from_parts(json.loads(json.dumps(document)), dict(tensors), FloatNetwork)
    assert network_to_parts(again)[0] == document
    assert all(np.array_equal(tensors[k], v) for k, v in network_to_parts(again)[1].items())
    assert again.nodes[1].padding == (1, 1)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["nodes"][0].update(type="Evil"), "unknown node type 'Evil'"),
        (lambda d: d["nodes"][0].update(extra=1), "unknown fields"),
        (lambda d: d["nodes"][0].pop("mean"), "unknown fields"),
        (lambda d: d.update(timesteps="8"), "'timesteps'"),
        (lambda d: d["nodes"][3].update(strict=1), "'strict'"),
        (lambda d: d["nodes"][1].update(stride=[1]), "'stride'"),
        (lambda d: d["nodes"][6].update(weight={"tensor": "nowhere"}), "missing or used twice"),
        (lambda d: d["nodes"][6].update(weight=None), "'weight'"),
        (lambda d: d["nodes"].pop(6), "nothing refers to: fc/weight"),
    ],
)
def test_altered_documents_are_refused(change: object, words: str) -> None:
    document, tensors = network_to_parts(every_float_node())
    change(document)  # type: ignore[operator]
    with pytest.raises(BundleError, match=words):
        network_from_parts(document, tensors, FloatNetwork)


def test_all_problems_of_a_float_network_are_listed() -> None:
    nan = np.full((3, 5), np.nan, np.float32)
    network = FloatNetwork(
        "bad",
        (1, 4, 4),
        2,
        (
            Linear("a", nan, None),
            Lif("l", 1.5, -1.0, True, np.ones(3, np.float32)),
            Lif("l", 0.5, 1.0),
        ),
    )
    with pytest.raises(GraphError) as error:
        check_float(network)
    for words in (
        "15 values that are NaN",
        "expects 5 inputs",
        "leak is 1.5",
        "threshold is -1",
        "gain has shape (3,)",
        "used twice: l",
        "last node must be a Readout",
    ):
        assert words in str(error.value)


def test_all_problems_of_a_chip_network_are_listed() -> None:
    bias = np.array([5000], np.int32)
    first = ChipLayer(
        "a",
        (Connection(DenseSynapse(np.array([[300] * 4], np.int16))),),
        LifNeuron(-1, 41, bias, 9, 4096),
        (2,),
    )
    synapse, host = (
        DenseSynapse(np.array([[1, 1]], np.int16)),
        HostCurrent(np.zeros(1, np.int64), 40),
    )
    second = ChipLayer(
        "b", (Connection(synapse, host=host),), LifNeuron(5, 41, np.ones(1, np.int32)), (1,)
    )
    with pytest.raises(GraphError) as error:
        check_chip(ChipNetwork("bad net", (1, 2, 2), 0, (first, second)))
    for words in (
        "weight spans 300..300",
        "threshold is -1",
        "mantissa spans 5000",
        "bias exponent is 9",
        "du is 4096",
        "declares shape (2,)",
        "host shift 40",
        "only carry pixels of the input",
        "bias in the current's offset",
        "'bad net'",
        "timesteps is 0",
    ):
        assert words in str(error.value), words


def test_faults_of_edges_do_not_hide_those_of_nodes() -> None:
    nodes = (
        Conv2d("conv", np.ones((2, 3, 3, 3)), np.ones((2, 9, 9))),
        Lif("l1", 1.5, np.ones(7)),
        Linear("lost", np.full((2, 2), np.nan), None),
        Linear("fc", np.ones((4, 5)), np.ones(3)),
        Readout("out"),
        Readout("second"),
    )
    edges = (
        Edge("@input", "conv"),
        Edge("conv", "l1"),
        Edge("conv", "l1"),
        Edge("nobody", "fc"),
        Edge("l1", "fc", -1),
        Edge("fc", "out"),
    )
    with pytest.raises(GraphError) as error:
        check_float(FloatNetwork("net", (2, 4, 4), 2, nodes, edges))
    told = str(error.value)
    for words in (
        "edge conv -> l1: is there twice",
        "edge nobody -> fc: there is no node nobody",
        "edge l1 -> fc: lag -1 is outside",
        "conv: bias has shape (2, 9, 9), expected 2 channels",
        "conv: weight (2, 3, 3, 3) with 1 group expects 3 input channels, gets (2, 4, 4)",
        "l1: leak is 1.5",
        "lost: weight holds 4 values that are NaN",
        "fc: bias has shape (3,)",
        "only one Readout is allowed",
    ):
        assert words in told, words
    assert "threshold of shape" not in told, "nothing tells what reaches these neurons"
    twice = FloatNetwork("net", (2, 4, 4), 2, (nodes[0], nodes[0], *nodes[2:]), edges)
    with pytest.raises(GraphError, match="used twice: conv") as error:
        check_float(twice)
    assert "input channels" not in str(error.value)
    assert "bias has shape (2, 9, 9)" not in str(error.value), "it may be one bias per place"


def test_faults_of_connections_do_not_hide_those_of_layers() -> None:
    odd = DenseSynapse(np.array([[3, 2], [2, 2]], np.int16))
    good = DenseSynapse(np.array([[2, 2, 2]], np.int16))
    neuron = LifNeuron(-1, 41, np.zeros(1, np.int32))
    host = HostCurrent(np.zeros(5, np.int64), 40)
    layers = (
        ChipLayer("a", (Connection(odd, "x"),), neuron, (2,)),
        ChipLayer("b", (Connection(good, "a"), Connection(good, "c")), neuron, (1,)),
        ChipLayer("c", (Connection(good, "b", host=host),), neuron, (2,)),
        ChipLayer("d", (Connection(good, "a"),), "neuron", (1,)),  # type: ignore[arg-type]
    )
    with pytest.raises(GraphError) as error:
        check_chip(ChipNetwork("net", (1, 1, 2), 5, layers, "spikes"))
    for words in (
        "a: the connection from x has no such source",
        "b: the connection from c closes a cycle without a lag",
        "a: mixed-sign weights must be even",
        "a: threshold is -1",
        "b: weight (1, 3) expects 3 inputs, gets (2,)",
        "c: host shift 40 is outside",
        "c: a host current can only carry pixels",
        "c: host offset of shape (5,)",
        "d: unknown neuron str",
    ):
        assert words in str(error.value), words
    for hidden in ("a: weight", "a: declares"):
        assert hidden not in str(error.value), "nothing tells what reaches it"


def test_sum_that_overflows_the_accumulator_is_refused() -> None:
    weight = np.full((1, 600), 254, np.int16)
    layer = ChipLayer(
        "a", (Connection(DenseSynapse(weight)),), LifNeuron(5, 41, np.zeros(1, np.int32)), (1,)
    )
    with pytest.raises(GraphError, match="accumulator"):
        check_chip(ChipNetwork("n", (1, 1, 600), 1, (layer,)))


def dense(
    weights: list[int], exponent: int, *, du: int = 4095, sign: Sign = "mixed", payload: int = 1
) -> ChipNetwork:
    synapse = DenseSynapse(np.array([weights], np.int16), sign, exponent)
    layer = ChipLayer(
        "a", (Connection(synapse),), LifNeuron(5, 41, np.zeros(1, np.int32), 0, du), (1,)
    )
    shape = (1, 1, len(weights))
    return ChipNetwork("n", shape, 1, (layer,), "pixels" if payload > 1 else "spikes")


@pytest.mark.parametrize(
    ("fits", "too_large", "words"),
    [
        # A synaptic filter: u takes at most 2^18 per step.
        (
            dense([-256] * 1024, 0, du=4094),
            dense([-256] * 1024 + [2], 0, du=4094),
            f"reach {FILTERED_SUM_MAX + 2}; the accumulator holds {FILTERED_SUM_MAX}",
        ),
        # The floor of a negative exponent makes negative sums larger by one.
        (
            dense([-255] * 2056 + [-8], -1, du=0, sign="inhibitory"),
            dense([-255] * 2056 + [-9], -1, du=0, sign="inhibitory"),
            f"reach {FILTERED_SUM_MAX + 1};",
        ),
        (dense([-256] * 1008, 7), dense([-256] * 1008 + [2], 7), f"reach {ACCUMULATOR_MAX + 256};"),
        # The sum before its exponent lies in 32 bits as well.
        (
            dense([-256] * 32896, -8, payload=255),
            dense([-256] * 32897, -8, payload=255),
            "reach 2147516160; the accumulator holds 2147483647",
        ),
    ],
)
def test_sums_are_legal_up_to_the_limit_and_not_beyond(
    fits: ChipNetwork, too_large: ChipNetwork, words: str
) -> None:
    check_chip(fits)
    with pytest.raises(GraphError, match=words):
        check_chip(too_large)


def host(shift: int, offset: np.ndarray) -> ChipNetwork:
    synapse, current = DenseSynapse(np.array([[1]], np.int16)), HostCurrent(offset, shift)
    layer = ChipLayer(
        "a", (Connection(synapse, host=current),), LifNeuron(5, 41, np.zeros(1, np.int32)), (1,)
    )
    return ChipNetwork("n", (1, 1, 1), 1, (layer,))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (host(-5, np.zeros(1, np.int64)), "host shift -5"),
        (host(0, np.array([np.nan])), "host offset has type float64"),
        (host(0, np.array([1 << 23])), "a sum can reach 8388863"),
    ],
)
def test_host_currents_out_of_range_are_refused_by_name(network: ChipNetwork, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        check_chip(network)


@pytest.mark.parametrize("weight", [np.zeros((0, 4), np.int16), np.array(2, np.int16)])
def test_weights_without_rows_are_refused(weight: np.ndarray) -> None:
    layer = ChipLayer(
        "a", (Connection(DenseSynapse(weight)),), LifNeuron(5, 41, np.zeros(1, np.int32)), (1,)
    )
    with pytest.raises(GraphError, match="weight is empty"):
        check_chip(ChipNetwork("n", (1, 2, 2), 1, (layer,)))


def test_a_convolution_must_declare_the_inputs_it_gets() -> None:
    synapse = ConvSynapse(np.full((1, 1, 1, 1), 2, np.int16), (1, 3, 2))
    neuron = LifNeuron(5, 41, np.zeros((1, 1, 1), np.int32))
    with pytest.raises(GraphError, match=r"declares inputs \(1, 3, 2\), gets \(1, 2, 3\)"):
        check_chip(
            ChipNetwork(
                "n", (1, 2, 3), 1, (ChipLayer("a", (Connection(synapse),), neuron, (1, 2, 3)),)
            )
        )


def test_claims_of_gigantic_layers_are_refused() -> None:
    synapse = ConvSynapse(np.full((1, 1, 1, 1), 2, np.int16), (1, 2, 2), padding=(0, 10**12))
    neuron = LifNeuron(5, 41, np.zeros((1, 1, 1), np.int32))
    layer = ChipLayer("a", (Connection(synapse),), neuron, (1, 2, 2 + 2 * 10**12))
    with pytest.raises(GraphError, match="4,000,000,000,004 values"):
        check_chip(ChipNetwork("n", (1, 2, 2), 1, (layer,)))
    readout = FloatNetwork("n", (1, 2**31, 2**33), 1, (Readout("out"),))
    with pytest.raises(GraphError, match="the input of shape"):
        check_float(readout)


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["layers"][0]["synapse"].update(exponent=10**30), "'exponent'"),
        (lambda d: d["layers"][0]["synapse"].update(weight={"tensor": []}), "missing or used"),
        (lambda d: d["layers"][0]["synapse"].update(sign={"tensor": "spare"}), "'sign'"),
        (lambda d: d.update(layers=nested(600)), "nested too deeply"),
        (lambda d: d.update(layers=5), "'layers'"),
    ],
)
def test_hostile_descriptions_are_refused(change: object, words: str) -> None:
    document, tensors = network_to_parts(dense([2, 2], 0))
    tensors["spare"] = np.zeros(3, np.int16)
    change(document)  # type: ignore[operator]
    with pytest.raises(BundleError, match=words):
        network_from_parts(document, tensors, ChipNetwork)


def wired(*edges: Edge, nodes: tuple[object, ...] = ()) -> FloatNetwork:
    some = (
        Conv2d("c", np.ones((2, 1, 1, 1)), None),
        Lif("l1", 0.9, 1.0),
        Linear("fc", np.ones((3, 8)), None),
        Readout("out"),
    )
    return FloatNetwork("n", (1, 2, 2), 4, nodes or some, edges)  # type: ignore[arg-type]


def test_edges_are_told_what_is_wrong_with_which_end_and_all_at_once() -> None:
    edges = [Edge("@input", "c"), Edge("c", "l1"), Edge("l1", "fc"), Edge("fc", "out")]
    check_float(wired(*edges))
    with pytest.raises(GraphError) as caught:
        check_float(
            wired(
                *edges[:2],
                *edges[3:],
                Edge("out", "l1", 1),
                Edge("ghost", "l1"),
                Edge("l1", "nowhere"),
                Edge("c", "l1", 1.5),  # type: ignore[arg-type]
            )
        )
    for told in (
        "edge out -> l1: comes from a readout, which sends nothing",
        "edge ghost -> l1: there is no node ghost to come from",
        "edge l1 -> nowhere: there is no node nowhere to lead to",
        "edge c -> l1: lag 1.5 and coefficient 1.0 must be a whole number",
        "fc: nothing feeds it",
    ):
        assert told in caught.value.what


class Tensor:
    """What torch calls so, for this test."""

    shape = (3, 8)
    ndim = 2

    def detach(self) -> None: ...


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (Conv2d("x", np.ones((2, 1, 1, 1)), None, stride=2), "x: stride is 2, expected a pair"),  # type: ignore[arg-type]
        (AvgPool2d("x", (2, 2), 2), "x: stride is 2, expected a pair"),  # type: ignore[arg-type]
        (Linear("x", Tensor(), None), "x: weight is a tensor, expected a NumPy array"),  # type: ignore[arg-type]
        (Lif("x", 0.9, 1.0, reset="soft"), "x: reset is 'soft', expected a number"),  # type: ignore[arg-type]
        (Lif("x", None, 1.0), "x: leak is None, expected a number"),  # type: ignore[arg-type]
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_what_is_no_number_pair_or_array_is_named_with_its_node(node: object, told: str) -> None:
    with pytest.raises(GraphError, match=told):
        check_float(wired(nodes=(node, Readout("out"))))


def test_readouts_and_codings_that_nobody_knows_are_refused() -> None:
    layer = ChipLayer(
        "l1",
        (Connection(DenseSynapse(np.full((2, 4), 2, np.int16))),),
        LifNeuron(3, 41, np.zeros(1, np.int32)),
        (2,),
    )
    odd = ChipNetwork("n", (1, 2, 2), 3, (layer,), "events", "median")  # type: ignore[arg-type]
    with pytest.raises(GraphError) as caught:
        check_chip(odd)
    assert "coding 'events' is none: 'pixels' or 'spikes'" in caught.value.what
    assert "readout 'median' is none of auto, last" in caught.value.what
