"""The whole conversion: legal integers, certified, faithful, deterministic; loud on bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from spikeproof.certify.ranges import check_ranges
from spikeproof.convert.conversion import Conversion
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.document.values import dump
from spikeproof.engines.floats import run_float
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import InputError, RangeError
from spikeproof.ir.floats import Conv2d, FloatNetwork, Lif, Linear, Readout
from spikeproof.ir.serial import network_to_parts

Images = NDArray[np.uint8]
WAVY: list[float] = [1.3, 0.9, 1.1, 0.7]


@pytest.mark.parametrize("gains", [(None, None), (WAVY, None), (WAVY, WAVY)])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("coding", ["graded", "bias"])
def test_every_stage_stays_close_to_the_trained_network(
    make_network: Any, images: Images, gains: Any, strict: bool, coding: Any
) -> None:
    network = make_network(strict=strict, gains=gains)
    done = convert_network(network, images, ConvertOptions(input_coding=coding))
    trained, quantised = run_float(network, images, trace=True), run_float(done.quantised, images)
    chip = ReferenceEngine().run(done.chip, images, trace=True)
    assert chip.traces is not None
    limit = {"graded": 0.1, "bias": 0.01}[coding]
    assert np.mean(chip.traces["l1"].s != trained.traces["l1"].s) < limit
    spread = trained.logits.std()
    assert np.abs(quantised.logits - trained.logits).mean() < 0.5 * spread
    scaled = chip.logits / (done.units["out"] * network.timesteps)
    assert np.abs(scaled - quantised.logits).mean() < 0.1 * spread


@pytest.mark.parametrize("gains", [(None, None), (WAVY, WAVY)])
def test_lowering_keeps_its_bound_while_spikes_agree(
    make_network: Any, images: Images, gains: Any
) -> None:
    done = convert_network(make_network(gains=gains), images)
    relation = done.relations["lower"]
    assert relation.kind == "bounded" and relation.unit == "v-units at equal spikes"
    assert _lowering_error(done, images) <= relation.bound


@pytest.mark.parametrize("gain", [[0.05, 0.05, 0.05, 0.05, 2.0], [0.1, 1.0], [0.02, 0.3, 3.0]])
def test_lowering_keeps_its_bound_where_the_gain_rises(images: Images, gain: list[float]) -> None:
    rng = np.random.default_rng(0)  # no negative weight: what is carried over is the high end
    nodes = (
        Linear("fc", np.abs(rng.normal(size=(64, 64))) * 0.02, None),
        Lif("l1", 0.99, 1.0, True, np.array(gain)),
        Linear("fc2", rng.normal(size=(3, 64)) / 8, None),
        Readout("out"),
    )
    network = FloatNetwork("rising", (1, 8, 8), len(gain), nodes)
    done = convert_network(network, images, ConvertOptions(input_coding="graded"))
    bound = done.relations["lower"].bound
    assert 0.1 * bound < _lowering_error(done, images) <= bound


def _lowering_error(done: Conversion, images: Images) -> float:
    """Return the largest difference of v in the first layer while spikes agree, in v-units."""
    real = run_float(done.quantised, images, trace=True).traces["l1"]
    chip = ReferenceEngine().run(done.chip, images, trace=True).traces
    assert chip is not None and real.v is not None and real.s is not None
    lif = next(n for n in done.quantised.nodes if isinstance(n, Lif))
    gain = np.ones(done.chip.timesteps) if lif.gain is None else lif.gain
    per_step = gain.reshape(-1, *(1,) * (real.v.ndim - 2))
    difference = chip["l1"].v - real.v / per_step * done.units["l1"]
    same = np.cumsum(chip["l1"].s != real.s, axis=1) == 0
    same[:, 1:] = same[:, :-1]  # a flip at step t shows in v from t + 1 on
    same[:, 0] = True
    return float(np.abs(difference[same]).max())


def test_chip_integers_are_legal_and_certified(make_network: Any, images: Images) -> None:
    done = convert_network(make_network(), images, ConvertOptions(input_coding="graded"))
    for layer in done.chip.layers:
        synapse: Any = layer.synapse
        assert synapse.sign == "mixed" and synapse.exponent == 0
        assert (synapse.weight % 2 == 0).all() and np.abs(synapse.weight).max() <= 254
    assert [r.ok for r in check_ranges(done.chip)] == [True] * 3
    coarse = convert_network(make_network(), images, ConvertOptions(weight_bits=4))
    synapse = coarse.chip.layers[1].synapse
    assert (synapse.weight % 32 == 0).all() and np.abs(synapse.weight).max() <= 224


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("coding", ["graded", "bias"])
def test_search_never_loses_to_max_abs_on_calibration(
    make_network: Any, images: Images, seed: int, coding: Any
) -> None:
    network = make_network(seed)
    searched, plain = (
        convert_network(network, images, ConvertOptions(search=s, input_coding=coding)).table
        for s in (True, False)
    )
    for found, baseline in zip(searched, plain, strict=True):
        assert found.flip_rate_calibration <= baseline.flip_rate_calibration


def test_search_wins_where_an_outlier_spoils_max_abs(images: Images) -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(0, 0.15, (12, 64))
    weight[0, 0] = 6.0
    hidden = rng.normal(0, 0.1, (16, 12))
    hidden[3, 5] = 20.0
    nodes = (
        Linear("a", weight, None),
        Lif("l1", 0.9, 0.3),
        Linear("b", hidden, None),
        Lif("l2", 0.9, 0.3),
        Linear("c", rng.normal(size=(4, 16)), None),
        Readout("out"),
    )
    network = FloatNetwork("outlier", (1, 8, 8), 4, nodes)
    searched = convert_network(network, images).table[1]
    plain = convert_network(network, images, ConvertOptions(search=False)).table[1]
    assert searched.clipped_share > 0
    assert searched.flip_rate_calibration < 0.7 * plain.flip_rate_calibration


def test_a_forced_scale_that_overflows_names_the_largest_that_fits(
    make_network: Any, images: Images
) -> None:
    network = make_network()
    with pytest.raises(RangeError) as caught:
        convert_network(network, images, ConvertOptions(scale={"l2": 140_000.0}))
    text = str(caught.value)
    assert "l2: " in text and "threshold 140000 needs 18 bits, the chip has 17" in text
    assert "the largest scale that fits is " in text and "leave --scale out" in text
    largest = float(text.split("the largest scale that fits is ")[1].split(";")[0])
    done = convert_network(network, images, ConvertOptions(scale={"l2": largest}))
    assert done.table[1].scale == pytest.approx(largest, abs=0.5)


@pytest.mark.parametrize(("coding", "scale"), [("graded", 2000.0), ("bias", 64.0)])
def test_a_forced_scale_is_used(
    make_network: Any, images: Images, coding: Any, scale: float
) -> None:
    options = ConvertOptions(scale={"l1": scale, "out": 33.5}, input_coding=coding)
    done = convert_network(make_network(), images, options)
    assert [done.table[0].scale, done.table[2].scale] == [scale, 33.5]
    assert done.units["out"] == 64 * 33.5


def test_a_scale_that_leaves_no_weight_of_a_layer_is_refused(
    make_network: Any, images: Images
) -> None:
    options = ConvertOptions(scale={"l1": 64.0}, input_coding="graded")
    with pytest.raises(RangeError, match="every weight rounds to 0 in 8 bits"):
        convert_network(make_network(), images, options)


def test_a_network_that_cannot_fit_says_so(images: Images) -> None:
    nodes = (
        Linear("a", np.ones((4, 64)), np.full(4, -1e6)),
        Lif("l1", 1.0, 1.0),
        Linear("b", np.ones((2, 4)), None),
        Readout("out"),
    )
    network = FloatNetwork("huge", (1, 8, 8), 4, nodes)
    with pytest.raises(RangeError, match=r"pass 'quantise', l1: no scale fits.*\n.*timesteps"):
        convert_network(network, images)


def test_bad_calibration_and_options_are_refused(make_network: Any, images: Images) -> None:
    network = make_network()
    wrong: list[Any] = [images[:, :, :4], images[:0], images.astype(np.float64)]
    for bad in wrong:
        with pytest.raises(InputError, match=r"calibration images are .* expected uint8 \(N, 1, 8"):
            convert_network(network, bad)
    with pytest.raises(InputError) as caught:
        convert_network(network, images, ConvertOptions(scale={"nope": 1.0, "l1": -2.0}))
    assert "'nope'; layers are l1, l2, out" in str(caught.value)
    assert "'l1' is -2.0, must be positive" in str(caught.value)
    with pytest.raises(ValidationError):
        ConvertOptions(weigth_bits=8)  # type: ignore[call-arg]


def test_a_conversion_is_deterministic_and_reports_progress(
    make_network: Any, images: Images
) -> None:
    seen: list[tuple[int, int]] = []
    first = convert_network(make_network(), images, progress=lambda i, n: seen.append((i, n)))
    second = convert_network(make_network(), images)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert list(map(dump, first.table)) == list(map(dump, second.table))
    (document, tensors), (again, others) = map(network_to_parts, (first.chip, second.chip))
    assert document == again
    assert {k: t.tobytes() for k, t in tensors.items()} == {
        k: t.tobytes() for k, t in others.items()
    }


def test_the_table_has_every_column(make_network: Any, images: Images) -> None:
    rows = convert_network(make_network(gains=(None, WAVY)), images).table
    assert [r.layer for r in rows] == ["l1", "l2", "out"]
    assert [r.neuron for r in rows] == ["LIF", "DLIF table", "readout"]
    assert rows[0].kind in {"conv", "host conv"}
    assert set(rows[0].coding_flip_rates) == {"graded", "bias"}
    assert rows[0].synapses == 6 * 11 * 11  # taps on the zero padding do not count
    empty = [{name for name, value in row if value is None} for row in rows]
    assert empty == [set(), set(), {"threshold", "dv"}]


def test_grouped_and_one_signed_layers_convert(images: Images) -> None:
    rng = np.random.default_rng(2)
    nodes = (
        Conv2d("a", rng.normal(0, 1, (4, 1, 3, 3)), None, (2, 2)),
        Lif("l1", 0.9, 0.5),
        Conv2d("b", rng.uniform(0, 1, (4, 2, 2, 2)), rng.normal(size=4), groups=2),
        Lif("l2", 0.9, 1.0),
        Linear("c", -rng.uniform(0, 1, (3, 16)), None),
        Readout("out"),
    )
    network = FloatNetwork("groups", (1, 8, 8), 3, nodes)
    done = convert_network(network, images)
    second, last = done.chip.layers[1].synapse, done.chip.layers[2].synapse
    assert second.sign == "excitatory"
    assert last.sign == "inhibitory"
    trained = run_float(network, images, trace=True).traces["l2"].s
    chip = ReferenceEngine().run(done.chip, images, trace=True).traces
    assert chip is not None and np.mean(chip["l2"].s != trained) < 0.05


@pytest.mark.parametrize("leak", [0.0, 1e-5, 1 / 8192])
def test_a_leak_below_the_decay_register_becomes_its_last_value(
    images: Images, leak: float
) -> None:
    rng = np.random.default_rng(0)
    nodes = (
        Linear("fc", rng.normal(size=(8, 64)) / 4, None),
        Lif("l1", leak, 1.0),
        Linear("fc2", rng.normal(size=(3, 8)), None),
        Readout("out"),
    )
    done = convert_network(FloatNetwork("quick", (1, 8, 8), 4, nodes), images)
    assert done.table[0].dv == 4095
    lif = done.quantised.nodes[1]
    assert isinstance(lif, Lif) and lif.leak == 1 / 4096
    assert _lowering_error(done, images) <= done.relations["lower"].bound
