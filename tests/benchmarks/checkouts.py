"""Compare the fast engine of this checkout with that of another one, before and after a change.

    git worktree add /tmp/before COMMIT
    python tests/benchmarks/checkouts.py --before /tmp/before --wide
    python tests/benchmarks/checkouts.py --before /tmp/before mlp conv net.spk

``--wide`` runs convolutions of 16 to 512 channels; ``mlp`` and ``conv`` are networks of
``spikeproof bench``, and a bundle is any file both versions read. Each checkout runs in a process
of its own; they take turns in random order, and a ratio is made within a round, so that both see
the same machine. Where a process's memory happens to lie is worth some per cent for its whole
life, so several pairs of processes are started. Counted is processor time of one thread, which
other programs disturb less than a clock. The integers of both must be equal. Starting is the
processor time from a new process to the first sample's result, compiled code being on disk: what
is imported, loaded and prepared.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ((16, 32), (32, 32), (64, 32), (128, 16), (256, 8), (512, 4), (512, 2))
"""Channels and size of the map, as a VGG for 32x32 images has them."""
WORKER = """
import hashlib, sys, time
import numpy as np
from spikeproof.engines.fast import FastEngine
from spikeproof.ir import chip

def wide(channels, size):
    rng = np.random.default_rng(channels)
    weight = (2 * rng.integers(-40, 41, (channels, channels, 3, 3))).astype(np.int16)
    synapse = chip.ConvSynapse(weight, (channels, size, size), padding=(1, 1))
    if hasattr(chip, "Connection"):
        synapse = (chip.Connection(synapse),)
    neuron = chip.LifNeuron(60 * int(channels**0.5), 41, np.zeros((1, 1, 1), np.int32))
    layer = chip.ChipLayer("l1", synapse, neuron, (channels, size, size))
    return chip.ChipNetwork("n", (channels, size, size), 8, (layer,), "spikes")

def load(name):
    if name.endswith(".spk"):
        from spikeproof.io.bundle import load_bundle
        return load_bundle(name).network
    if name[0].isdigit():
        return wide(*map(int, name.split("x")[:2]))
    from spikeproof.bench import nets
    return getattr(nets, name + "_net")().network

def draw(count):
    if network.coding != "pixels":
        x = rng.random((count, network.timesteps, *network.input_shape)) < 0.1
        return x.astype(np.uint8)
    return rng.integers(0, 256, (count, *network.input_shape), dtype=np.uint8)

network = load(sys.argv[1])
rng = np.random.default_rng(0)
engine = FastEngine(1)
engine.run(network, draw(1))
started = time.process_time()
samples = int(sys.argv[2])
print(hashlib.sha256(engine.run(network, draw(samples)).logits.tobytes()).hexdigest(), flush=True)
print(started, flush=True)
for _ in sys.stdin:
    x = draw(samples)
    start = time.thread_time()
    engine.run(network, x)
    print((time.thread_time() - start) / samples, flush=True)
"""


@dataclass(frozen=True)
class Round:
    """Processor seconds before and after."""

    before: float
    after: float


class Checkout:
    """One version of the engine in a process that waits for its turn."""

    def __init__(self, root: Path, name: str, samples: int) -> None:
        packages = os.pathsep.join(str(root / part) for part in ("toolchain", "models", "deploy"))
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, name, str(samples)],
            env={**os.environ, "PYTHONPATH": packages},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answers = self._read()
        self.started = float(self._read())

    def _read(self) -> str:
        return _pipe(self._process.stdout).readline().strip()

    def seconds(self) -> float:
        """Run once and return the processor seconds of a sample."""
        _pipe(self._process.stdin).write("\n")
        _pipe(self._process.stdin).flush()
        return float(self._read())

    def close(self) -> None:
        """Let the process end."""
        _pipe(self._process.stdin).close()
        self._process.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("the process was started without a pipe")
    return pipe


def measure(before: Path, name: str, options: argparse.Namespace) -> str:
    """Return a row of the table: time a sample, time to start, and the ratios."""
    rounds: list[Round] = []
    starts: list[Round] = []
    for _ in range(options.pairs):
        old, new = Checkout(before, name, options.samples), Checkout(ROOT, name, options.samples)
        try:
            if old.answers != new.answers:
                raise SystemExit(f"{name}: the integers differ")
            starts.append(Round(old.started, new.started))
            rounds += [_turn(old, new) for _ in range(options.rounds)]
        finally:
            old.close()
            new.close()
    return f"| {Path(name).stem} | {_columns(rounds, 1e3)} | {_columns(starts, 1)} |"


def _turn(old: Checkout, new: Checkout) -> Round:
    """Return the seconds of both, whichever goes first."""
    if random.random() < 0.5:
        first = old.seconds()
        return Round(first, new.seconds())
    second = new.seconds()
    return Round(old.seconds(), second)


def _columns(rounds: Sequence[Round], scale: float) -> str:
    old = np.array([turn.before for turn in rounds])
    new = np.array([turn.after for turn in rounds])
    low, middle, high = np.percentile(old / new, (25, 50, 75))
    times = f"{np.median(old) * scale:.3g} | {np.median(new) * scale:.3g}"
    return f"{times} | {middle:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="mlp, conv or bundles")
    parser.add_argument("--wide", action="store_true", help="convolutions of 16 to 512 channels")
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=4)
    options = parser.parse_args()
    names = list(options.networks)
    if options.wide:
        names += [f"{channels}x{size}x{size}" for channels, size in SHAPES]
    sys.stdout.write("| network | before, ms a sample | after, ms a sample | times faster ")
    sys.stdout.write("| start before, s | start after, s | times faster |\n")
    sys.stdout.write("|---|---:|---:|---:|---:|---:|---:|\n")
    for name in names:
        sys.stdout.write(f"{measure(options.before, name, options)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
