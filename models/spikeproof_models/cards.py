"""Measure trained networks on all test images and write their cards (Markdown and JSON).

``python -m spikeproof_models.cards [NAME ...]`` makes the cards of the networks in the zoo.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks import FGSM, PGD, Attack, GaussianNoise, perturb_images, perturb_worst
from spikeproof.errors import SpikeproofError
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint
from spikeproof.io.container import content_hash
from spikeproof.io.data import load_data
from spikeproof.io.files import read_bytes, write_atomic
from spikeproof.io.zoo import zoo_calibration, zoo_networks
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork, Lif
from spikeproof.passes.convert import convert_network
from spikeproof.simulate.fast import FastEngine
from spikeproof.simulate.floats import run_float
from spikeproof_models.datasets import ImageSet, load_dataset
from spikeproof_models.locations import recipes_dir
from spikeproof_models.training.config import load_recipe

STRENGTHS = (2, 4, 8)
WIDTHS = (0.25, 0.5, 1.0)
SEED = 7
_BATCH = 500
Report = Callable[[str], None]
Figures = dict[str, dict[str, float]]


def attacks() -> list[Attack]:
    """Return the perturbations of a card: noise, FGSM and PGD-20 at 2, 4 and 8 grey levels."""
    found: list[Attack] = []
    for make in (GaussianNoise, FGSM, PGD):
        found += [make(levels / 255) for levels in STRENGTHS]
    return found


def measure(
    network: FloatNetwork, chip: ChipNetwork, images: ImageSet, report: Report | None = None
) -> Figures:
    """Return the accuracy of the trained ("float") and the chip network by perturbation label.

    Images are perturbed on the trained network, projected to 8 bits, and shown to both. FGSM and
    PGD may succeed with any of the surrogate widths in ``WIDTHS``.
    """
    figures: Figures = {"float": {}, "chip": {}}

    def note(label: str, x: NDArray[np.uint8]) -> None:
        for kind, predictions in (
            ("float", run_float(network, x).predictions),
            ("chip", FastEngine().run(chip, x).predictions),
        ):
            figures[kind][label] = float((predictions == images.y).mean())
        if report is not None:
            shares = ", ".join(f"{kind} {found[label]:.4f}" for kind, found in figures.items())
            report(f"{network.name}: {label}: {shares}")

    note("clean", images.x)
    for attack in attacks():
        note(attack.label, _perturbed(attack, network, images))
    return figures


def _perturbed(attack: Attack, network: FloatNetwork, images: ImageSet) -> NDArray[np.uint8]:
    if isinstance(attack, GaussianNoise):
        return perturb_images(attack, network, images.x, images.y, seed=SEED, batch_size=_BATCH)
    return perturb_worst(
        attack, network, images.x, images.y,
        seed=SEED, surrogate_widths=WIDTHS, batch_size=_BATCH,
    )  # fmt: skip


def make_card(checkpoint: Checkpoint, images: ImageSet, report: Report | None) -> dict[str, Any]:
    """Return the card's facts as JSON."""
    network, training = checkpoint.network, checkpoint.training
    calibration, _ = load_data(zoo_calibration(), network.input_shape)
    chip = convert_network(network, calibration).chip
    figures = measure(network, chip, images, report)
    return {
        "schema": 1,
        "name": network.name,
        "parameters": sum(
            a.size for n in network.nodes for a in vars(n).values() if isinstance(a, np.ndarray)
        ),
        "timesteps": network.timesteps,
        "gains": {
            n.name: [float(g) for g in n.gain]
            for n in network.nodes
            if isinstance(n, Lif) and n.gain is not None
        },
        "training": training,
        "test": {
            "images": len(images),
            "sha256": images.content_hash(),
            "seed": SEED,
            "accuracy": figures["float"],
            "chip_accuracy": figures["chip"],
        },
    }


