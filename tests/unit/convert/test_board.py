"""The profile "loihi": what it makes fits .net files and boards, and what it costs is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.certify.ranges import check_ranges
from spikeproof.convert.cost import profile_cost
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.floats import run_float
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import RangeError, UnsupportedError
from spikeproof_lava.target import LavaTarget

Images = NDArray[np.uint8]
WAVY = [1.0, 0.8, 1.2, 0.9]
CODINGS = ("auto", "graded", "bias")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("coding", CODINGS)
def test_the_profile_makes_what_net_files_and_boards_can_hold(
    make_network: Any, images: Images, seed: int, coding: Any, tmp_path: Path
) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    from spikeproof.formats.netx.read import load_netx
    from spikeproof.formats.netx.write import netx_problems, save_netx

    options = ConvertOptions(profile="loihi", input_coding=coding)
    chip = convert_network(make_network(seed, strict=bool(seed)), images, options).chip
    assert netx_problems(chip) == LavaTarget("loihi2").problems(chip) == []
    assert {layer.neuron.bias_exponent for layer in chip.layers} == {6}
    check_ranges(chip)
    save_netx(chip, tmp_path / "a.net")
    again = load_netx(tmp_path / "a.net")
    assert again.input_shape == chip.input_shape and again.coding == "pixels"
    first, second = (ReferenceEngine().run(n, images, trace=True) for n in (chip, again))
    np.testing.assert_array_equal(first.logits, second.logits)
    for a, b in zip((first.traces or {}).values(), (second.traces or {}).values(), strict=True):
        np.testing.assert_array_equal(a.v, b.v)
        np.testing.assert_array_equal(a.u, b.u)
        assert (a.s is None and b.s is None) or np.array_equal(a.s, b.s)  # type: ignore[arg-type]


@pytest.mark.parametrize("coding", CODINGS)
def test_the_profile_still_computes_the_trained_network(
    make_network: Any, images: Images, coding: Any
) -> None:
    network = make_network(1)
    chip = convert_network(
        network, images, ConvertOptions(profile="loihi", input_coding=coding)
    ).chip
    trained = run_float(network, images, trace=True).traces["l1"].s
    traces = ReferenceEngine().run(chip, images, trace=True).traces
    assert traces is not None and np.mean(traces["l1"].s != trained) < 0.03


def test_auto_takes_the_first_layer_to_the_host_where_that_flips_less(
    make_network: Any, images: Images
) -> None:
    done = convert_network(make_network(), images, ConvertOptions(profile="loihi"))
    rates = done.table[0].coding_flip_rates
    hosted = done.chip.layers[0].host is not None
    assert hosted == (rates["bias"] < rates["graded"])


def test_gains_over_time_are_refused_with_layer_reason_and_way_out(
    make_network: Any, images: Images
) -> None:
    network = make_network(gains=(WAVY, WAVY))
    with pytest.raises(UnsupportedError) as caught:
        convert_network(network, images, ConvertOptions(profile="loihi"))
    text = str(caught.value)
    assert "l1: its gain changes" in text and "l2: its gain changes" in text
    assert "plain LIF" in text and "default profile" in text


def test_a_constant_gain_is_folded_and_fits(make_network: Any, images: Images) -> None:
    network = make_network(gains=([0.8] * 4, None))
    chip = convert_network(network, images, ConvertOptions(profile="loihi")).chip
    assert LavaTarget("loihi2").problems(chip) == []


def test_a_bias_beyond_the_file_says_how_much_it_holds(make_network: Any, images: Images) -> None:
    options = ConvertOptions(profile="loihi", scale={"l2": 60_000.0})
    with pytest.raises(RangeError, match=r"hold 262080"):
        convert_network(make_network(), images, options)


def test_the_cost_counts_spikes_and_classes_of_both_conversions(
    make_network: Any, images: Images
) -> None:
    network = make_network(2)
    fine = convert_network(network, images).chip
    done = convert_network(network, images, ConvertOptions(weight_bits=4, input_coding="graded"))
    labels = run_float(network, images).predictions
    cost = profile_cost("coarse", done.folded, fine, done.chip, images, labels)
    assert cost.samples == len(images) and cost.accuracy_trained == 1.0
    for row, name in zip(cost.layers, ("l1", "l2"), strict=True):
        trained = run_float(network, images, trace=True).traces[name].s
        for chip, flips in ((fine, row.flips_default), (done.chip, row.flips)):
            traces = ReferenceEngine().run(chip, images, trace=True).traces
            assert traces is not None
            assert flips == pytest.approx(np.mean(traces[name].s != trained))
        assert row.layer == name and row.flips > row.flips_default
    same = [ReferenceEngine().run(c, images).predictions == labels for c in (fine, done.chip)]
    assert (cost.agreement_default, cost.agreement) == (same[0].mean(), same[1].mean())
    assert (cost.accuracy_default, cost.accuracy) == (same[0].mean(), same[1].mean())
    unlabelled = profile_cost("coarse", done.folded, fine, done.chip, images, None)
    assert unlabelled.accuracy is None and unlabelled.agreement == cost.agreement
