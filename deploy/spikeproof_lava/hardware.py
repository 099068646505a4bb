"""The Loihi 2 backend: the same network from standard Lava processes, compiled for the chip.

UNTESTED on hardware: Intel's extension (lava-loihi, members of its research community only) was
not available to us. The process graph itself is run on the CPU in our tests.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines.trace import RunResult
from spikeproof.errors import TargetError, UnsupportedError, list_problems
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.graph import source_name
from spikeproof.ir.readouts import FROM_SPIKES, settled
from spikeproof.text import counted
from spikeproof_lava.run import Task, run_many

EXTENSION_PARTS = ("utils/loihi2_profiler", "magma/core/model/nc", "magma/core/model/c")
"""Parts that Intel's extension adds to Lava's namespace."""

DECAY_REGISTER_MAX = 4095
"""Largest value of a 12-bit decay register; the simulators also take dv = 4096."""


def missing() -> list[str]:
    """List what this machine lacks for running on Loihi 2; nothing of Lava is imported."""
    spec = find_spec("lava")
    roots = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    absent = [] if roots else ["the package lava-nc"]
    for part in EXTENSION_PARTS:
        if not any((r / part).is_dir() or (r / f"{part}.py").is_file() for r in roots):
            absent.append(f"lava.{part.replace('/', '.')} (Intel's lava-loihi extension)")
    if find_spec("nxcore") is None:
        absent.append("the package nxcore (Intel's lava-loihi extension)")
    if not any(os.environ.get(key) for key in ("NXSDKHOST", "SLURM", "LOIHI_GEN")):
        absent.append("a host with a board (NXSDKHOST, or SLURM=1 with a partition)")
    return absent


def problems(network: ChipNetwork) -> list[str]:
    """List what in the network cannot go to the chip with standard processes.

    Source: Davies et al. 2018, IEEE Micro 38(1) (12-bit decays); docs/semantics.md, "Neuron".
    """
    found = [
        problem
        for index, layer in enumerate(network.layers)
        for problem in _layer_problems(network, index)
    ]
    last = network.layers[-1]
    given = FROM_SPIKES if last.neuron.spiking else ("last",)
    if settled(network.readout, last.neuron.spiking) not in given:
        found.append(
            f"layer {last.name}: its answer is the readout {network.readout!r}; a chip gives its "
            "spikes, or v after a sample's last step if it does not spike: use 'count', 'first' or "
            "'last'"
        )
    return found


def _layer_problems(network: ChipNetwork, index: int) -> list[str]:
    layer, found = network.layers[index], []
    if layer.neuron.program:
        found.append(
            f"{layer.neuron.title} neurons need own microcode; train "
            "with plain LIF neurons (reset to zero, one leak and threshold per layer), or a "
            "gain that is constant over time"
        )
    elif (dv := fx.DECAY_ONE - int(layer.neuron.leak_at(0))) > DECAY_REGISTER_MAX:
        found.append(
            f"dv is {dv}, the chip's decay register holds "
            f"0..{DECAY_REGISTER_MAX}; train with a leak of at least 1/4096"
        )
    for one in layer.inputs:
        if one.host is None and one.synapse.exponent < 0:
            found.append(
                f"weight exponent {one.synapse.exponent} floors the finished "
                "sum in Lava, and whether a chip drops the same bits is not published; use an "
                "exponent >= 0"
            )
        if one.lag:
            found.append(
                f"the connection from {source_name(one.source)} lags "
                f"{counted(one.lag, 'step')}: spikes under "
                "way at the end of a sample would reach the next one, and no standard process "
                "stops them (the CPU backend does)"
            )
    if layer.host:
        found += _host_problems(network, index)
    return [f"layer {layer.name}: {problem}" for problem in found]


def _host_problems(network: ChipNetwork, index: int) -> list[str]:
    """List why graded spikes, one per neuron and step, cannot carry the host's current.

    A spike of payload p over a weight of 1 adds p to the sum and 64 p to u, for one step if there
    is no synaptic filter: then it does what a bias of 64 p does, unless u wraps. Source:
    docs/semantics.md.
    """
    layer, found = network.layers[index], []
    neuron = layer.neuron
    if not fx.CURRENT_SHIFT <= neuron.bias_exponent <= fx.BIAS_EXPONENT_MAX:
        found.append(
            f"the host's current moves in steps of {1 << neuron.bias_exponent}, a spike adds "
            f"multiples of {fx.CURRENT_UNIT}; convert with --profile loihi"
        )
    if neuron.filters:
        found.append("its synaptic filter would smear a current that comes as spikes")
    carried = fx.BIAS_MANTISSA_MAX << max(0, neuron.bias_exponent - fx.CURRENT_SHIFT)
    reached = carried + sum(
        one.synapse.largest_shifted_sum(network.payload_of(source))
        for one, source in zip(layer.inputs, network.sources[index], strict=True)
        if one.host is None
    )
    if reached > fx.SUM_MAX:
        found.append(
            f"with the spikes that carry the host's current its sums can reach {reached:,}, and "
            f"beyond {fx.SUM_MAX:,} u wraps"
        )
    return found


def run(
    network: ChipNetwork, x: NDArray[np.uint8], *, trace: bool, timeout: float | None
) -> RunResult:
    """Run on the chip (untested); logits only, as recorders are Python processes.

    Raises:
        TargetError: the extension or a board is missing, with everything that is.
        UnsupportedError: the network needs own process models, or a trace was asked for.
    """
    absent = missing()
    if absent:
        raise TargetError(
            f"this machine cannot run Loihi 2: {list_problems(absent)}",
            where="backend loihi2",
            hint="Use the CPU backend (same integers), or install Intel's extension on a host "
            "with a board.",
        )
    found = problems(network) + (["recording u, v and s needs the CPU backend"] if trace else [])
    if found:
        raise UnsupportedError(
            list_problems(found),
            where=network.name,
            hint="Bundles of `spikeproof convert --profile loihi` (plain LIF networks) run there; "
            "recordings need the CPU backend.",
        )
    return run_many([Task(network, x, backend="loihi2")], timeout=timeout)[0]
