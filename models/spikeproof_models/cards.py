"""Measure trained networks on the test images and write their cards (Markdown and JSON).

Clean and noisy images are all there are. On the first of them both networks are attacked with the
suite one publishes, as ``spikeproof verify --suite standard`` does, with the same seed.

``python -m spikeproof_models.cards [NAME ...]`` makes the cards of the networks in the zoo.
``--workers`` uses more processes; with ``--journal`` it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from spikeproof.attacks.suites import SP_STANDARD_1
from spikeproof.attacks.validity.plain import NAIVE_TITLE, naive_draws, naive_pgd
from spikeproof.attacks.victim import Victim
from spikeproof.attacks.weak import WEAK
from spikeproof.attacks.worst_case import CHIP, SIDES, TRAINED
from spikeproof.convert.fold import fold
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
from spikeproof.jobs.journal import Journal
from spikeproof.jobs.pool import Pool
from spikeproof.text import accuracy_figure
from spikeproof.verify.attacked import SURVIVED, Attacked, attack_base, attack_network
from spikeproof.verify.config import load_config
from spikeproof.verify.perturbations import CHUNK, Perturbation, craft_chunk
from spikeproof_models.card import Card, CardRow, TestFigures
from spikeproof_models.datasets import ImageSet, load_dataset
from spikeproof_models.recipe import Recipe, load_recipe

STRENGTHS = (2, 4, 8)
SUITE = SP_STANDARD_1
ATTACKED = 200
"""Images both networks are attacked on, each itself: a suite takes seconds for each."""
_BATCH = 500
Report = Callable[[str], None]
Right = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Where:
    """Where attacks are done: processes on this machine, and a folder that keeps results.

    checkpoint: the hash of what is attacked, so that no results of another network are taken over.
    """

    workers: int = 1
    journal: Path | None = None
    checkpoint: str = ""


def seed() -> int:
    """Return the seed of all random draws: that of the shipped suites."""
    return load_config("standard").seed


def plan(images: int) -> list[Perturbation]:
    """Return the noise of a card, at 2, 4 and 8 grey levels."""
    return [Perturbation(WEAK.at("gaussian", strength), images) for strength in STRENGTHS]


def measure(
    network: FloatNetwork,
    chip: ChipNetwork,
    images: ImageSet,
    report: Report | None = None,
    where: Where | None = None,
) -> list[CardRow]:
    """Return how often the trained ("float") and the chip network are right, clean first."""
    clean = _right(network, chip, images.x, images.y)
    rows = [_row("clean", clean, clean)]
    for item in plan(len(images)):
        found = [
            craft_chunk(item, network, images.x, images.y, start, seed=seed())
            for start in range(0, item.samples, CHUNK)
        ]
        shown = np.concatenate([part.images for part in found])
        rows.append(_row(item.name, _right(network, chip, shown, images.y), clean))
    rows += _worst_rows(network, chip, images, where or Where())
    if report is not None:
        for row in rows:
            shares = f"float {row.float_accuracy:.4f}, chip {row.chip_accuracy:.4f}"
            report(f"{network.name}: {row.perturbation}: {shares} of {row.images}")
    return rows


def _worst_rows(
    network: FloatNetwork, chip: ChipNetwork, images: ImageSet, where: Where
) -> list[CardRow]:
    """Attack both networks, and count who is right whatever was found on either."""
    x, y = images.x[:ATTACKED], images.y[:ATTACKED]
    clean = _right(network, chip, x, y)
    victims = {TRAINED: Victim(network, fold(network)), CHIP: Victim(chip)}
    attacked = {side: _attacked(victims[side], side, x, y, where) for side in SIDES}
    right = dict(clean)
    rows = []
    for r, radius in enumerate(STRENGTHS):
        for side in SIDES:
            shown = _right(network, chip, attacked[side].found[r], y)
            right = {name: right[name] & shown[name] for name in right}
        draws = naive_draws(seed(), radius, np.arange(len(x)), x.shape[1:])
        naive = naive_pgd(victims[TRAINED], x, y, radius, draws)
        withstood = attacked[TRAINED].by[r] == SURVIVED
        rows.append(
            _row(
                f"worst case {radius}/255",
                right,
                clean,
                bound=f"upper bound: {SUITE.name}",
                naive_right=int((clean["float"] & _right(network, chip, naive, y)["float"]).sum()),
                withstood=np.packbits(withstood).tobytes().hex(),
            )
        )
    return rows


def _attacked(
    victim: Victim, side: str, x: NDArray[np.uint8], y: NDArray[np.int64], where: Where
) -> Attacked:
    """Run the suite on one network, in the folder of its own if results are kept."""
    radii = list(STRENGTHS)
    with contextlib.ExitStack() as stack:
        journal = None
        if where.journal is not None:
            name = f"{victim.network.name}-{side}"
            base = attack_base(f"{name} {where.checkpoint}", x, y, SUITE, radii, seed())
            journal = stack.enter_context(Journal(where.journal / name, base))
        pool = stack.enter_context(Pool(where.workers, None))
        return attack_network(victim, SUITE, x, y, radii, seed=seed(), pool=pool, journal=journal)


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
    checkpoint: Checkpoint,
    checkpoint_hash: str,
    images: ImageSet,
    report: Report | None = None,
    where: Where | None = None,
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
            suite=SUITE.describe(),
            rows=measure(
                network,
                chip,
                images,
                report,
                replace(where or Where(), checkpoint=checkpoint_hash),
            ),
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
        suite=SUITE.name,
        naive=NAIVE_TITLE,
        recipe_name=recipe_name,
    )


def write_card(
    checkpoint_path: Path,
    report: Report | None = None,
    data_dir: Path | None = None,
    where: Where | None = None,
) -> Path:
    """Measure a checkpoint and write NAME.md and NAME.json beside it; return the Markdown."""
    checkpoint = load_checkpoint(checkpoint_path)
    recipe = Recipe.model_validate(checkpoint.training.recipe)
    images = load_dataset(recipe.data.dataset, "test", data_dir)
    content = content_hash(read_bytes(checkpoint_path))
    card = make_card(checkpoint, content, images, report, where)
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
    parser.add_argument("--workers", type=int, default=1, help="processes for the attacks")
    parser.add_argument("--journal", type=Path, help="folder that keeps the attacks' results")
    given = parser.parse_args(arguments)
    known = zoo_networks()
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"no network {', '.join(unknown)} in the zoo; it holds {', '.join(known)}")
    try:
        for name in given.names or known:
            write_card(known[name], _tell, given.data_dir, Where(given.workers, given.journal))
    except SpikeproofError as error:
        parser.error(str(error))


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
