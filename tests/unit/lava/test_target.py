"""The engine "lava": CPU backend, and the hardware backend as far as it can be tried here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.registry import get_engine
from spikeproof.errors import TargetError, UnsupportedError
from spikeproof.ir import chip
from spikeproof_lava import compat, hardware
from spikeproof_lava.run import Task, run_many
from spikeproof_lava.target import LavaTarget

needs_lava = pytest.mark.skipif(compat.installed_version() is None, reason="needs lava-nc")


def test_engine_is_found_by_name() -> None:
    assert isinstance(get_engine("lava"), LavaTarget)


@needs_lava
@pytest.mark.lava
def test_run_without_trace_gives_the_reference_logits(tiny: chip.ChipNetwork, images: Any) -> None:
    x = images(5)
    result = LavaTarget().run(tiny, x)
    expected = ReferenceEngine().run(tiny, x)
    assert result.traces is None
    assert np.array_equal(result.logits, expected.logits)
    assert np.array_equal(result.predictions, expected.predictions)


@needs_lava
@pytest.mark.lava
def test_the_chips_process_graph_computes_the_same_on_the_cpu(
    tiny: chip.ChipNetwork, images: Any
) -> None:
    x, spiking = images(3), replace(tiny, layers=tiny.layers[:1])
    for network, result in zip(
        (tiny, spiking),
        run_many([Task(tiny, x, backend="portable"), Task(spiking, x, backend="portable")]),
        strict=True,
    ):
        assert np.array_equal(result.logits, ReferenceEngine().run(network, x).logits)


def test_hardware_names_everything_that_is_missing(tiny: chip.ChipNetwork, images: Any) -> None:
    with pytest.raises(TargetError, match="nxcore") as caught:
        LavaTarget("loihi2").run(tiny, images(1))
    assert "lava.utils.loihi2_profiler" in str(caught.value)
    assert "board" in str(caught.value)


def test_hardware_lists_registers_that_the_chip_does_not_have(tiny: chip.ChipNetwork) -> None:
    hidden, readout = tiny.layers

    def problems(dv: int, exponent: int) -> list[str]:
        neuron = chip.LifNeuron(2000, dv, np.zeros(1, np.int32))
        synapse = chip.DenseSynapse(np.full((3, 32), 2, np.int16), exponent=exponent)
        layers = (replace(hidden, neuron=neuron), readout.changed(synapse=synapse))
        return LavaTarget("loihi2").problems(replace(tiny, layers=layers))

    assert problems(4095, 0) == problems(0, 7) == []
    assert ["dv is 4096" in line and "0..4095" in line for line in problems(4096, 0)] == [True]
    assert ["weight exponent -1 floors" in line for line in problems(0, -1)] == [True]
    assert len(problems(4096, -3)) == 2


def test_hardware_lists_layers_that_need_python_models(
    tiny: chip.ChipNetwork, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero = np.zeros(1, np.int32)
    table = chip.TableLifNeuron(np.full(3, 4055), np.full(3, 640), zero)
    weight = np.ones((2, 1, 3, 3), np.int16)
    inner = chip.ConvSynapse(weight, (1, 4, 4), padding=(1, 1), sign="excitatory")
    host = chip.HostCurrent(np.zeros(1, np.int64), 2)
    first = chip.ChipLayer("l1", (chip.Connection(inner, host=host),), table, (2, 4, 4))
    network = replace(tiny, layers=(first, tiny.layers[1]))
    assert len(LavaTarget("loihi2").problems(network)) == 2
    assert LavaTarget().problems(network) == []
    monkeypatch.setattr(hardware, "missing", list)
    with pytest.raises(
        UnsupportedError, match=r"(?s)DLIF table neurons need.*steps of 1.*recording"
    ) as caught:
        LavaTarget("loihi2").run(network, images(1), trace=True)
    assert "--profile loihi" in str(caught.value.hint)


def hosted(tiny: chip.ChipNetwork, exponent: int, du: int = 4095) -> chip.ChipNetwork:
    """Put a first layer in front whose current, of both signs, the host computes."""
    weight = np.resize(np.array([3, -5, 2], np.int32), (2, 1, 3, 3))
    inner = chip.ConvSynapse(weight, (1, 4, 4), padding=(1, 1))
    host = chip.HostCurrent(np.array([[[40]], [[-7]]]), 2)
    neuron = chip.LifNeuron(300, 41, np.zeros((1, 1, 1), np.int32), exponent, du)
    first = chip.ChipLayer("l1", (chip.Connection(inner, host=host),), neuron, (2, 4, 4))
    return replace(tiny, layers=(first, tiny.layers[1]))


@pytest.mark.parametrize(
    ("exponent", "du", "expected"),
    [
        (6, 4095, None),
        (7, 4095, None),
        (5, 4095, "steps of 32"),
        (6, 4094, "synaptic filter"),
    ],
)
def test_hardware_takes_host_currents_that_graded_spikes_can_carry(
    tiny: chip.ChipNetwork, exponent: int, du: int, expected: str | None
) -> None:
    found = LavaTarget("loihi2").problems(hosted(tiny, exponent, du))
    assert len(found) == (expected is not None) and all(str(expected) in line for line in found)


@needs_lava
@pytest.mark.lava
def test_graded_spikes_bring_the_hosts_current_to_the_chips_process_graph(
    tiny: chip.ChipNetwork, images: Any
) -> None:
    x, networks = images(4), [hosted(tiny, 6), hosted(tiny, 7)]
    networks.append(replace(networks[0], layers=networks[0].layers[:1]))
    results = run_many([Task(network, x, backend="portable") for network in networks])
    for network, result in zip(networks, results, strict=True):
        expected = ReferenceEngine().run(network, x)
        assert np.array_equal(result.logits, expected.logits)
        assert len(np.unique(expected.logits)) > 1, "nothing was compared"
