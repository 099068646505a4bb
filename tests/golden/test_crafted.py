"""The weak attack crafts the images it always did: seeds, draws and steps are what they were.

``crafted.npz`` holds what weak-1 made, at 8/255 with the seed of the suites, of the first 8 shipped
images on ``fmnist-lif-natural``; recorded before attacks were made of hooks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from spikeproof.attacks.weak import WEAK  # noqa: E402
from spikeproof.io.checkpoint import load_checkpoint  # noqa: E402
from spikeproof.io.data import load_data  # noqa: E402
from spikeproof.io.zoo import zoo_images, zoo_networks  # noqa: E402
from spikeproof.verify.config import load_config  # noqa: E402
from spikeproof.verify.perturbations import Perturbation, craft_chunk  # noqa: E402

RECORDED = {
    "gaussian": "21fd036f9f5ae4fe8f34d3f1f36486dec03bca2c014b1528fde9341bcb754672",
    "fgsm": "a1868af143ba665c90aefe4aa286a1659924ec7a9734b53ff4373c2a883a2056",
    "pgd": "4fef0ca5c7b8b89a86af286e9b9afb60010170893bf1cd6ad960a0b6f3d36b96",
}
RECORDED_ON = ("2.15", "AVX2")
"""Release of torch and instruction set: elsewhere the last bit of a gradient may differ, and with
it the direction of a few pixels."""


@pytest.mark.parametrize("kind", RECORDED)
def test_equal_seeds_craft_the_images_they_always_did(kind: str) -> None:
    network = load_checkpoint(zoo_networks()["fmnist-lif-natural"]).network
    x, y = load_data(zoo_images(), network.input_shape)
    assert y is not None
    item = Perturbation(WEAK.at(kind, 8), 8)
    found = craft_chunk(item, network, x, y, 0, seed=load_config().seed).images
    with np.load(Path(__file__).with_name("crafted.npz")) as recorded:
        wanted = recorded[kind]
    assert hashlib.sha256(wanted.tobytes()).hexdigest() == RECORDED[kind]
    assert (found == wanted).mean() >= 0.98
    here = torch.__version__[:4], torch.backends.cpu.get_cpu_capability()
    if here == RECORDED_ON or kind == "gaussian":
        assert hashlib.sha256(found.tobytes()).hexdigest() == RECORDED[kind]
