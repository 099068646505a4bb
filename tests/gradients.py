"""Gradients per second of a twin, against a plain loop over time in torch and our torch module.

``python tests/gradients.py``: one thread each, in turn, the best of several rounds in
processor time (a busy machine counts less), on the shipped networks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plain_torch
import torch

from spikeproof.attacks import Estimator
from spikeproof.attacks.twin import Memory, chip_twin, float_twin
from spikeproof.convert.fold import fold
from spikeproof.convert.pipeline import convert_network
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.jobs.threads import inner_threads
from spikeproof_models.networks import attacked_module

IMAGES = 50


def main() -> None:
    """Measure, and print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=list(zoo_networks()))
    given = parser.parse_args()
    for name in given.only:
        with inner_threads(1, load="torch"):
            best = measure(zoo_networks()[name], given.rounds)
        plain = best["plain torch"]
        told = ", ".join(f"{k} {IMAGES / s:.0f} ({plain / s:.1f}x)" for k, s in best.items())
        sys.stdout.write(f"{name}, image gradients per second: {told}\n")


def measure(path: Path, rounds: int) -> dict[str, float]:
    """Return seconds for one gradient of all images, by who took it."""
    network = load_checkpoint(path).network
    x = load_data(zoo_images(), network.input_shape)[0][:IMAGES]
    of = np.random.default_rng(0).standard_normal((IMAGES, 10))
    arctangent, adaptive = (
        Estimator(0.25, "detached", "arctangent"),
        Estimator(0.425, "detached", "assg"),
    )
    twin, memory = float_twin(fold(network)), Memory()
    images = load_data(zoo_calibration(), network.input_shape)[0]
    chip = chip_twin(convert_network(network, images).chip)
    module = attacked_module(network, arctangent).requires_grad_(False)

    def ours() -> None:
        point = torch.from_numpy(x.astype(np.float32) / 255).requires_grad_()
        logits = module(point)
        torch.autograd.grad(logits, point, torch.from_numpy(of).to(logits))

    ways: dict[str, Callable[[], object]] = {
        "plain torch": lambda: plain_torch.gradient(network, x, of, arctangent, torch.float32),
        "our torch module": ours,
        "twin": lambda: twin.back(twin.forward(x), of, arctangent),
        "twin, assg": lambda: twin.back(twin.forward(x), of, adaptive, memory),
        "chip twin": lambda: chip.back(chip.forward(x), of, arctangent),
    }
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            taken = time.process_time() - start
            if turn:  # the first compiles
                best[name] = min(best[name], taken)
    return best


if __name__ == "__main__":
    main()
