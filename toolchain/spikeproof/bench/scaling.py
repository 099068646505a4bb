"""How cost and memory grow with steps, neurons and synapses: each point in a process of its own."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from spikeproof.bench.document import SCHEMA, Axis, Line, Point, Scaling, Series
from spikeproof.bench.nets import BenchNet, conv_net, mlp_net, random_spikes
from spikeproof.document.values import dump
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.trace import Progress
from spikeproof.errors import TargetError
from spikeproof.io.files import write_atomic
from spikeproof.io.marks import GENERATOR
from spikeproof.ir import chip

_SAMPLES = 16
_SECONDS = 1.0
_SIZES: dict[Axis, tuple[int, ...]] = {
    "timesteps": (8, 16, 32, 64, 128, 256, 512),
    "neurons": (14, 28, 56, 112, 224),
    "synapses": (256, 512, 1024, 2048, 4096, 6144),
}
_QUICK: dict[Axis, tuple[int, ...]] = {
    "timesteps": (8, 32),
    "neurons": (14, 28),
    "synapses": (256, 512),
}


_start_bytes = [0]


def network_of(axis: Axis, size: int) -> BenchNet:
    """Return a network that is larger along one axis.

    timesteps: 784-512-10 for ``size`` steps. neurons: the convolutional network on size x size
    spikes (weights stay the same but for the last layer). synapses: 784-size-size-10.
    """
    if axis == "timesteps":
        return mlp_net(timesteps=size)
    return conv_net(size=size) if axis == "neurons" else mlp_net((size, size, 10))


def count_synapses(network: chip.ChipNetwork) -> int:
    """Count connections between neurons: a kernel's weights once per place, borders included."""
    return sum(layer.connections for layer in network.layers)


def measure_point(network: chip.ChipNetwork, seconds: float = _SECONDS) -> Point:
    """Run a network of spike input in this process: median of the calls that fit ``seconds``."""
    engine, rng = FastEngine(), np.random.default_rng(0)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 4 or time.perf_counter() - begin < seconds:
        x = random_spikes(rng, _SAMPLES, network.timesteps, network.input_shape)
        start = time.perf_counter()
        engine.run(network, x)
        times.append(time.perf_counter() - start)
    peak = _peak()
    return Point(
        timesteps=network.timesteps,
        neurons=sum(layer.neurons for layer in network.layers),
        synapses=count_synapses(network),
        seconds=float(np.median(times[1:])) / _SAMPLES,
        peak_bytes=peak,
        own_bytes=peak - _start_bytes[0],
    )


def measure_scaling(*, quick: bool = False, progress: Progress | None = None) -> Scaling:
    """Measure all axes and fit cost = fixed + slope * size to each.

    Raises:
        TargetError: a process died, most likely for want of memory.
    """
    sizes = _QUICK if quick else _SIZES
    total, done = sum(map(len, sizes.values())), 0
    series = []
    for axis, values in sizes.items():
        points = []
        for size in values:
            # Built here, so that fitting thresholds is no part of the child's memory.
            network = network_of(axis, size).network
            points.append(_in_child(network, 0.05 if quick else _SECONDS, f"{axis} at {size}"))
            done += 1
            if progress:
                progress(done, total)
        series.append(Series(axis=axis, fit=line(axis, points), points=points))
    return Scaling(
        schema_version=SCHEMA, generator=GENERATOR, samples_per_call=_SAMPLES, series=series
    )


def line(axis: Axis, points: Sequence[Point]) -> Line:
    """Fit fixed + slope x size to the seconds per sample, all points alike in relative terms.

    Where the largest deviation is small, cost grows linearly.
    """
    size = np.array([p.size(axis) for p in points], np.float64)
    seconds = np.array([p.seconds for p in points], np.float64)
    columns = np.stack([np.ones_like(size), size], axis=1) / seconds[:, None]
    (fixed, slope), *_ = np.linalg.lstsq(columns, np.ones_like(size), rcond=None)
    deviation = np.abs((fixed + slope * size) / seconds - 1).max()
    return Line(
        fixed_seconds=float(fixed),
        seconds_per_unit=float(slope),
        largest_deviation=float(deviation),
    )


def write_scaling(document: Scaling, path: Path) -> list[Path]:
    """Write the drawing to ``path`` and the figures beside it as JSON; return both paths."""
    from spikeproof.bench.scaling_plot import draw

    figures = path.with_suffix(".json")
    write_atomic(figures, json.dumps(dump(document), indent=1) + "\n")
    write_atomic(path, draw(document))
    return [path, figures]


def _in_child(network: chip.ChipNetwork, seconds: float, label: str) -> Point:
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            pool.submit(_note_start).result()
            return pool.submit(measure_point, network, seconds).result()
    except BrokenProcessPool as error:
        raise TargetError(
            "the process that measured it died, most likely for want of memory",
            where=f"bench --scaling, {label}",
        ) from error


def _note_start() -> None:
    """Load and run everything once, then remember what that took."""
    tiny = mlp_net((32, 10), inputs=32, timesteps=4)
    FastEngine().run(tiny.network, tiny.draw(np.random.default_rng(0), 2))
    _start_bytes[0] = _peak()


def _peak() -> int:
    """Return the largest memory this process has held, in bytes.

    Linux counts what the parent held into a child's ru_maxrss, so it is read elsewhere there.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
