"""Intel's recorded three-layer network, read from its own .net file, replayed at tolerance 0.

``tiny.net`` and the recording ``tinynet.npz`` come from lava-dl's tests (BSD-3-Clause,
traces/LICENSE.lava-dl), unchanged. Step 0 of every recorded array is the step before the first
update and empty; steps 1..15 of all layers share one clock, as layers do here.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

from spikeproof.engines.registry import get_engine
from spikeproof.formats.netx.read import load_netx

HERE = Path(__file__).parent / "traces"
STEPS = 15
ENGINES = ["reference", "numpy", "fast"]


def recorded(key: str) -> np.ndarray:
    """Return one array as (1, T, C, H, W), without the empty first step."""
    with np.load(HERE / "tinynet.npz", allow_pickle=False) as file:
        spikes = file[key].transpose(0, 4, 1, 2, 3)
    assert not spikes[:, 0].any()
    return spikes[:, 1:].astype(np.uint8)


@pytest.mark.parametrize("engine", ENGINES)
def test_all_layers_from_the_recorded_biases(engine: str) -> None:
    """Input neurons driven by the recorded bias image, then both convolutions."""
    # With this range 36 * pixel value + 34 of the file is the pixel itself: the recorded mantissa.
    network = load_netx(HERE / "tiny.net", STEPS, pixel_range=(-34 / 36, 221 / 36))
    with np.load(HERE / "tinynet.npz", allow_pickle=False) as file:
        x = file["input_bias"].T[None].astype(np.uint8)
    traces = get_engine(engine).run(network, x, trace=True).traces
    assert traces is not None
    for name, key, count in (
        ("input0", "input", 6783),
        ("conv1", "layer1", 1633),
        ("conv2", "output", 92),
    ):
        expected = recorded(key)
        assert expected.sum() == count
        np.testing.assert_array_equal(traces[name].s, expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_both_convolutions_from_the_recorded_spikes(engine: str) -> None:
    network = load_netx(HERE / "tiny.net", STEPS, skip_input=True)
    traces = get_engine(engine).run(network, recorded("input"), trace=True).traces
    assert traces is not None and list(traces) == ["conv1", "conv2"]
    with np.load(HERE / "tinynet.npz", allow_pickle=False) as file:
        current = file["current"].transpose(0, 4, 1, 2, 3)[:, 1:].astype(np.int32)
    np.testing.assert_array_equal(traces["conv1"].u, 64 * current)
    np.testing.assert_array_equal(traces["conv1"].s, recorded("layer1"))
    np.testing.assert_array_equal(traces["conv2"].s, recorded("output"))


def test_the_file_holds_the_recorded_parameters() -> None:
    first = load_netx(HERE / "tiny.net", skip_input=True)
    assert first.timesteps == 64
    with np.load(HERE / "tinynet.npz", allow_pickle=False) as file:
        kernel = file["layer1_kernel"][:, ::-1, ::-1, :].transpose(0, 3, 2, 1)
        bias = file["layer1_bias"]
    conv, neuron = first.layers[0].synapse, first.layers[0].neuron
    np.testing.assert_array_equal(conv.weight, kernel)
    np.testing.assert_array_equal(neuron.bias.reshape(-1), bias)
    assert (neuron.threshold, neuron.dv, neuron.du, neuron.bias_exponent) == (25, 1024, 4095, 6)
