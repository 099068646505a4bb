"""Every limit of the chip: the last legal value is taken, the next one is refused by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest

from spikeproof.errors import GraphError
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    GeneralLifNeuron,
    HostCurrent,
    LifNeuron,
    Neuron,
    ReadoutNeuron,
    TableLifNeuron,
)

STEPS = 3
NONE = np.zeros(1, np.int32)
LIF = LifNeuron(5, 41, NONE)
TABLE = TableLifNeuron(np.full(STEPS, 4000, np.int32), np.full(STEPS, 64, np.int32), NONE)

FULL = 8_388_607
GENERAL = GeneralLifNeuron(
    leak=np.full((1, 3), 4000, np.int32),
    threshold=np.full((STEPS, 1), 64, np.int32),
    bias=NONE,
    du=np.array([4095, 4095, 4095], np.int32),
    initial=np.zeros(3, np.int32),
    reset=np.array([64], np.int32),
)


def layer(
    name: str = "a",
    synapse: Any = None,
    neuron: Neuron = LIF,
    width: int = 3,
    host: HostCurrent | None = None,
) -> ChipLayer:
    if synapse is None:
        synapse = DenseSynapse(np.full((width, 3), 2, np.int16))
    return ChipLayer(name, (Connection(synapse, host=host),), neuron, (width,))


def network(
    *layers: ChipLayer, coding: Literal["pixels", "spikes"] = "pixels", inputs: int = 3
) -> ChipNetwork:
    return ChipNetwork("n", (1, 1, inputs), STEPS, layers, coding)


def refuse(network: ChipNetwork, words: str) -> None:
    with pytest.raises(GraphError, match=re.escape(words)):
        check_chip(network)


def with_neuron(value: int, base: Neuron, field: str) -> ChipNetwork:
    old = getattr(base, field)
    new: Any = value
    if isinstance(old, np.ndarray):
        new = old.copy()
        new.flat[-1] = value  # among legal values
    return network(layer(neuron=replace(base, **{field: new})))


@pytest.mark.parametrize(
    ("base", "field", "low", "high", "label"),
    [
        (LIF, "du", 0, 4095, "du is"),
        (GENERAL, "du", 0, 4095, "du spans"),
        (GENERAL, "leak", 0, 16_383, "leak spans"),
        (GENERAL, "threshold", 0, FULL, "threshold spans"),
        (GENERAL, "reset", 0, FULL, "reset spans"),
        (GENERAL, "initial", -FULL, FULL, "initial spans"),
        (LIF, "dv", 0, 4096, "dv is"),
        (LIF, "threshold", 0, 131_071, "threshold is"),
        (LIF, "bias", -4095, 4095, "bias mantissa spans"),
        (LIF, "bias_exponent", 0, 7, "bias exponent is"),
        (TABLE, "du", 0, 4095, "du is"),
        (TABLE, "leak", 0, 16_383, "leak table spans"),
        (TABLE, "threshold", 0, 8_388_607, "threshold table spans"),
        (TABLE, "bias", -4095, 4095, "bias mantissa spans"),
        (TABLE, "bias_exponent", 0, 7, "bias exponent is"),
        (ReadoutNeuron(NONE), "bias", -4095, 4095, "bias mantissa spans"),
        (ReadoutNeuron(NONE), "bias_exponent", 0, 7, "bias exponent is"),
    ],
)
def test_registers_of_neurons_are_legal_up_to_their_limits(
    base: Neuron, field: str, low: int, high: int, label: str
) -> None:
    for value in (low, high):
        check_chip(with_neuron(value, base, field))
    for value in (low - 1, high + 1):
        refuse(with_neuron(value, base, field), label)


@dataclass(frozen=True, eq=False)
class LateNeuron(LifNeuron):
    """A kind of somebody else's that has another leak and threshold in its last step."""

    leak: Any = 0
    height: Any = 0

    def leak_at(self, t: int) -> int:
        return self.leak if t == STEPS - 1 else super().leak_at(t)

    def threshold_at(self, t: int) -> int:
        return self.height if t == STEPS - 1 else super().threshold_at(t)


