"""Neurons that differ, begin elsewhere than at 0 or are reset otherwise, through the conversion."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.certify.ranges import certify_ranges
from spikeproof.convert.pipeline import Conversion, convert_network
from spikeproof.engines.floats import run_float
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import SpikeproofError
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spikeproof.ir.chip import GeneralLifNeuron, LifNeuron, TableLifNeuron
from spikeproof.ir.floats import FloatNetwork, Lif

RNG = np.random.default_rng(8)
GENERAL: dict[str, dict[str, Any]] = {
    "soft reset": {"reset": 1.0},
    "unleaked subtraction": {"reset": 1.0 / 0.75, "leak": 0.75},
    "no reset": {"reset": 0.0},
    "first state": {"initial": 0.3},
    "one number per channel": {
        "leak": RNG.uniform(0.5, 1, (6, 1, 1)),
        "threshold": RNG.uniform(0.5, 1.5, (6, 1, 1)),
    },
    "one number per neuron": {
        "threshold": RNG.uniform(0.5, 1.5, (6, 4, 4)),
        "reset": RNG.uniform(0.5, 1.5, (6, 4, 4)),
        "initial": RNG.uniform(-0.3, 0.3, (6, 4, 4)),
    },
    "a gain, thresholds per channel": {
        "gain": np.array([1.0, 1.25, 0.8, 1.1]),
        "threshold": RNG.uniform(0.5, 1.5, (6, 1, 1)),
        "initial": 0.2,
    },
    "a gain per channel": {"gain": RNG.uniform(0.7, 1.3, (4, 6, 1, 1))},
}


def with_neurons(network: FloatNetwork, **numbers: Any) -> FloatNetwork:
    """Change the first neuron layer of a network."""
    nodes = [replace(n, **numbers) if n.name == "l1" else n for n in network.nodes]
    return replace(network, nodes=tuple(nodes))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("kind", GENERAL)
def test_the_chip_does_what_its_dequantised_network_says(
    kind: str, strict: bool, make_network: Callable[..., FloatNetwork], images: NDArray[np.uint8]
) -> None:
    """Up to rounding of the states: that is what the declared bound covers."""
    done = convert_network(with_neurons(make_network(strict=strict), **GENERAL[kind]), images)
    layer = done.chip.layers[0]
    assert isinstance(layer.neuron, GeneralLifNeuron)
    assert isinstance(done.chip.layers[1].neuron, LifNeuron), "registers where they suffice"
    assert all(found.ok for found in certify_ranges(done.chip))
    relation = done.stages[-1].relation
    assert relation is not None and relation.bound is not None
    real = run_float(done.quantised, images, trace=True).traces["l1"]
    found = (ReferenceEngine().run(done.chip, images, trace=True).traces or {})["l1"]
    assert real.v is not None and real.s is not None and found.s is not None
    followed = np.cumsum(real.s != found.s, axis=1) == 0
    off = np.abs(real.v / _gain(done) * done.units["l1"] - found.v)
    assert off[followed].max() <= relation.bound
    assert (real.s != found.s).mean() < 0.01
    assert 0.02 < found.s.mean() < 0.98


def _gain(done: Conversion) -> NDArray[np.float64]:
    """Return the gain of the first layer, broadcastable to (T, *neurons)."""
    node = next(n for n in done.quantised.nodes if n.name == "l1")
    assert isinstance(node, Lif)
    if node.gain is None:
        return np.ones(1)
    return node.gain.reshape(len(node.gain), *(1,) * (4 - node.gain.ndim), *node.gain.shape[1:])


def test_a_gain_that_varies_and_a_soft_reset_are_refused_together(
    make_network: Callable[..., FloatNetwork], images: NDArray[np.uint8]
) -> None:
    gain = np.array([1.0, 1.25, 0.8, 1.1])
    with pytest.raises(SpikeproofError, match="would have to change with the step"):
        convert_network(with_neurons(make_network(), gain=gain, reset=1.0), images)
    done = convert_network(with_neurons(make_network(), gain=np.full(4, 2.0), reset=1.0), images)
    assert isinstance(done.chip.layers[0].neuron, GeneralLifNeuron), "a constant one is folded"
    done = convert_network(with_neurons(make_network(), gain=gain), images)
    assert isinstance(done.chip.layers[0].neuron, TableLifNeuron)


def test_an_array_of_one_number_is_that_number(
    make_network: Callable[..., FloatNetwork], images: NDArray[np.uint8]
) -> None:
    numbers = {"leak": np.full((1, 1, 1), 0.75), "threshold": np.ones(1), "initial": np.zeros(1)}
    done = convert_network(with_neurons(make_network(), **numbers), images)
    plain = convert_network(with_neurons(make_network(), leak=0.75), images)
    assert isinstance(done.chip.layers[0].neuron, LifNeuron)
    assert done.chip.layers[0].neuron.dv == plain.chip.layers[0].neuron.dv == 1024


@pytest.mark.parametrize("kind", GENERAL)
def test_a_checkpoint_keeps_them_and_one_without_them_is_what_it_was(
    kind: str, make_network: Callable[..., FloatNetwork], tmp_path: Path
) -> None:
    plain = make_network()
    network = with_neurons(plain, **GENERAL[kind])
    for name, held in (("plain", plain), ("general", network)):
        save_checkpoint(tmp_path / name, Checkpoint(held))
    assert b"initial" not in (tmp_path / "plain").read_bytes()
    back = load_checkpoint(tmp_path / "general").network
    wanted, node = (next(n for n in x.nodes if n.name == "l1") for x in (network, back))
    for key, value in vars(wanted).items():
        assert np.array_equal(np.asarray(getattr(node, key)), np.asarray(value)), key


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"leak": np.array([0.5, 1.5])}, "leak is 1.5, must be in 0..1"),
        ({"threshold": np.full((6, 1, 1), np.nan)}, "threshold holds 6 value"),
        ({"threshold": np.zeros((6, 1, 1))}, "threshold is 0, must be in"),
        ({"reset": -1.0}, "reset is -1, must be in"),
        ({"reset": float("nan")}, "reset is nan"),
        ({"initial": float("inf")}, "initial is inf"),
        ({"reset": np.ones((5, 1, 1))}, "reset of shape (5, 1, 1) does not fit"),
        ({"gain": np.ones((4, 5, 1, 1))}, "a row of gain of shape (5, 1, 1) does not fit"),
        ({"gain": np.ones((3, 6, 1, 1))}, "gain has shape (3, 6, 1, 1), expected one per step"),
    ],
)
def test_numbers_that_no_neuron_has_are_refused(
    numbers: dict[str, Any],
    words: str,
    make_network: Callable[..., FloatNetwork],
    images: NDArray[np.uint8],
) -> None:
    with pytest.raises(SpikeproofError, match=re.escape(words)):
        convert_network(with_neurons(make_network(), **numbers), images)
