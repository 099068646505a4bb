"""The shipped networks, converted: Lava equals the reference on real images, bit for bit."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.registry import get_engine
from spikeproof.errors import UnsupportedError
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.files import canonical_json
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.serial import network_to_parts

NAMES = sorted(zoo_networks())
LIF_NAMES = [name for name in NAMES if "dlif" not in name]
SAMPLES = 20
needs_lava = pytest.mark.skipif(find_spec("lava") is None, reason="Lava is not installed")

CHOICES = {
    "fmnist-dlif-adversarial-mppd": [(None, 7), (None, 4), (None, 0), (None, 0)],
    "fmnist-lif-adversarial": [(1131, 7), (350, 3), (475, 0), (None, 0)],
    "fmnist-lif-natural": [(703, 7), (372, 4), (417, 0), (None, 0)],
}
"""Threshold (none: a table or a readout) and bias exponent that each layer gets by default."""

PLAIN = {
    "fmnist-dlif-adversarial-mppd": "dbdbcb957d47c21905d3e499fabf76aa",
    "fmnist-lif-adversarial": "7bf8d1280097a35bbedc02e1d53a1bc9",
    "fmnist-lif-natural": "b58089c1baa23b06041d2634e7a52ea1",
}
"""Half a SHA-256 of the integers at scales that need no search, from before there were profiles."""


@cache
def convert(name: str, options: ConvertOptions | None = None) -> ChipNetwork:
    network = load_checkpoint(zoo_networks()[name]).network
    images, _ = load_data(zoo_calibration(), network.input_shape)
    return convert_network(network, images, options).chip


def digest(network: ChipNetwork) -> str:
    """Hash every integer of a network, and its form."""
    document, tensors = network_to_parts(network)
    found = hashlib.sha256(canonical_json(document).encode())
    for key, array in sorted(tensors.items()):
        found.update(f"{key} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_the_default_conversion_keeps_its_integers(name: str) -> None:
    """Without a search nothing depends on the order of a processor's sums: equal bit for bit."""
    plain = ConvertOptions(input_coding="bias", search=False, compensate=False)
    assert digest(convert(name, plain))[:32] == PLAIN[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_default_conversion_keeps_its_choices(name: str) -> None:
    chip = convert(name)
    assert chip.layers[0].host
    thresholds = [getattr(layer.neuron, "threshold", None) for layer in chip.layers]
    found = [
        (threshold if isinstance(threshold, int) else None, layer.neuron.bias_exponent)
        for threshold, layer in zip(thresholds, chip.layers, strict=True)
    ]
    assert found == CHOICES[name]


def test_the_zoo_holds_the_three_networks_of_the_readme() -> None:
    assert {"fmnist-lif-natural", "fmnist-lif-adversarial", "fmnist-dlif-adversarial-mppd"} <= set(
        NAMES
    )


@pytest.mark.lava
@needs_lava
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
    from spikeproof.engines.floats import run_float

    network = load_checkpoint(zoo_networks()[name]).network
    chip = convert(name)
    x, y = load_data(zoo_images(), chip.input_shape)
    before = float((run_float(network, x).predictions == y).mean())
    after = float((get_engine("fast").run(chip, x).predictions == y).mean())
    assert before > 0.8
    assert abs(after - before) < 0.015


PROFILES = {
    "currents": ConvertOptions(profile="loihi", calibration_samples=128),
    "graded": ConvertOptions(profile="loihi", calibration_samples=128, input_coding="graded"),
}


@pytest.mark.parametrize("coding", PROFILES)
@pytest.mark.parametrize("name", LIF_NAMES)
def test_the_profile_loihi_goes_through_a_net_file_unchanged(
    name: str, coding: str, tmp_path: Path
) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    from spikeproof.formats.netx.form import netx_form
    from spikeproof.formats.netx.read import load_netx
    from spikeproof.formats.netx.write import netx_problems, save_netx

    chip = convert(name, PROFILES[coding])
    assert netx_problems(chip) == []
    save_netx(chip, tmp_path / "a.net")
    again = load_netx(tmp_path / "a.net")
    assert digest(replace(again, name=chip.name)) == digest(netx_form(chip))
    x, _ = load_data(zoo_images(), chip.input_shape)
    first, second = (get_engine("numpy").run(n, x[:200], trace=True) for n in (chip, again))
    np.testing.assert_array_equal(first.logits, second.logits)
    for a, b in zip((first.traces or {}).values(), (second.traces or {}).values(), strict=True):
        np.testing.assert_array_equal(a.v, b.v)


@pytest.mark.parametrize("coding", PROFILES)
@pytest.mark.parametrize("name", LIF_NAMES)
def test_the_profile_loihi_lacks_nothing_but_the_board(name: str, coding: str) -> None:
    from spikeproof_lava.target import LavaTarget

    assert LavaTarget("loihi2").problems(convert(name, PROFILES[coding])) == []


@pytest.mark.lava
@needs_lava
@pytest.mark.parametrize("coding", PROFILES)
@pytest.mark.parametrize("name", LIF_NAMES)
def test_lava_runs_the_profile_loihi_like_the_reference(
    name: str, coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every state on the CPU backend, where the graph made for the board runs, too."""
    from spikeproof_lava import hardware
    from spikeproof_lava.run import Task, run_many
    from spikeproof_lava.target import LavaTarget

    def on_the_cpu(tasks: list[Task], **options: Any) -> Any:
        assert [task.backend for task in tasks] == ["loihi2"]
        return run_many([replace(task, backend="portable") for task in tasks], **options)

    chip = convert(name, PROFILES[coding])
    x = load_data(zoo_images(), chip.input_shape)[0][:SAMPLES]
    expected = get_engine("reference").run(chip, x, trace=True)
    found = get_engine("lava").run(chip, x, trace=True).traces
    assert expected.traces is not None and found is not None
    for layer, states in expected.traces.items():
        for key in ("u", "v", "s"):
            np.testing.assert_array_equal(getattr(found[layer], key), getattr(states, key))
    monkeypatch.setattr(hardware, "missing", list)
    monkeypatch.setattr(hardware, "run_many", on_the_cpu)
    on_board = LavaTarget("loihi2").run(chip, x[:5])
    np.testing.assert_array_equal(on_board.logits, expected.logits[:5])


def test_the_profile_loihi_refuses_the_dlif_network() -> None:
    (name,) = set(NAMES) - set(LIF_NAMES)
    with pytest.raises(UnsupportedError, match=r"(?s)l1: its gain.*l2: its gain.*plain LIF"):
        convert(name, PROFILES["currents"])