@pytest.mark.parametrize(
    ("field", "high", "label"),
    [
        ("leak", 16_383, "leak over the steps spans"),
        ("height", 8_388_607, "threshold over the steps spans"),
    ],
)
def test_leak_and_threshold_of_any_kind_stay_in_range_over_all_steps(
    field: str, high: int, label: str
) -> None:
    def late(last: Any) -> ChipNetwork:
        return network(layer(neuron=LateNeuron(5, 41, NONE, **{field: last})))

    for value in (0, high):
        check_chip(late(value))
    for value in (-1, high + 1):
        refuse(late(value), label)
    refuse(late(0.5), "has type float64, expected integers")


@pytest.mark.parametrize(
    ("sign", "low", "high", "step"),
    [("mixed", -256, 254, 2), ("excitatory", 0, 255, 1), ("inhibitory", -255, 0, 1)],
)
def test_weights_are_legal_up_to_the_limits_of_their_sign(
    sign: Any, low: int, high: int, step: int
) -> None:
    def weights(*values: int) -> ChipNetwork:
        row = np.array([values], np.int16)
        return network(layer(synapse=DenseSynapse(row, sign), width=1))

    check_chip(weights(low, high, high - step))
    refuse(weights(low - 1, high, high), f"weight spans {low - 1}..{high}, the chip takes {low}")
    with pytest.raises(GraphError) as error:
        check_chip(weights(low, low, high + 1))
    assert f"weight spans {low}..{high + 1}" in str(error.value)
    assert "even" not in str(error.value)  # one fault, one message


def test_an_odd_weight_of_mixed_sign_is_refused_even_alone() -> None:
    refuse(network(layer(synapse=DenseSynapse(np.array([[2, 2, 3]], np.int16)), width=1)), "even")


@pytest.mark.parametrize(("good", "bad"), [(-8, -9), (7, 8)])
def test_weight_exponents_have_four_bits(good: int, bad: int) -> None:
    weight = np.full((1, 3), 2, np.int16)
    check_chip(network(layer(synapse=DenseSynapse(weight, exponent=good), width=1)))
    refuse(network(layer(synapse=DenseSynapse(weight, exponent=bad), width=1)), "is outside -8..7")


def hosted(
    name: str = "a",
    neuron: Neuron = LIF,
    *,
    weight: int = 1,
    shift: int = 0,
    offset: Any = (0,),
    exponent: int = 0,
) -> ChipLayer:
    synapse = DenseSynapse(np.full((3, 3), weight, np.int32), "mixed", exponent)
    return layer(name, synapse, neuron, host=HostCurrent(np.array(offset, np.int64), shift))


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ({"weight": 32_767, "shift": 5}, {"weight": 32_768, "shift": 5}, "host weight spans"),
        ({"weight": -32_767, "shift": 5}, {"weight": -32_768, "shift": 5}, "host weight spans"),
        (
            {"offset": (1 << 40,), "shift": 31},
            {"offset": ((1 << 40) + 1,), "shift": 31},
            "host offset spans",
        ),
        (
            {"offset": (-(1 << 40),), "shift": 31},
            {"offset": (-(1 << 40) - 1,), "shift": 31},
            "host offset spans",
        ),
        ({"shift": 0}, {"shift": -1}, "host shift -1 is outside 0..31"),
        ({"shift": 31}, {"shift": 32}, "host shift 32 is outside 0..31"),
        ({"exponent": 0}, {"exponent": 1}, "exponent must be 0"),
        ({"exponent": 0}, {"exponent": -1}, "exponent must be 0"),
        ({"offset": (1, 2, 3)}, {"offset": (1, 2)}, "host offset of shape (2,) does not fit"),
        ({"offset": (1,)}, {"offset": ()}, "host offset of shape (0,) does not fit"),
        # Three weights of 1 on pixels up to 255 add 765: what is left to the largest v.
        (
            {"offset": (0, 0, 8_388_607 - 765)},
            {"offset": (0, 0, 8_388_608 - 765)},
            "a sum can reach 8388608; the accumulator holds 8388607",
        ),
        (
            {"offset": (765 - 8_388_607, 0, 0)},
            {"offset": (765 - 8_388_608, 0, 0)},
            "a sum can reach 8388608; the accumulator holds 8388607",
        ),
    ],
)
def test_host_currents_are_legal_up_to_their_limits(
    good: dict[str, Any], bad: dict[str, Any], words: str
) -> None:
    check_chip(network(hosted(**good)))
    refuse(network(hosted(**bad)), words)


