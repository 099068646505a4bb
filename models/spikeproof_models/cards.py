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
from jinja2 import Environment, PackageLoader, StrictUndefined
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
from spikeproof.io.record import EpochRecord, TrainingRecord
from spikeproof.io.zoo import shipped_folder, zoo_calibration, zoo_networks
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork, Lif
from spikeproof.text import accuracy_figure
from spikeproof.verify.config import load_config
from spikeproof.verify.perturbations import CHUNK, Perturbation, craft_chunk
from spikeproof_models.card import Card, CardRow, TestFigures
from spikeproof_models.datasets import ImageSet, load_dataset
from spikeproof_models.recipe import Recipe, load_recipe

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
        bound=WEAK.bound_of(item.attack),
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
        training=checkpoint.training.document,
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
    training = TrainingRecord.model_validate(card.training)
    environment = Environment(
        loader=PackageLoader("spikeproof_models"),
        autoescape=False,  # Markdown of our own figures and recipes
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["accuracy"] = accuracy_figure
    first = (training.history or [EpochRecord(epoch=1)])[0]
    return environment.get_template("card.md.j2").render(
        card=card,
        training=training,
        figures=[k for k in ("clean", "perturbed", "score") if getattr(first, k) is not None],
        chip_ahead=any(row.bound and row.chip_right > row.float_right for row in card.test.rows),
        weak=WEAK,
        transfer=TRANSFER,
        recipe_name=recipe_name,
    )


def write_card(
    checkpoint_path: Path, report: Report | None = None, data_dir: Path | None = None
) -> Path:
    """Measure a checkpoint and write NAME.md and NAME.json beside it; return the Markdown."""
    checkpoint = load_checkpoint(checkpoint_path)
    recipe = Recipe.model_validate(checkpoint.training.recipe)
    images = load_dataset(recipe.data.dataset, "test", data_dir)
    card = make_card(checkpoint, content_hash(read_bytes(checkpoint_path)), images, report)
    facts = card.model_dump(mode="json", by_alias=True)
    write_atomic(checkpoint_path.with_suffix(".json"), json.dumps(facts, indent=1, sort_keys=True))
    target = checkpoint_path.with_suffix(".md")
    write_atomic(target, render(card, recipe_file(card.name)))
    return target


def recipe_file(name: str) -> str | None:
    """Return the file of the shipped recipe of this name, or None."""
    for path in sorted(shipped_folder("recipes").glob("*.toml")):
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
