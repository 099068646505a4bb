"""Measure what Lava's CPU backend takes per unrolled synapse: memory of all processes, and time.

    python tests/benchmarks/lava_cost.py

Each network of the first table is one spiking convolution on random spikes; those of the second are
small and have many processes: layers of 16 neurons that each read up to so many layers before.
Memory is the proportional set size, summed over this process's descendants, at its highest; shared
pages count once. Time is processor time of all of them, which a busy machine disturbs less than a
clock, between the end of the first sample and that of the last; what was used before, less the
first sample, went into the start.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

from spikeproof.ir import chip
from spikeproof_lava.estimate import (
    count_all_synapses,
    count_processes,
    memory_bytes,
    run_seconds,
)
from spikeproof_lava.run import Task, run_many

SIZES = ((8, 16), (32, 16), (64, 24), (96, 24))
"""Channels and size of the map."""
STEPS, SAMPLES = 4, 9
GRAPHS = ((8, 1), (8, 2), (16, 2), (16, 3))
"""Layers, and how many before it each reads."""


def network(channels: int, size: int) -> chip.ChipNetwork:
    """Return a convolution of so many channels to as many, 3x3."""
    rng = np.random.default_rng(channels)
    weight = (2 * rng.integers(-40, 41, (channels, channels, 3, 3))).astype(np.int16)
    synapse = chip.ConvSynapse(weight, (channels, size, size), padding=(1, 1))
    neuron = chip.LifNeuron(60 * int(channels**0.5), 41, np.zeros((1, 1, 1), np.int32))
    layer = chip.ChipLayer("l1", (chip.Connection(synapse),), neuron, (channels, size, size))
    return chip.ChipNetwork("n", (channels, size, size), STEPS, (layer,), "spikes")


def graph(layers: int, sources: int) -> chip.ChipNetwork:
    """Return layers that each read the ones before, as many as there are up to ``sources``."""
    rng, width = np.random.default_rng(0), 16

    def reads(position: int) -> chip.Connection:
        weight = (2 * rng.integers(-20, 30, (width, width))).astype(np.int16)
        source = chip.INPUT if position < 0 else f"l{position}"
        return chip.Connection(chip.DenseSynapse(weight), source)

    neuron = chip.LifNeuron(200, 41, np.zeros(1, np.int32))
    found = [
        chip.ChipLayer(f"l{i}", tuple(map(reads, range(max(-1, i - sources), i))), neuron, (width,))
        for i in range(layers)
    ]
    return chip.ChipNetwork("n", (1, 1, width), STEPS, tuple(found), "spikes")


class Watch:
    """Look at the memory of all descendants, again and again, until told to stop."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            self.peak = max(self.peak, sum(map(_memory, _descendants(os.getpid()))))


def _descendants(process: int) -> list[int]:
    children = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            children += [int(word) for word in (task / "children").read_text().split()]
    return [found for child in children for found in (child, *_descendants(child))]


def _memory(process: int) -> int:
    with suppress(OSError, IndexError):
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        return next(int(x.split()[1]) << 10 for x in text.splitlines() if x.startswith("Pss:"))
    return 0


def _processor_seconds() -> float:
    """Return what all descendants that still run have used."""
    ticks = 0
    for process in _descendants(os.getpid()):
        with suppress(OSError):
            words = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
            ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(net: chip.ChipNetwork, samples: int) -> tuple[int, float, float, float]:
    """Return memory at its highest, seconds to build, and those of a step: used, and estimated."""
    x = np.random.default_rng(0).random((samples, STEPS, *net.input_shape)) < 0.1
    used: list[float] = []
    with Watch() as watch:
        run_many(
            [Task(net, x.astype(np.uint8))],
            timeout=3600,
            progress=lambda done, of: used.append(_processor_seconds()),
        )
    step = (max(used) - used[0]) / (STEPS * (samples - 1))
    told = (run_seconds(net, samples) - run_seconds(net, 1)) / (STEPS * (samples - 1))
    return watch.peak, used[0] - step * STEPS, step, told


def main() -> None:
    """Print both tables."""
    write = sys.stdout.write
    write("| synapses | memory, MiB | estimated | to build, s | ms a step | estimated |\n")
    write("|---:|---:|---:|---:|---:|---:|\n")
    for channels, size in SIZES:
        net = network(channels, size)
        peak, build, step, told = measure(net, SAMPLES)
        write(
            f"| {count_all_synapses(net):,} | {peak >> 20:,} | {memory_bytes(net) >> 20:,} "
            f"| {build:.1f} | {step * 1e3:.1f} | {told * 1e3:.1f} |\n"
        )
        sys.stdout.flush()
    write(
        "\n| layers | connections | processes | memory, MiB | estimated | ms a step | estimated |\n"
    )
    write("|---:|---:|---:|---:|---:|---:|---:|\n")
    for layers, sources in GRAPHS:
        net = graph(layers, sources)
        peak, _, step, told = measure(net, 10 * SAMPLES)
        wired = sum(len(layer.inputs) for layer in net.layers)
        write(
            f"| {layers} | {wired} | {count_processes(net) + layers} | {peak >> 20:,} "
            f"| {memory_bytes(net) >> 20:,} | {step * 1e3:.1f} | {told * 1e3:.1f} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