@pytest.mark.parametrize("neuron", [LIF, TABLE, ReadoutNeuron(NONE)])
@pytest.mark.parametrize(
    ("shape", "fits"),
    [((), True), ((1,), True), ((3,), True), ((2,), False), ((2, 3), False), ((0,), False)],
)
def test_a_bias_broadcasts_to_the_neurons_and_never_makes_more_of_them(
    neuron: Neuron, shape: tuple[int, ...], fits: bool
) -> None:
    checked = network(layer(neuron=replace(neuron, bias=np.zeros(shape, np.int32))))
    if fits:
        check_chip(checked)
    else:
        refuse(checked, f"bias of shape {shape} does not fit the neurons (3,)")


@pytest.mark.parametrize("field", ["leak", "threshold"])
@pytest.mark.parametrize("shape", [(STEPS - 1,), (STEPS + 1,), (STEPS, 1)])
def test_a_table_has_one_entry_per_step(field: str, shape: tuple[int, ...]) -> None:
    table = replace(TABLE, **{field: np.ones(shape, np.int32)})  # type: ignore[arg-type]
    refuse(network(layer(neuron=table)), f"{field} table has shape {shape}, expected (3,)")


def test_pixels_count_255_times_a_spike_and_only_in_the_first_layer() -> None:
    def first(total: int) -> ChipNetwork:
        """Sums of ``total`` in front of neurons without a filter, which take 33 030 144."""
        weight = np.full((1, total // 254 + 1), 254, np.int16)
        weight[0, 0] = total % 254
        inputs = weight.shape[1]
        return network(layer(synapse=DenseSynapse(weight), width=1), inputs=inputs)

    check_chip(first(129_528))  # 129 528 × 255 = 33 029 640
    refuse(first(129_530), "a sum can reach 33030150; the accumulator holds 33030144")
    check_chip(replace(first(129_530), coding="spikes"))
    wide = layer("b", DenseSynapse(np.full((1, 600), 254, np.int16)), width=1)
    check_chip(network(layer("a", width=600), wide))
    refuse(network(replace(wide, name="a"), inputs=600), "a sum can reach 38862000")


def test_the_neuron_with_the_largest_sum_decides() -> None:
    weight = np.array([[2, 2, 2], [32_767] * 3, [-2, 2, 0]], np.int32)
    current = HostCurrent(np.zeros(1, np.int64), 0)
    refuse(
        network(layer(synapse=DenseSynapse(weight), host=current)), "a sum can reach 25066755"
    )  # 3 × 32 767 × 255


@pytest.mark.parametrize("sign", [1, -1])
def test_the_raw_sum_has_31_bits_and_a_sign(sign: int) -> None:
    """2^31 - 1 = 255 × 8 421 504 + 127 with weights of one byte, shifted right by 8."""
    weight = np.full((1, 8_421_505), 255 * sign, np.int16)
    weight[0, 0] = 127 * sign
    name: Any = "excitatory" if sign > 0 else "inhibitory"

    def sums(exponent: int) -> ChipNetwork:
        synapse = DenseSynapse(weight, name, exponent)
        return network(layer(synapse=synapse, width=1), coding="spikes", inputs=weight.shape[1])

    check_chip(sums(-8))
    refuse(sums(0), "a sum can reach 2147483647; the accumulator holds 33030144")
    weight[0, 0] += sign
    refuse(sums(-8), "a sum can reach 2147483648; the accumulator holds 2147483647")


@pytest.mark.parametrize(
    ("neuron", "limit"),
    [
        (replace(LIF, du=4095), 33_030_144),
        (replace(LIF, du=4094), 262_144),
        (replace(TABLE, du=4095), 33_030_144),
        (replace(TABLE, du=0), 262_144),
        (ReadoutNeuron(NONE), 33_030_144),
    ],
)
def test_a_synaptic_filter_lowers_the_largest_sum(neuron: Neuron, limit: int) -> None:
    weight = np.full((1, 1 + limit // 256), -256, np.int16)
    weight[0, 0] = -(limit % 256)
    synapse = DenseSynapse(weight)
    inputs = weight.shape[1]
    one = layer(synapse=synapse, neuron=neuron, width=1)
    check_chip(network(one, coding="spikes", inputs=inputs))
    weight[0, 0] -= 2
    refuse(network(one, coding="spikes", inputs=inputs), f"the accumulator holds {limit}")


def test_a_readout_is_last_and_a_host_current_is_first() -> None:
    check_chip(network(layer("a"), layer("b", neuron=ReadoutNeuron(NONE))))
    readout = layer("a", neuron=ReadoutNeuron(NONE))
    refuse(network(readout, layer("b")), "a: a readout must be the last layer")
    check_chip(network(hosted("a"), layer("b")))
    words = "a host current can only carry pixels of the input, without a lag"
    refuse(network(layer("a"), hosted("b")), f"b: {words}")
    refuse(network(hosted("a"), coding="spikes"), f"a: {words}")
    biased = replace(LIF, bias=np.array([0, 0, 1], np.int32))
    refuse(network(hosted("a", biased)), "has its bias in the current's offset")


@pytest.mark.parametrize("wrap", [False, True])
def test_a_convolution_behind_another_layer_must_declare_what_it_gets(wrap: bool) -> None:
    synapse = ConvSynapse(np.full((1, 1, 1, 1), 2, np.int16), (1, 3, 1))
    host = HostCurrent(np.zeros((1, 1, 1), np.int64), 0) if wrap else None
    one = ChipLayer(
        "a",
        (Connection(synapse, host=host),),
        LIF.changed(bias=np.zeros((1, 1, 1), np.int32)),
        (1, 1, 3),
    )
    refuse(network(one), "declares inputs (1, 3, 1), gets (1, 1, 3)")
    check_chip(network(one.changed(synapse=replace(synapse, input_shape=(1, 1, 3)))))


def test_the_layer_behind_a_misfit_is_not_blamed() -> None:
    misfit = layer("a", DenseSynapse(np.full((3, 4), 2, np.int16)))
    conv = ConvSynapse(np.full((1, 1, 1, 1), 2, np.int16), (1, 3, 1))
    last = ChipLayer(
        "b", (Connection(conv),), replace(LIF, bias=np.zeros((1, 1, 1), np.int32)), (1, 3, 1)
    )
    with pytest.raises(GraphError) as error:
        check_chip(network(misfit, last))
    assert "a: weight (3, 4) expects 4 inputs" in str(error.value)
    assert "b:" not in str(error.value) and "None" not in str(error.value)


def test_declared_shapes_are_those_the_synapses_give() -> None:
    refuse(network(replace(layer(), shape=(4,))), "declares shape (4,), its synapse gives (3,)")


def test_two_layers_of_one_name_are_refused() -> None:
    refuse(network(layer("a"), layer("a")), "used twice: a")


def test_parts_the_chip_does_not_have_are_refused_by_name() -> None:
    refuse(network(), "a network needs at least one layer")
    refuse(network(layer(neuron="spike")), "unknown neuron str")  # type: ignore[arg-type]
    refuse(network(layer(synapse=np.zeros(3))), "unknown synapse ndarray")


@pytest.mark.parametrize("weight", [np.ones((3, 3)), np.ones((3, 3), bool)])
def test_only_integers_are_weights(weight: Any) -> None:
    refuse(network(layer(synapse=DenseSynapse(weight))), "expected integers")


@pytest.mark.parametrize(
    ("field", "form", "words"),
    [
        ("leak", (2, 3), "leak has shape (2, 3), expected 1 or 3 rows"),
        ("leak", (), "leak has shape (), expected 1 or 3 rows"),
        ("threshold", (3, 2), "a row of threshold of shape (2,) does not fit the neurons (3,)"),
        ("du", (2,), "du of shape (2,) does not fit the neurons (3,)"),
        ("initial", (2, 3), "initial of shape (2, 3) does not fit the neurons (3,)"),
        ("reset", (4,), "reset of shape (4,) does not fit the neurons (3,)"),
    ],
)
def test_arrays_of_neurons_must_broadcast_to_them(
    field: str, form: tuple[int, ...], words: str
) -> None:
    changes: Any = {field: np.ones(form, np.int32)}
    refuse(network(layer(neuron=replace(GENERAL, **changes))), words)


def test_all_that_is_wrong_with_a_general_neuron_is_said_at_once() -> None:
    wrong = replace(
        GENERAL, leak=np.full((1, 3), -1, np.int32), reset=np.array([0.5]), initial=GENERAL.du[:2]
    )
    with pytest.raises(GraphError) as told:
        check_chip(network(layer(neuron=wrong)))
    for words in ("leak spans -1", "reset has type float64", "initial of shape (2,)"):
        assert words in str(told.value)
