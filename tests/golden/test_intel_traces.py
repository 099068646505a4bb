"""Intel's recorded Loihi 2 traces, replayed at tolerance 0 by every engine of ours.

They come from lava-dl's tests (BSD-3-Clause, traces/LICENSE.lava-dl), values unchanged; of the
dense block the first 400 of 2000 steps are kept here. $SPIKEPROOF_TRACES may name a folder with
the full ``dense.npz``, which is then replayed too.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.engines.registry import get_engine
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    LifNeuron,
)

HERE = Path(__file__).parent / "traces"
FULL = [Path(p) / "dense.npz" for p in [os.environ.get("SPIKEPROOF_TRACES")] if p]


def load(path: Path) -> Mapping[str, np.ndarray[Any, Any]]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("path", [HERE / "dense-400.npz", *FULL], ids=lambda p: p.name)
@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_dense_block(engine: str, path: Path) -> None:
    """200 -> 256: spikes and currents; the recording lags the input by one step."""
    recorded = load(path)
    steps = recorded["in"].shape[1]
    synapse = DenseSynapse(recorded["weight"].astype(np.int16))
    layer = ChipLayer(
        "l1", (Connection(synapse),), LifNeuron(6, 415, np.zeros(1, np.int32)), (256,)
    )
    network = ChipNetwork("dense", (1, 1, 200), steps, (layer,), "spikes")
    x = recorded["in"].T.reshape(1, steps, 1, 1, 200).astype(np.uint8)
    traces = get_engine(engine).run(network, x, trace=True).traces
    assert traces is not None and traces["l1"].s is not None
    assert recorded["out"].sum() == {400: 371, 2000: 1826}[steps]
    np.testing.assert_array_equal(traces["l1"].s[0, :-1], recorded["out"].T[1:])
    np.testing.assert_array_equal(
        traces["l1"].u[0, :-1], 64 * recorded["current"].T[1:].astype(np.int32)
    )


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_convolution_of_tinynet(engine: str) -> None:
    """5x5 stride 2 with bias; the recording's first step precedes the layer's first update."""
    recorded = load(HERE / "tinynet.npz")
    kernel = recorded["layer1_kernel"][:, ::-1, ::-1, :].transpose(0, 3, 2, 1)
    synapse = ConvSynapse(np.ascontiguousarray(kernel).astype(np.int16), (3, 16, 16), (2, 2))
    bias = recorded["layer1_bias"].astype(np.int32).reshape(-1, 1, 1)
    layer = ChipLayer("l1", (Connection(synapse),), LifNeuron(25, 1024, bias, 6), (24, 6, 6))
    network = ChipNetwork("tinynet", (3, 16, 16), 15, (layer,), "spikes")
    x = recorded["input"].transpose(0, 4, 1, 2, 3)
    assert not x[:, 0].any()
    traces = get_engine(engine).run(network, x[:, 1:].astype(np.uint8), trace=True).traces
    assert traces is not None and traces["l1"].s is not None
    current, spikes = (recorded[k].transpose(0, 4, 1, 2, 3) for k in ("current", "layer1"))
    assert spikes.sum() == 1633
    np.testing.assert_array_equal(traces["l1"].u, 64 * current[:, 1:].astype(np.int32))
    np.testing.assert_array_equal(traces["l1"].s, spikes[:, 1:])
