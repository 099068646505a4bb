"""A small conversion with images, verified in a second: for the tests of verifier and report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from seeding import float_network

from spikeproof.convert.conversion import Conversion
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.document.values import dump
from spikeproof.engines.floats import run_float
from spikeproof.engines.self_test import make_bundle
from spikeproof.io.bundle import Bundle
from spikeproof.io.known import images_hash
from spikeproof.ir import floats
from spikeproof.verify.config import VerifyConfig, load_config
from spikeproof.verify.given import Data, Subject
from spikeproof.verify.perturbations import Crafted
from spikeproof.verify.run import How, verify
from spikeproof.verify.stages import Stages, rebuild_stages

SOURCE_HASH = "a" * 64


@dataclass(frozen=True, eq=False)
class Case:
    """A converted network with images and labels."""

    conversion: Conversion
    bundle: Bundle
    x: NDArray[np.uint8]
    y: NDArray[np.int64]
    source_hash: str = SOURCE_HASH

    @property
    def source(self) -> floats.FloatNetwork:
        return self.conversion.source

    @property
    def stages(self) -> Stages:
        return rebuild_stages(self.bundle.network, self.source, self.bundle.record)

    def with_network(self, network: Any) -> Case:
        """Return the case with another chip network in the bundle (a planted defect)."""
        return replace(self, bundle=replace(self.bundle, network=network, content_hash=""))


def build_case(gain: list[float] | None = None) -> Case:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (320, 1, 6, 6)).astype(np.uint8)
    source = float_network(gain)
    conversion = convert_network(source, x[:32])
    record = {
        "checkpoint": {"name": "tiny", "hash": SOURCE_HASH},
        "units": conversion.units,
        "relations": {k: asdict(r) for k, r in conversion.relations.items()},
        "table": [dump(row) for row in conversion.table],
        "options": ConvertOptions().model_dump(mode="json"),
        "calibration": {"hash": images_hash(x[:32].shape, [x[:32]]), "samples": 32, "data": None},
    }
    y = run_float(source, x).predictions  # the trained network is right about everything
    return Case(conversion, make_bundle(conversion.chip, record, x[:2]), x, y)


def wide_config() -> VerifyConfig:
    """Return wide limits that a 6x6 network of 320 images can establish."""
    return load_config(
        "quick",
        engine="fast",
        lava_samples=20,
        samples={
            "accuracy": 320,
            "gaussian": 320,
            "fgsm": 320,
            "pgd": 320,
            "stages": 30,
            "boundary": 30,
        },
        perturbations={"gaussian": [48], "fgsm": [], "pgd": []},
        worst_case={"epsilons": []},
        margins={"clean": 0.2, "gaussian": 0.2},
        mppd={
            "median_difference": 0.2,
            "p99_difference": 0.9,
            "spearman": 0.5,
            "ratio": [0.8, 1.25],
        },
        validity={"samples": 0},  # of attacks on random weights V6 rightly finds fault
    )


def noise(item: Any, network: Any, x: Any, y: Any, *, seed: int, compare: bool) -> Crafted:
    """Stand in for the attacks, without torch: noise of the given strength."""
    rng = np.random.default_rng(seed)
    step = rng.normal(0, item.strength, x.shape)
    if item.kind != "gaussian":
        step = np.sign(step) * item.strength
    return Crafted(np.clip(np.rint(x + step), 0, 255).astype(np.uint8))


def changed(network: Any, name: str, part: str, **fields: Any) -> Any:
    """Change one layer's synapse or neuron in a chip network."""
    layers = tuple(
        layer.changed(**{part: replace(getattr(layer, part), **fields)})
        if layer.name == name
        else layer
        for layer in network.layers
    )
    return replace(network, layers=layers)


def verified(case: Case, config: VerifyConfig, folder: Path, **options: Any) -> Any:
    """Verify and return the report's JSON."""
    known = options.pop("calibration", case.x[:32])
    perturb = options.pop("perturb", noise)
    subject = Subject(case.bundle, case.source, case.source_hash)
    data = Data(case.x, case.y, calibration=known)
    return verify(subject, data, config, folder, How(perturb=perturb, **options)).json_document()