def render(card: dict[str, Any], recipe_file: str | None) -> str:
    """Return the card as Markdown."""
    recipe, training = card["training"]["recipe"], card["training"]
    rows = [_accuracy_row(card, "clean")] + [
        _accuracy_row(card, f"{kind} {s}/255")
        for kind in ("gaussian", "fgsm", "pgd-20")
        for s in STRENGTHS
    ]
    held_out = recipe["data"]["held_out"]
    lines = [
        f"# {card['name']}",
        "",
        f"{recipe['description']}. {card['parameters']:,} numbers, {card['timesteps']} timesteps.",
        "",
        f"## Accuracy on all {card['test']['images']:,} test images (%)",
        "",
        "| perturbation | trained | chip | difference |",
        "|---|---:|---:|---:|",
        *rows,
        "",
        "Trained: the float network. Chip: its integers, converted with the shipped calibration",
        "images. Both see the same images, perturbed on the trained network and projected to the",
        "8-bit grid. Noise is clipped to [0, 1]; FGSM starts at the image; PGD-20 starts at a",
        "random point, steps 2.5 ε / 20 (at least one grey level) and keeps the point of highest",
        "loss, before rounding. Both are tried with surrogate half-widths "
        + ", ".join(f"{w:g}" for w in WIDTHS)
        + "; one success is enough.",
        "Stronger attacks can only lower these figures; they are not certificates.",
        "",
        "## Training",
        "",
        f"* {training['training_images'] - held_out:,} of the {training['training_images']:,} "
        f"training images; the other {held_out:,} choose the epoch. The choice saw "
        "no test images.",
        f"* Epoch {training['selected_epoch']} of {recipe['optimiser']['epochs']}, "
        f"seed {recipe['seed']}, torch {training['torch']}.",
        f"* SHA-256 of the training data: `{training['training_data_sha256']}`",
        f"* SHA-256 of the checkpoint's content: `{card['checkpoint']}`",
        *_gain_lines(card["gains"]),
        "",
        "| epoch | loss | " + " | ".join(_columns(training)) + " |",
        "|---|---|" + "---|" * len(_columns(training)),
        *_history(training),
        "",
        "## Make it again",
        "",
        "```",
        *([f"spikeproof train models/recipes/{recipe_file}"] if recipe_file else []),
        f"python -m spikeproof_models.cards {card['name']}",
        "```",
        "",
        "Bits agree on one machine with one number of threads; elsewhere figures agree closely.",
        "",
    ]
    return "\n".join(lines)


def write_card(
    checkpoint_path: Path, report: Report | None = None, data_dir: Path | None = None
) -> Path:
    """Measure a checkpoint and write NAME.md and NAME.json beside it; return the Markdown."""
    checkpoint = load_checkpoint(checkpoint_path)
    dataset = checkpoint.training["recipe"]["data"]["dataset"]
    card = make_card(checkpoint, load_dataset(dataset, "test", data_dir), report)
    card["checkpoint"] = content_hash(read_bytes(checkpoint_path))
    write_atomic(checkpoint_path.with_suffix(".json"), json.dumps(card, indent=1, sort_keys=True))
    target = checkpoint_path.with_suffix(".md")
    write_atomic(target, render(card, _recipe_file(card["name"])))
    return target


def _accuracy_row(card: dict[str, Any], key: str) -> str:
    trained, chip = (100 * card["test"][k][key] for k in ("accuracy", "chip_accuracy"))
    return f"| {key} | {trained:.2f} | {chip:.2f} | {chip - trained:+.2f} |"


def _columns(training: dict[str, Any]) -> list[str]:
    return [k for k in ("clean", "perturbed", "score") if k in training["history"][0]]


def _history(training: dict[str, Any]) -> list[str]:
    rows = []
    for entry in training["history"]:
        figures = [f"{100 * entry[k]:.2f}" for k in _columns(training)]
        chosen = " (chosen)" if entry["epoch"] == training["selected_epoch"] else ""
        rows.append(
            "| "
            + " | ".join([f"{entry['epoch']}{chosen}", f"{entry['loss']:.4f}", *figures])
            + " |"
        )
    return rows


def _gain_lines(gains: dict[str, list[float]]) -> list[str]:
    return [
        f"* Gain of {name} per timestep: " + ", ".join(f"{g:.4f}" for g in values)
        for name, values in gains.items()
    ]


def _recipe_file(name: str) -> str | None:
    for path in sorted(recipes_dir().glob("*.toml")):
        if load_recipe(path).name == name:
            return path.name
    return None


def main(arguments: list[str] | None = None) -> None:
    """Write the cards of the named networks, or of all in the zoo."""
    parser = argparse.ArgumentParser(prog="python -m spikeproof_models.cards", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--data-dir", type=Path, help="folder of the data set's files")
    given = parser.parse_args(arguments)
    known = zoo_networks()
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"no network {', '.join(unknown)} in the zoo; it holds {', '.join(known)}")
    try:
        for name in given.names or known:
            write_card(known[name], _tell, given.data_dir)
    except SpikeproofError as error:
        parser.error(str(error))


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
