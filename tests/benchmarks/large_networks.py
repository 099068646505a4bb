"""Time and memory of every step of the paper's networks at full width, as a user types them.

    python tests/benchmarks/large_networks.py vgg11 wrn16

Weights are random; every batch norm's statistics are those of the images, as training would have
left them, so that layers fire as trained ones do (told per network). Each step is a command of its
own: seconds by the clock, processor seconds and the largest resident memory are the command's,
from its first to its last moment. Files stay in ``--folder``; a step whose file is there already is
still measured again. A quarter of an hour and 5 GB each, or more on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stable_snn import State, logits, make_state, make_wide_state

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
NORM = ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]
STEPS = 4
SETTLED = 16
"""Images that the statistics of batch norms are taken from."""


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    clock: float
    processor: float
    gigabytes: float


def images(count: int, seed: int) -> NDArray[np.uint8]:
    """Draw smooth colour images (N, 3, 32, 32): neighbours are alike, as on photographs."""
    rng = np.random.default_rng(seed)
    whole = sum(
        np.kron(rng.normal(0, 1, (count, 3, side, side)), np.ones((32 // side, 32 // side)))
        for side in (4, 8, 16, 32)
    )
    return np.clip(128 + 32 * np.asarray(whole), 0, 255).astype(np.uint8)


def make(architecture: str, path: Path) -> float:
    """Write a state dict; return the share of neurons and steps that fire, hidden layers' mean."""
    import torch

    state: State = make_wide_state() if architecture == "wrn16" else make_state(architecture)
    v: dict[str, NDArray[np.float64]] = {}
    x = images(SETTLED, 1) / 255.0
    logits(state, x, STEPS, mean=MEAN, std=STD, settle=True, membranes=v)
    torch.save(state, path)
    return float(np.mean([(layer >= 1).mean() for layer in v.values()]))


def measure(arguments: list[str]) -> Cost:
    """Run one command to its end and return what it took.

    Raises:
        SystemExit: it failed otherwise than by a verdict.
    """
    start = time.perf_counter()
    command = [sys.executable, "-m", "spikeproof", *arguments]
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, used = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1, 3):
        raise SystemExit(f"{' '.join(arguments)}: exit {os.waitstatus_to_exitcode(status)}")
    clock = time.perf_counter() - start
    return Cost(clock, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)


def steps(architecture: str, folder: Path) -> dict[str, list[str]]:
    """Return what is measured, by the name it has in the table."""
    source, bundle = folder / f"{architecture}.pth", folder / f"{architecture}.spk"
    train, test = folder / "train.npz", folder / "test.npz"
    told = ["--from", "stable-snn", "--architecture", architecture, "--timesteps", str(STEPS)]
    given: dict[str, list[Any]] = {
        "convert": [source, *told, *NORM, "--calibration", train, "-o", bundle],
        "run, 20 images": [bundle, "--data", test, "--limit", 20, "--engine", "fast"],
        "verify, 20 images": [
            *(bundle, "--against", source, "--data", test, "--calibration", train),
            *("--limit", 20, "--engine", "fast", "-o", folder / f"{architecture}-verify"),
        ],
        "export": [bundle, "-o", folder / f"{architecture}.onnx"],
    }
    given["convert"].append("--force")
    given["export"].append("--force")
    return {name: [name.split(",")[0], *map(str, more)] for name, more in given.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architectures", nargs="+", choices=["vgg5", "vgg11", "wrn16"])
    parser.add_argument("--folder", type=Path, default=Path("large"))
    parser.add_argument("--only", help="this step alone: convert, run, verify or export")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 512), ("test", 40)):
        x = images(count, len(name))
        np.savez(options.folder / f"{name}.npz", x=x, y=np.arange(count) % 10)
    rows = ["| network | step | time, s | processor, s | memory, GB |", "|---|---|---:|---:|---:|"]
    for architecture in options.architectures:
        source = options.folder / f"{architecture}.pth"
        if not source.exists():
            rate = make(architecture, source)
            sys.stderr.write(f"{architecture}: {rate:.1%} of neurons and steps fire\n")
        for name, arguments in steps(architecture, options.folder).items():
            if options.only and not name.startswith(options.only):
                continue
            cost = measure(arguments)
            figures = f"{cost.clock:.0f} | {cost.processor:.0f} | {cost.gigabytes:.1f}"
            rows.append(f"| {architecture} | {name} | {figures} |")
            sys.stderr.write(f"{rows[-1]}\n")
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
