"""A new kind of neuron is one class: engines, certificate, formats and the serial form know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from spikeproof.certify.ranges import certify_ranges
from spikeproof.engines.registry import get_engine
from spikeproof.engines.self_test import make_bundle, self_test
from spikeproof.io.bundle import Bundle, load_bundle, save_bundle
from spikeproof.ir.chip import ChipLayer, ChipNetwork, DenseSynapse, Ints, Neuron, ReadoutNeuron


@dataclass(frozen=True, eq=False)
class TiringNeuron(Neuron):
    """A neuron whose threshold rises by ``tiring`` v-units in every step."""

    title: ClassVar[str] = "tiring"
    stepwise: ClassVar[bool] = True
    threshold: int
    tiring: int
    bias: Ints
    bias_exponent: int = 0
    du: int = 3000

    def leak_at(self, t: int) -> int:
        return 4000

    def threshold_at(self, t: int) -> int:
        return self.threshold + self.tiring * t


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    rng = np.random.default_rng(3)

    def dense(*shape: int) -> DenseSynapse:
        return DenseSynapse((2 * rng.integers(-20, 21, shape)).astype(np.int16))

    tiring = TiringNeuron(900, 350, rng.integers(-50, 51, 12).astype(np.int32), 1)
    out = ChipLayer("out", dense(3, 12), ReadoutNeuron(np.zeros(1, np.int32)), (3,))
    layers = (ChipLayer("l1", dense(12, 16), tiring, (12,)), out)
    network = ChipNetwork("tired", (1, 4, 4), 5, layers, "spikes")
    x = (rng.random((9, 5, 1, 4, 4)) < 0.5).astype(np.uint8)
    return make_bundle(network, {}, x)


@pytest.mark.parametrize("engine", ["reference", "numpy", "fast", "torch", "onnx"])
def test_every_engine_runs_it(bundle: Bundle, engine: str) -> None:
    for needed in {"onnx": ["onnx", "onnxruntime"], "torch": ["torch"]}.get(engine, []):
        pytest.importorskip(needed)
    assert self_test(bundle, get_engine(engine)).passed
    assert 0 < bundle.expected["l1/s"].mean() < 1


def test_it_is_stored_and_bounded(bundle: Bundle, tmp_path) -> None:
    save_bundle(tmp_path / "a.spk", bundle)
    neuron = load_bundle(tmp_path / "a.spk").network.layers[0].neuron
    assert isinstance(neuron, TiringNeuron) and neuron.tiring == 350
    assert neuron.figures(2) == ([900, 1250], [96, 96])
    assert all(row.ok for row in certify_ranges(bundle.network))
