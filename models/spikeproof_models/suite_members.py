"""Measure what each member of a suite adds on the shipped networks, and what it costs.

``python -m spikeproof_models.suite_members`` prints the table of docs/attacks.md, after minutes: on
the first 200 shipped test images, the share in per cent that is still right after each member, and
the processor time per image of the whole suite. ``--chip`` attacks the integers themselves.

``--candidates`` tries other attacks, each alone, on the images that survive the suite, and prints
how many each breaks and what it costs: members of the next suite are chosen by it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.suites import SUITES, Suite
from spikeproof.attacks.victim import Victim
from spikeproof.convert.fold import fold
from spikeproof.convert.pipeline import convert_network
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.ir.floats import FloatNetwork
from spikeproof.jobs.threads import inner_threads
from spikeproof_models.suite_candidates import SURVIVORS, try_candidates

IMAGES = 200
_PART = 50
Column = tuple[list[float], float]
"""Shares that are right: unperturbed, and after each member; seconds per image."""


def measure(
    victim: Victim, suite: Suite, x: NDArray[np.uint8], y: NDArray[np.int64], epsilon: int
) -> Column:
    """Return what is left after each member at one radius, and the time an image took."""
    victim.predictions(x[:1])
    taken = []
    start = time.process_time()
    with inner_threads(1):
        for first in range(0, len(x), _PART):
            part = slice(first, first + _PART)
            names = range(first, first + len(x[part]))
            _, by = suite.run(victim, x[part], y[part], [epsilon], names=names)
            taken.append(by[0])
    seconds = (time.process_time() - start) / len(x)
    by = np.concatenate(taken)
    shares = [float((by != -2).mean())]
    for k in range(len(suite.members)):
        shares.append(shares[-1] - float((by == k).mean()))
    return shares, seconds


def table(suite: Suite, measured: dict[str, Column]) -> str:
    """Return the Markdown table; one column per network and radius."""
    lines = ["| | " + " | ".join(measured) + " |", "|---|" + "---:|" * len(measured)]
    titles = ["unperturbed", *(f"after {member.name}" for member in suite.members)]
    for i, title in enumerate(titles):
        cells = " | ".join(f"{100 * shares[i]:.1f}" for shares, _ in measured.values())
        lines.append(f"| {title} | {cells} |")
    cells = " | ".join(f"{1000 * seconds:.0f}" for _, seconds in measured.values())
    lines.append(f"| milliseconds of one core per image | {cells} |")
    return "\n".join(lines)


def _victim(network: FloatNetwork, chip: bool) -> Victim:
    if not chip:
        return Victim(network, fold(network))
    images, _ = load_data(zoo_calibration(), network.input_shape)
    return Victim(convert_network(network, images).chip)


def main(arguments: list[str] | None = None) -> None:
    """Measure the networks of the zoo and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m spikeproof_models.suite_members", description=__doc__
    )
    parser.add_argument("--suite", default="sp-quick-1", choices=SUITES)
    parser.add_argument("--epsilon", type=int, nargs="+", default=[4, 8], help="grey levels")
    parser.add_argument("--images", type=int, default=IMAGES, help="images per network")
    parser.add_argument("--chip", action="store_true", help="convert, and attack the integers")
    parser.add_argument("--candidates", action="store_true", help="try others on what survives")
    parser.add_argument("--survivors", type=int, default=SURVIVORS, help="at most so many images")
    parser.add_argument("--only", nargs="+", help="names of networks; default: all shipped")
    given = parser.parse_args(arguments)
    suite, measured = SUITES[given.suite], {}
    for name, path in zoo_networks().items():
        if given.only and name not in given.only:
            continue
        network = load_checkpoint(Path(path)).network
        x, y = load_data(zoo_images(), network.input_shape)
        if y is None:
            parser.error("the shipped images have no labels")
        victim = _victim(network, given.chip)
        if given.candidates:
            for epsilon in given.epsilon:
                labels, most = y.astype(np.int64), given.survivors
                lines = try_candidates(victim, suite, x, labels, epsilon, most)
                sys.stdout.write("\n".join([f"{name} {epsilon}/255:", "", *lines, "", ""]))
                sys.stdout.flush()
            continue
        x, labels = x[: given.images], y[: given.images].astype(np.int64)
        for epsilon in given.epsilon:
            found = measure(victim, suite, x, labels, epsilon)
            measured[f"{name} {epsilon}/255"] = found
            sys.stderr.write(f"{name} {epsilon}/255: {100 * found[0][-1]:.1f} % left\n")
    if not given.candidates:
        sys.stdout.write(table(suite, measured) + "\n")


if __name__ == "__main__":
    main()
