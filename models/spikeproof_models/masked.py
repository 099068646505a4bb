"""Networks that hide their gradients on purpose, and what a suite and V6 make of them.

``python -m spikeproof_models.masked`` prints the table of docs/robustness.md, after some minutes.
Some kinds are a shipped network changed by hand, others small networks trained to hide; ``--train``
trains these anew (some minutes) and writes them to ``models/masked``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.grid import F64, Images
from spikeproof.attacks.suites import SUITES, Suite
from spikeproof.attacks.validity import examine
from spikeproof.attacks.victim import Victim
from spikeproof.convert.fold import fold
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import shipped_folder, zoo_calibration, zoo_images, zoo_networks
from spikeproof.ir import floats
from spikeproof.ir.floats import FloatNetwork
from spikeproof.jobs.threads import inner_threads
from spikeproof.verify.validity import Judged, judge_examined

IMAGES, RADII = 100, (2, 8)
HELD = 200
"""Shipped test images that are only attacked; the small networks are trained on the others."""
FOLDER = "masked"
BASE = "fmnist-lif-natural"


# --- shipped networks, changed -------------------------------------------------------------------


def scaled_logits(network: FloatNetwork, factor: float = 1e4) -> FloatNetwork:
    """Multiply the logits: every class stays, but a softmax of them has no gradient."""
    last = max(i for i, n in enumerate(network.nodes) if isinstance(n, floats.Linear))
    node = network.nodes[last]
    assert isinstance(node, floats.Linear)
    bias = None if node.bias is None else node.bias * np.float32(factor)
    return _changed(network, {last: replace(node, weight=node.weight * factor, bias=bias)})


def quantised_input(network: FloatNetwork) -> FloatNetwork:
    """Put a layer of spikes before the network: it sees each pixel as 0 to T spikes."""
    channels = network.input_shape[0]
    one = np.ones((channels, 1, 1, 1), np.float32)
    code = floats.Conv2d("code", one, None, groups=channels)
    coded = floats.Lif("coded", 1.0, 1.0, strict=False, reset=1.0, initial=0.5)
    return replace(network, name=f"{network.name}-quantised", nodes=(code, coded, *network.nodes))


def shattered_threshold(
    network: FloatNetwork, apart: float = 0.01, size: float = 4.0, seed: int = 0
) -> FloatNetwork:
    """Split each neuron of the first layer into two whose thresholds lie just apart.

    What they send on adds up to what the one did, and cancels beside that but for the rare image
    whose potential lies between them: the function hardly changes, its slope is torn to pieces.
    """
    spiking = [i for i, n in enumerate(network.nodes) if isinstance(n, floats.Lif)]
    first = spiking[0]
    changed: dict[int, Any] = {}
    for i, node in enumerate(network.nodes[: first + 2]):
        if isinstance(node, floats.Conv2d) and i < first:
            bias = None if node.bias is None else np.tile(node.bias, 2)
            changed[i] = replace(node, weight=np.tile(node.weight, (2, 1, 1, 1)), bias=bias)
        elif isinstance(node, floats.BatchNorm2d):
            two: dict[str, Any] = {
                k: np.tile(getattr(node, k), 2) for k in ("gamma", "beta", "mean", "var")
            }
            changed[i] = replace(node, **two)
        elif isinstance(node, floats.Lif):
            count = _channels(network, first)
            sides = np.repeat([1 - apart, 1 + apart], count).reshape(-1, 1, 1)
            changed[i] = replace(node, threshold=node.threshold * sides)
        elif isinstance(node, floats.Conv2d):
            sign = np.random.default_rng(seed).choice([-1.0, 1.0], node.weight.shape)
            torn = sign * size * np.abs(node.weight).mean()
            pair = [node.weight / 2 + torn, node.weight / 2 - torn]
            changed[i] = replace(node, weight=np.concatenate(pair, axis=1).astype(np.float32))
    return _changed(network, changed)


def _channels(network: FloatNetwork, before: int) -> int:
    found = [n for n in network.nodes[:before] if isinstance(n, floats.Conv2d)]
    return len(found[-1].weight)


def _changed(network: FloatNetwork, nodes: dict[int, Any]) -> FloatNetwork:
    return replace(network, nodes=tuple(nodes.get(i, node) for i, node in enumerate(network.nodes)))


@dataclass(frozen=True, eq=False)
class RandomCoding(Victim):
    """A network that sees each pixel as a random number of spikes, drawn at every look."""

    draws: int = 16

    def logits(self, x: Images) -> F64:
        """Return what the network says of one draw."""
        rng = np.random.default_rng()
        seen = np.rint(rng.binomial(self.draws, x / 255) * (255 / self.draws)).astype(np.uint8)
        return super().logits(seen)


# --- networks trained to hide --------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """How a small network is trained: PGD-3 at 8/255 with one of these widths per batch."""

    widths: tuple[float, ...]
    reset: str = "attached"


TRAINED = {
    "saturated-surrogate": Trained((0.05,)),
    "detached-reset": Trained((1.0,), "detached"),
    "one-width": Trained((1.0,)),
    "random-widths": Trained((0.25, 0.5, 1.0, 2.0)),
}


def train_small(name: str, how: Trained, epochs: int = 30) -> FloatNetwork:
    """Train a small network on the shipped images that are not attacked.

    Gradients of the attack it is trained against are taken as ``how`` says; those of its weights go
    through the reset and a slope as wide as the threshold, as ever.
    """
    import torch

    from spikeproof_models.datasets import ImageSet
    from spikeproof_models.networks import SpikingNetwork
    from spikeproof_models.neurons import LifLayer
    from spikeproof_models.recipe import NetworkConfig, PerturbationConfig, Recipe
    from spikeproof_models.training.loop import make_optimiser
    from spikeproof_models.training.steps import batches, seeded, training_loss

    recipe = Recipe(
        name=name,
        network=NetworkConfig(architecture="mlp", hidden=(40, 32)),
        perturbation=PerturbationConfig(
            mode="pgd", steps=3, step=4, surrogate_widths=how.widths, random_start=True
        ),
    )
    torch.manual_seed(recipe.seed)
    model = SpikingNetwork(recipe.build_network())
    for layer in model.layers:
        if isinstance(layer, LifLayer):
            layer.estimator = Estimator(1.0, "detached" if how.reset == "detached" else "attached")
    optimiser = make_optimiser(model, recipe.optimiser)
    images = ImageSet(*_training_images())
    attack, device = recipe.perturbation.attack(), torch.device("cpu")
    steps = epochs * -(-len(images) // recipe.optimiser.batch_size)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    model.train()
    for epoch in range(epochs):
        generator = seeded(recipe.seed, epoch, 2)
        for x, y in batches(images, recipe, epoch, device):
            optimiser.zero_grad()
            loss = training_loss(model, x, y, recipe, attack, generator)
            loss.backward()
            optimiser.step()
            rate.step()
    model.eval()
    return model.export()


def _training_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    parts = []
    for path, start in ((zoo_calibration(), 0), (zoo_images(), HELD)):
        x, y = load_data(path, (1, 28, 28))
        assert y is not None, f"{path} has no labels"
        parts.append((np.asarray(x[start:]), np.asarray(y[start:], np.int64)))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _folder() -> Path:
    return shipped_folder().parent / FOLDER


# --- the table -----------------------------------------------------------------------------------


def kinds() -> dict[str, Callable[[], Victim]]:
    """Return how to make each network of the table, by its name there."""

    def of(path: Path) -> FloatNetwork:
        return load_checkpoint(path).network

    base = partial(of, zoo_networks()[BASE])
    return {
        **{name: partial(_shipped, path) for name, path in zoo_networks().items()},
        "logit scaling": lambda: _victim(scaled_logits(base())),
        "quantised input": lambda: _victim(quantised_input(base())),
        "shattered threshold": lambda: _victim(shattered_threshold(base())),
        "random coding at inference": lambda: RandomCoding(base(), fold(base())),
        **{
            name.replace("-", " "): partial(_shipped, _folder() / f"{name}.ckpt")
            for name in TRAINED
        },
    }


def _shipped(path: Path) -> Victim:
    return _victim(load_checkpoint(path).network)


def _victim(network: FloatNetwork) -> Victim:
    return Victim(network, fold(network))


def judge_masked(victim: Victim, suite: Suite, images: int, name: str = "network") -> Judged:
    """Examine and judge one network on the first shipped test images."""
    x, y = load_data(zoo_images(), victim.network.input_shape)
    assert y is not None
    x, labels = x[:images], np.asarray(y[:images], np.int64)
    with inner_threads(1):
        return judge_examined(name, examine(victim, suite, x, labels, RADII))


def row(name: str, judged: Judged) -> str:
    """Return a network's line of the table."""
    found = judged.examined
    clean, naive, left = (
        f"{100 * share:.0f}" if share is not None else "-"
        for share in (sum(found.clean) / found.samples, judged.naive, judged.left)
    )
    said = [f"**violated**, {a.name.partition(':')[0]}: {a.told}" for a in judged.violations]
    said += [a.told for a in judged.masking if a.name == "estimators agree"]
    if judged.misleading is not None:
        said.insert(0, f"PGD-7 misleading by {judged.misleading:.0f} points")
    return f"| {name} | {clean} | {naive} | {left} | {'; '.join(said) or 'nothing'} |"


def main(arguments: list[str] | None = None) -> None:
    """Examine all networks and print the table."""
    parser = argparse.ArgumentParser(prog="python -m spikeproof_models.masked", description=__doc__)
    parser.add_argument("--suite", default="sp-quick-1", choices=SUITES)
    parser.add_argument("--images", type=int, default=IMAGES, help="images per network")
    parser.add_argument("--only", nargs="+", help="names of networks; default: all")
    parser.add_argument("--train", action="store_true", help="train the small networks anew")
    given = parser.parse_args(arguments)
    if given.train:
        _folder().mkdir(exist_ok=True)
        for name, how in TRAINED.items():
            with inner_threads(1, load="torch"):
                network = train_small(name, how)
            save_checkpoint(_folder() / f"{name}.ckpt", Checkpoint(network))
            sys.stderr.write(f"{name} trained\n")
    suite = SUITES[given.suite]
    sys.stdout.write(f"| network | unperturbed | PGD-7 | {suite.name} | V6 |\n")
    sys.stdout.write("|---|---:|---:|---:|---|\n")
    for name, make in kinds().items():
        if given.only and name not in given.only:
            continue
        sys.stdout.write(row(name, judge_masked(make(), suite, given.images, name)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
