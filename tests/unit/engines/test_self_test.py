"""The answers in a bundle are the reference's, whoever computes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines import self_test
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.self_test import make_bundle, reference_traces
from spikeproof.engines.trace import RunResult
from spikeproof.errors import TargetError
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.io.bundle import Bundle, bundle_bytes
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.record import BundleRecord
from spikeproof.io.zoo import zoo_calibration, zoo_networks
from spikeproof.ir.chip import ChipNetwork


def bytes_from_the_reference(network: ChipNetwork, x: np.ndarray) -> bytes:
    traces = ReferenceEngine().run(network, x, trace=True).traces or {}
    answers: dict[str, Any] = {
        f"{name}/{key}": value
        for name, t in traces.items()
        for key, value in (("v", t.v) if t.s is None else ("s", t.s),)
    }
    return bundle_bytes(Bundle(network, BundleRecord(), x, answers))


@pytest.mark.parametrize("name", sorted(zoo_networks()))
def test_bundles_of_shipped_networks_are_those_of_the_reference_byte_by_byte(name: str) -> None:
    source = load_checkpoint(zoo_networks()[name]).network
    images, _ = load_data(zoo_calibration(), source.input_shape)
    network = convert_network(source, images, ConvertOptions(calibration_samples=8)).chip
    assert bundle_bytes(make_bundle(network, {}, images[:4])) == bytes_from_the_reference(
        network, images[:4]
    )


def test_bundles_of_random_networks_are_those_of_the_reference_byte_by_byte() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        network = random_network(rng, nasty=seed % 2 == 0)
        x = random_input(rng, network, 3)
        assert bundle_bytes(make_bundle(network, {}, x)) == bytes_from_the_reference(network, x)


def test_an_engine_that_differs_from_the_reference_makes_no_bundle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    network = random_network(rng)
    run = NumpyEngine.run

    def off_by_one(self: NumpyEngine, *args: Any, **options: Any) -> RunResult:
        result = run(self, *args, **options)
        assert result.traces is not None
        result.traces[network.layers[0].name].v[0, -1] += 1
        return result

    monkeypatch.setattr(self_test.NumpyEngine, "run", off_by_one)
    with pytest.raises(
        TargetError, match=f"differs from the reference in {network.layers[0].name}/v"
    ):
        reference_traces(network, random_input(rng, network, 2))
