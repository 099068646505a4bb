"""Estimate what a run holds in memory, and refuse one that cannot fit before it starts.

A file of a few kilobytes can describe a network whose states fill any machine; without this check
the operating system ends the process, with no word on why. The estimate counts what every engine
must hold at the very least, so that a run that fits is never refused: between the estimate and
what an engine really takes lies a small factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

from spikeproof.errors import InputError
from spikeproof.ir.chip import INPUT_INDEX, ChipNetwork
from spikeproof.ir.graph import steps_together
from spikeproof.text import counted

_MEMINFO = Path("/proc/meminfo")
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
_ALWAYS_FITS = 16 << 20
"""Not worth the question, which would cost a small run more than its work."""
_STATE_BYTES = 8
"""u and v of a neuron, 32 bits each."""
_ANALYSIS_BYTES = 17 * 8
"""Bounds of a neuron's sum, bias, u and v, with what computing them holds: 64-bit numbers
(measured: 140 bytes for each of 2^20 neurons)."""
_WINDOW_BYTES = 8
"""An unfolded value of a convolution in float64."""
_TRACE_BYTES = 9
"""u, v and s of a neuron at one step, as a trace holds them."""


def sample_bytes(network: ChipNetwork) -> int:
    """Return the bytes that one sample needs where it needs most; the weights are there already.

    Counted are, for a layer or the layers of a cycle, the spikes (one byte each) that leave them or
    came before and will still be read, a 32-bit sum per neuron and step (on a cycle of one step),
    the states, and one step's unfolded windows of a convolution.
    """
    return max(size for _, size in _peaks(network))


def trace_bytes(network: ChipNetwork) -> int:
    """Return the bytes of one sample's u (4), v (4) and s (1) of every layer and step."""
    neurons = sum(layer.neurons for layer in network.layers)
    return _TRACE_BYTES * neurons * network.timesteps


def check_memory(
    network: ChipNetwork, samples: int, *, trace: bool = False, available: int | None = None
) -> None:
    """Raise InputError if one sample, or the traces that were asked for, cannot fit in memory.

    Args:
        network: a checked network.
        samples: how many samples are run; only their traces add up, batches do not.
        trace: whether the u, v and s of all samples stay in memory until the end.
        available: bytes that may be used; by default what the machine has free.
    """
    one, kept = sample_bytes(network), trace_bytes(network)
    wanted = one + (samples * kept if trace else 0)
    if wanted <= _ALWAYS_FITS:
        return
    free = available_bytes() if available is None else available
    if free is None or wanted <= free:
        return
    fitting = max(0, free - one) // kept
    if one <= free and fitting:
        raise InputError(
            f"the traces of {counted(samples, 'sample')} need {size_text(samples * kept)} "
            f"of memory, {size_text(kept)} each; {size_text(free)} are free",
            where=network.name,
            hint=f"Trace at most {counted(fitting, 'sample')} at a time (--limit), or run "
            "without a trace.",
        )
    need = one + (kept if trace else 0)
    raise InputError(
        f"one sample needs {size_text(need)} of memory ({_largest(network)}); "
        f"{size_text(free)} are free",
        where=network.name,
        hint="The network is too large for this machine: fewer timesteps, smaller layers, "
        "or a machine with more memory.",
    )


def analysis_bytes(network: ChipNetwork) -> int:
    """Return the bytes that certifying the largest layer's ranges holds at its peak."""
    return max(
        max(
            _ANALYSIS_BYTES * layer.neurons,
            *(_WINDOW_BYTES * one.synapse.unfolded(layer.neurons) for one in layer.inputs),
        )
        for layer in network.layers
    )


def check_analysis(network: ChipNetwork, samples: int = 0, *, available: int | None = None) -> None:
    """Raise InputError if a network's proofs, or its self-test, cannot fit in memory.

    To be called once the shapes are known and before any array of the neurons' shapes is made.

    Args:
        network: shapes that fit each other; nothing else of it needs to be legal.
        samples: how many samples its self-test is to have; their spikes are kept.
        available: bytes that may be used; by default what the machine has free.
    """
    neurons = sum(layer.neurons for layer in network.layers)
    kept = samples * (prod(network.sample_shape) + neurons * network.timesteps)
    check_fits(
        max(analysis_bytes(network), sample_bytes(network) if samples else 0) + kept,
        f"reading this network ({_largest(network)})",
        where=network.name,
        hint="Are its shapes what they should be? If so: fewer timesteps, or more memory.",
        available=available,
    )


def check_fits(
    wanted: int, what: str, *, where: str, hint: str, available: int | None = None
) -> None:
    """Raise InputError, before anything is built, if ``wanted`` bytes are more than there are.

    Args:
        wanted: bytes that will be needed at the very least.
        what: what needs them, the beginning of the message: "reading this network".
        where: the place, as in every error.
        hint: what to do about it.
        available: bytes that may be used; by default what the machine has free.
    """
    if wanted <= _ALWAYS_FITS:
        return
    free = available_bytes() if available is None else available
    if free is not None and wanted > free:
        raise InputError(
            f"{what} needs {size_text(wanted)} of memory; {size_text(free)} are free",
            where=where,
            hint=hint,
        )


def available_bytes() -> int | None:
    """Return the memory that may still be used: of the machine and of our container, if known."""
    known = [_machine(), *(_container(limit, used) for limit, used in _CGROUPS)]
    return min((k for k in known if k is not None), default=None)


def size_text(size: int) -> str:
    """Write a number of bytes for people: ``3.2 GiB``."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} bytes"


def _peaks(network: ChipNetwork) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield what runs together, in that order, with the bytes one sample needs meanwhile."""
    held = _sent_bytes(network, INPUT_INDEX)
    for group, spent in zip(*network.order, strict=True):
        stepwise = steps_together(network, group)
        own = [_layer_bytes(network, index, stepwise) for index in group]
        windows = max(
            one.synapse.unfolded(network.layers[i].neurons)
            for i in group
            for one in network.layers[i].inputs
        )
        yield group, held + sum(own) + 4 * windows
        held += sum(_sent_bytes(network, i) for i in group)
        held -= sum(_sent_bytes(network, i) for i in spent)


def _sent_bytes(network: ChipNetwork, source: int) -> int:
    """Return the bytes of what a source sends: pixels enter once, spikes at every step."""
    once = network.coding == "pixels" and source == INPUT_INDEX
    return prod(network.shape_of(source)) * (1 if once else network.timesteps)


def _layer_bytes(network: ChipNetwork, index: int, stepwise: bool) -> int:
    """Return the bytes of a layer's spikes, sums and states; the sum of pixels is made once."""
    layer = network.layers[index]
    once = network.coding == "pixels" and set(network.sources[index]) == {INPUT_INDEX}
    steps = 1 if once or stepwise else network.timesteps
    spikes = network.timesteps if layer.neuron.spiking else 0
    return layer.neurons * (spikes + 4 * steps + _STATE_BYTES)


def _largest(network: ChipNetwork) -> str:
    group, _ = max(_peaks(network), key=lambda peak: peak[1])
    layer = network.layers[max(group, key=lambda i: network.layers[i].neurons)]
    shape = "x".join(map(str, layer.shape))
    return f"largest layer {layer.name}: {shape} neurons, {counted(network.timesteps, 'step')}"


def _machine() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) << 10 if found else None


def _container(limit: Path, used: Path) -> int | None:
    """Return what the container leaves, or None if it sets no limit (or there is none)."""
    try:
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no such file, or the word "max"
        return None
