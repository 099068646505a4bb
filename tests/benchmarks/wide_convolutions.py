"""Compare the fast engine of two checkouts on convolutions of 16 to 512 channels.

    git worktree add /tmp/before COMMIT
    python tests/benchmarks/wide_convolutions.py --before /tmp/before

Each checkout runs in a process of its own; they take turns in random order, and a ratio is made
within a round, so that both see the same machine. Where a process's memory happens to lie is worth
some per cent for its whole life, so several pairs of processes are started. Counted is processor
time of one thread, which other programs disturb less than a clock. The integers of both must be
equal.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ((16, 32), (32, 32), (64, 32), (128, 16), (256, 8), (512, 4), (512, 2))
"""Channels and size of the map, as a VGG for 32x32 images has them."""
WORKER = """
import hashlib, sys, time
import numpy as np
from spikeproof.ir import chip
from spikeproof.engines.fast import FastEngine

channels, size, samples = map(int, sys.argv[1:])
rng = np.random.default_rng(channels)
weight = (2 * rng.integers(-40, 41, (channels, channels, 3, 3))).astype(np.int16)
synapse = chip.ConvSynapse(weight, (channels, size, size), padding=(1, 1))
neuron = chip.LifNeuron(60 * int(channels**0.5), 41, np.zeros((1, 1, 1), np.int32))
layer = chip.ChipLayer("l1", synapse, neuron, (channels, size, size))
network = chip.ChipNetwork("n", (channels, size, size), 8, (layer,), "spikes")
engine = FastEngine(1)
x = (rng.random((samples, 8, channels, size, size)) < 0.1).astype(np.uint8)
print(hashlib.sha256(engine.run(network, x).logits.tobytes()).hexdigest(), flush=True)
for _ in sys.stdin:
    x = (rng.random(x.shape) < 0.1).astype(np.uint8)
    start = time.thread_time()
    engine.run(network, x)
    print((time.thread_time() - start) / samples, flush=True)
"""


class Checkout:
    """One version of the engine in a process that waits for its turn."""

    def __init__(self, root: Path, channels: int, size: int, samples: int) -> None:
        packages = os.pathsep.join(str(root / part) for part in ("toolchain", "models", "deploy"))
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(channels), str(size), str(samples)],
            env={**os.environ, "PYTHONPATH": packages},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self) -> str:
        """Return the next line the process prints."""
        return _pipe(self._process.stdout).readline().strip()

    def seconds(self) -> float:
        """Run once and return the processor seconds of a sample."""
        _pipe(self._process.stdin).write("\n")
        _pipe(self._process.stdin).flush()
        return float(self.read())

    def close(self) -> None:
        """Let the process end."""
        _pipe(self._process.stdin).close()
        self._process.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("the process was started without a pipe")
    return pipe


def measure(before: Path, channels: int, size: int, options: argparse.Namespace) -> str:
    """Return a row of the table: how long a sample takes before and after, and the ratio."""
    times = np.array(
        [turn for _ in range(options.pairs) for turn in _pair(before, channels, size, options)]
    )
    low, middle, high = np.percentile(times[:, 0] / times[:, 1], (25, 50, 75))
    old, new = np.median(times, axis=0) * 1e3
    shape = f"{channels}x{size}x{size}"
    return f"| {shape} | {old:.3g} | {new:.3g} | {middle:.2f} [{low:.2f}, {high:.2f}] |"


def _pair(
    before: Path, channels: int, size: int, options: argparse.Namespace
) -> list[tuple[float, float]]:
    """Return the seconds of both checkouts in every round."""
    roots = [before, ROOT]
    both = [Checkout(root, channels, size, options.samples) for root in roots]
    try:
        first, second = (checkout.read() for checkout in both)
        if first != second:
            raise SystemExit(f"{channels} channels: the integers differ")
        found = []
        for _ in range(options.rounds):
            order = [0, 1]
            random.shuffle(order)
            turn = {k: both[k].seconds() for k in order}
            found.append((turn[0], turn[1]))
    finally:
        for checkout in both:
            checkout.close()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=4)
    options = parser.parse_args()
    sys.stdout.write("| map | before, ms a sample | after, ms a sample | times faster |\n")
    sys.stdout.write("|---|---:|---:|---:|\n")
    for channels, size in SHAPES:
        row = measure(options.before, channels, size, options)
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
