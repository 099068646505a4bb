"""The shipped networks, converted: Lava equals the reference on real images, bit for bit."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.ir.chip import ChipNetwork
from spikeproof.passes.convert import convert_network
from spikeproof.simulate.engines import get_engine

NAMES = sorted(zoo_networks())
SAMPLES = 20


def convert(name: str) -> ChipNetwork:
    network = load_checkpoint(zoo_networks()[name]).network
    images, _ = load_data(zoo_calibration(), network.input_shape)
    return convert_network(network, images).chip


def test_the_zoo_holds_the_three_networks_of_the_readme() -> None:
    assert {"fmnist-lif-natural", "fmnist-lif-adversarial", "fmnist-dlif-adversarial-mppd"} <= set(
        NAMES
    )


@pytest.mark.lava
@pytest.mark.skipif(find_spec("lava") is None, reason="Lava is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_lava_equals_the_reference_in_every_state(name: str) -> None:
    chip = convert(name)
    x, _ = load_data(zoo_images(), chip.input_shape)
    expected = get_engine("reference").run(chip, x[:SAMPLES], trace=True).traces
    found = get_engine("lava").run(chip, x[:SAMPLES], trace=True).traces
    assert expected is not None
    assert found is not None
    assert found.keys() == expected.keys()
    for layer, states in expected.items():
        np.testing.assert_array_equal(found[layer].v, states.v, err_msg=f"{layer} v")
        if states.s is not None:
            np.testing.assert_array_equal(found[layer].s, states.s, err_msg=f"{layer} s")
            np.testing.assert_array_equal(found[layer].u, states.u, err_msg=f"{layer} u")
            assert states.s.any(), f"{layer} never fires: nothing was compared"


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_on_the_shipped_images_survives_conversion(name: str) -> None:
    from spikeproof.simulate.floats import run_float

    network = load_checkpoint(zoo_networks()[name]).network
    chip = convert(name)
    x, y = load_data(zoo_images(), chip.input_shape)
    before = float((run_float(network, x).predictions == y).mean())
    after = float((get_engine("fast").run(chip, x).predictions == y).mean())
    assert before > 0.8
    assert abs(after - before) < 0.015
