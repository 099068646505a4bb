"""Measure what each estimator adds to PGD at 8/255 on the shipped networks.

``python -m spikeproof_models.members`` prints the table of docs/attacks.md, after minutes: on the
first 200 shipped test images, the share in per cent each estimator leaves right alone, all
together, and the members of the weak attack.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks import PGD, Estimator, perturb_images
from spikeproof.attacks.weak import WEAK
from spikeproof.engines.floats import run_float
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_images, zoo_networks
from spikeproof.ir.floats import FloatNetwork
from spikeproof.jobs.threads import inner_threads

WIDTHS = (0.1, 0.25, 0.5, 1.0, 2.0)
ESTIMATORS = [Estimator(width, reset) for width in WIDTHS for reset in ("attached", "detached")]
IMAGES = 200
_STRENGTH = 8
_SEED = 5
Right = dict[Estimator, NDArray[np.bool_]]


def measure(network: FloatNetwork, x: NDArray[np.uint8], y: NDArray[np.int64]) -> Right:
    """Return which images the network gets right under each estimator, from the same starts."""
    attack = PGD(_STRENGTH, steps=WEAK.steps)
    found: Right = {}
    for estimator in ESTIMATORS:
        with inner_threads(1, load="torch"):  # the last bit of a gradient depends on it
            images = perturb_images(
                attack, network, x, y, seed=_SEED, estimator=estimator, batch_size=100
            )
        found[estimator] = run_float(network, images).predictions == y
    return found


def table(measured: dict[str, Right]) -> str:
    """Return the Markdown table; one column per network."""
    lines = [
        "| estimator (half-width, reset) | " + " | ".join(measured) + " |",
        "|---|" + "---:|" * len(measured),
    ]
    for estimator in ESTIMATORS:
        lines.append(_row(estimator.name, [right[estimator] for right in measured.values()]))
    for title, chosen in (
        ("all of them", ESTIMATORS),
        (f"{WEAK.name}: {' and '.join(m.name for m in WEAK.members)}", WEAK.members),
    ):
        left = [np.logical_and.reduce([r[e] for e in chosen]) for r in measured.values()]
        lines.append(_row(title, left))
    return "\n".join(lines)


def best(measured: dict[str, Right], size: int) -> tuple[Estimator, ...]:
    """Return the estimators that together leave least, summed over the networks."""
    return min(
        itertools.combinations(ESTIMATORS, size),
        key=lambda chosen: sum(
            int(np.logical_and.reduce([right[e] for e in chosen]).sum())
            for right in measured.values()
        ),
    )


def _row(title: str, columns: list[NDArray[np.bool_]]) -> str:
    return f"| {title} | " + " | ".join(f"{100 * c.mean():.1f}" for c in columns) + " |"


def main(arguments: list[str] | None = None) -> None:
    """Measure the networks of the zoo and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m spikeproof_models.members", description=__doc__
    )
    parser.add_argument("--images", type=int, default=IMAGES, help="images per network")
    given = parser.parse_args(arguments)
    measured: dict[str, Right] = {}
    for name, path in zoo_networks().items():
        network = load_checkpoint(Path(path)).network
        x, y = load_data(zoo_images(), network.input_shape)
        if y is None:
            parser.error("the shipped images have no labels")
        measured[name] = measure(network, x[: given.images], y[: given.images].astype(np.int64))
    sys.stdout.write(table(measured) + "\n")
    for size in (1, 2, 3):
        chosen = ", ".join(estimator.name for estimator in best(measured, size))
        sys.stdout.write(f"best {size}: {chosen}\n")


if __name__ == "__main__":
    main()
