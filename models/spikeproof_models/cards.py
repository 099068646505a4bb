"""Measure trained networks on the test images and write their cards (Markdown and JSON).

Clean and noisy images are all there are; the weak attack of the suites is run on the first 1 000,
in the same chunks and with the same seed, so that ``spikeproof verify`` gives the same figures.

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

from spikeproof.attacks.registry import ATTACKS
from spikeproof.attacks.weak import TRANSFER, WEAK
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import run_float
from spikeproof.errors import SpikeproofError
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint
from spikeproof.io.container import content_hash
from spikeproof.io.data import load_data
from spikeproof.io.files import read_bytes, write_atomic
from spikeproof.io.zoo import zoo_calibration, zoo_networks
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork, Lif
from spikeproof.text import accuracy_figure
from spikeproof.verify.config import load_config
from spikeproof.verify.perturbations import CHUNK, Perturbation, craft_chunk
from spikeproof.verify.statistics import exact_interval
from spikeproof_models.card import Card, CardRow, TestFigures
from spikeproof_models.datasets import ImageSet, load_dataset
from spikeproof_models.locations import recipes_dir
from spikeproof_models.recipe import load_recipe

STRENGTHS = (2, 4, 8)
ATTACKED = 1000
"""Images the gradient attacks are run on: all 10 000 would take hours on two cores."""
_BATCH = 500
Report = Callable[[str], None]
Right = dict[str, NDArray[np.bool_]]


def seed() -> int:
    """Return the seed of all random draws: that of the shipped suites."""
    return load_config("quick").seed


def plan(images: int) -> list[Perturbation]:
    """Return the perturbations of a card: all kinds that ship, at 2, 4 and 8 grey levels."""
    attacks = [WEAK.at(kind, strength) for kind in ATTACKS.shipped for strength in STRENGTHS]
    return [Perturbation(a, min(ATTACKED, images) if a.adversarial else images) for a in attacks]


def measure(
    network: FloatNetwork, chip: ChipNetwork, images: ImageSet, report: Report | None = None
) -> list[CardRow]:
    """Return how often the trained ("float") and the chip network are right, clean first.

    Images are perturbed on the trained network, projected to 8 bits, and shown to both.
    """
    clean = _right(network, chip, images.x, images.y)
    rows = [_row("clean", clean, clean)]
    for item in plan(len(images)):
        rows.append(_perturbed_row(item, network, chip, images, clean))
        if report is not None:
            row = rows[-1]
            shares = f"float {row.float_accuracy:.4f}, chip {row.chip_accuracy:.4f}"
            report(f"{network.name}: {item.name}: {shares} of {row.images} {row.estimators or ''}")
    return rows


def _perturbed_row(
    item: Perturbation, network: FloatNetwork, chip: ChipNetwork, images: ImageSet, clean: Right
) -> CardRow:
    found = [
        craft_chunk(item, network, images.x, images.y, start, seed=seed())
        for start in range(0, item.samples, CHUNK)
    ]
    shown = np.concatenate([part.images for part in found])
    right = _right(network, chip, shown, images.y[: item.samples])
    tried = {name: int(values.sum()) for name, values in found[0].right.items()}
    bits = np.packbits(right["float"][:CHUNK]).tobytes().hex()
    return _row(
        item.name,
        right,
        {name: values[: item.samples] for name, values in clean.items()},
        bound=WEAK.bound if item.attack.adversarial else "",
        estimators=tried,
        compared=len(found[0].images) if tried else 0,
        first_chunk=bits,
    )


def _right(
    network: FloatNetwork, chip: ChipNetwork, x: NDArray[np.uint8], y: NDArray[np.int64]
) -> Right:
    """Return which images each network gets right."""
    parts = [x[start : start + _BATCH] for start in range(0, len(x), _BATCH)]
    return {
        "float": np.concatenate([run_float(network, part).predictions for part in parts]) == y,
        "chip": FastEngine().run(chip, x).predictions == y,
    }


def _row(name: str, right: Right, clean: Right, **more: Any) -> CardRow:
    return CardRow(
        perturbation=name,
        images=len(right["float"]),
        float_right=int(right["float"].sum()),
        chip_right=int(right["chip"].sum()),
        clean_float_right=int(clean["float"].sum()),
        clean_chip_right=int(clean["chip"].sum()),
        **more,
    )


def make_card(
    checkpoint: Checkpoint, checkpoint_hash: str, images: ImageSet, report: Report | None = None
) -> Card:
    """Return the card of a network."""
    network = checkpoint.network
    calibration, _ = load_data(zoo_calibration(), network.input_shape)
    chip = convert_network(network, calibration).chip
    return Card(
        name=network.name,
        checkpoint=checkpoint_hash,
        parameters=sum(
            a.size for n in network.nodes for a in vars(n).values() if isinstance(a, np.ndarray)
        ),
        timesteps=network.timesteps,
        gains={
            n.name: [float(g) for g in n.gain]
            for n in network.nodes
            if isinstance(n, Lif) and n.gain is not None
        },
        training=checkpoint.training,
        test=TestFigures(
            images=len(images),
            sha256=images.content_hash(),
            seed=seed(),
            attack=WEAK.describe(),
            rows=measure(network, chip, images, report),
        ),
    )


def render(card: Card, recipe_name: str | None) -> str:
    """Return the card as Markdown."""
    test, training = card.test, card.training
    recipe = training["recipe"]
    held_out = recipe["data"]["held_out"]
    lines = [
        f"# {card.name}",
        "",
        f"{recipe['description']}. {card.parameters:,} numbers, {card.timesteps} timesteps.",
        "",
        "## Accuracy on test images (%)",
        "",
        "| perturbation | images | clean | trained | 95 % interval | chip | difference |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(_accuracy_row(row) for row in test.rows),
        "",
        "Trained: the float network; clean: it, on the same images unperturbed. Chip: its",
        "integers, converted with the shipped calibration images. Both see the same images,",
        "perturbed on the trained network and projected to the 8-bit grid: all "
        f"{test.images:,} test",
        "images, or the first of them. Noise is clipped to [0, 1]. Intervals: Clopper-Pearson.",
        "",
        f"**Figures under FGSM and PGD are an {WEAK.bound}. The shipped",
        "networks do not withstand adaptive attacks, which leave far less (see the README).** The",
        "attack is tried with each of its estimators (half-width of the surrogate, reset in the",
        f"backward pass), {' and '.join(member.name for member in WEAK.members)}; one success is "
        "enough. FGSM starts at the",
        f"image; PGD starts at a random point, takes {WEAK.steps} steps of 2.5 ε / {WEAK.steps} "
        "(at least one grey level) and",
        "keeps the point of highest loss, before rounding.",
        *_estimator_lines(card),
        *(["", TRANSFER] if _chip_ahead(card) else []),
        "",
        "## Training",
        "",
        f"* {training['training_images'] - held_out:,} of the {training['training_images']:,} "
        f"training images; the other {held_out:,} choose the epoch. The choice saw "
        "no test images.",
        f"* Epoch {training['selected_epoch']} of {recipe['optimiser']['epochs']}, "
        f"seed {recipe['seed']}, torch {training['torch']}.",
        f"* SHA-256 of the training data: `{training['training_data_sha256']}`",
        f"* SHA-256 of the checkpoint's content: `{card.checkpoint}`",
        *_gain_lines(card.gains),
        "",
        "| epoch | loss | " + " | ".join(_columns(training)) + " |",
        "|---|---|" + "---|" * len(_columns(training)),
        *_history(training),
        "",
        "## Make it again",
        "",
        "```",
        *([f"spikeproof train models/recipes/{recipe_name}"] if recipe_name else []),
        f"python -m spikeproof_models.cards {card.name}",
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
    identity = content_hash(read_bytes(checkpoint_path))
    card = make_card(checkpoint, identity, load_dataset(dataset, "test", data_dir), report)
    facts = card.model_dump(mode="json", by_alias=True)
    write_atomic(checkpoint_path.with_suffix(".json"), json.dumps(facts, indent=1, sort_keys=True))
    target = checkpoint_path.with_suffix(".md")
    write_atomic(target, render(card, recipe_file(card.name)))
    return target


def _accuracy_row(row: CardRow) -> str:
    name = f"{row.perturbation} ({row.bound})" if row.bound else row.perturbation
    low, high = map(accuracy_figure, exact_interval(row.float_right, row.images))
    trained, chip = accuracy_figure(row.float_accuracy), accuracy_figure(row.chip_accuracy)
    clean = accuracy_figure(row.clean_float_right / row.images)
    change = 100 * (row.chip_accuracy - row.float_accuracy)
    return (
        f"| {name} | {row.images:,} | {clean} | {trained} | {low} to {high} | "
        f"{chip} | {change:+.2f} |"
    )


def _estimator_lines(card: Card) -> list[str]:
    """Say what the attack leaves with the reset handled in one way and in the other."""
    row = card.test.rows[-1]
    if not row.compared:
        return []
    shares = " and ".join(f"{n} ({name})" for name, n in row.estimators.items())
    return [
        f"With one estimator alone, {row.perturbation} leaves of the first {row.compared} images",
        f"{shares} right: where these differ, gradients mislead an attack.",
    ]


def _chip_ahead(card: Card) -> bool:
    return any(row.bound and row.chip_right > row.float_right for row in card.test.rows)


def _columns(training: dict[str, Any]) -> list[str]:
    return [k for k in ("clean", "perturbed", "score") if k in training["history"][0]]


def _history(training: dict[str, Any]) -> list[str]:
    rows = []
    for entry in training["history"]:
        figures = [accuracy_figure(entry[k]) for k in _columns(training)]
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


def recipe_file(name: str) -> str | None:
    """Return the file of the shipped recipe of this name, or None."""
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
