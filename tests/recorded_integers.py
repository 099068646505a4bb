"""Hashes of chip integers, and of what they answer, in a form that knows no class and no file.

``python tests/recorded_integers.py`` writes them to ``golden/recorded-integers.json`` again. Only
a change that is meant to alter integers may need that; say so where it is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from spikeproof import fixedpoint as fx
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import RunResult
from spikeproof.fuzz.draw.nasty import draw_chain
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.ir import chip

FILE = Path(__file__).parent / "golden" / "recorded-integers.json"
SEED, CASES, SAMPLES = 2026, 50, 20
OPTIONS = {
    # Without a search nothing depends on the order of a processor's sums.
    "plain": ConvertOptions(input_coding="bias", search=False, compensate=False),
    "plain-graded": ConvertOptions(input_coding="graded", search=False, compensate=False),
    "default": ConvertOptions(),
    "loihi": ConvertOptions(profile="loihi"),
}
SEARCHED = ("default", "loihi")
Facts = Iterator[tuple[str, Any]]


def integers(network: chip.ChipNetwork) -> Facts:
    """Name every number a chip network consists of, one after the other."""
    yield "network", (network.timesteps, network.input_shape, network.coding)
    for layer in network.layers:
        synapse, neuron = layer.synapse, layer.neuron
        yield "layer", (layer.name, layer.shape)
        if layer.host:
            yield "host offset", np.broadcast_to(layer.host.offset, layer.shape)
            yield "host shift", layer.host.shift
        yield from asdict(synapse).items()
        spiking = neuron.spiking
        yield "spiking", spiking
        yield "bias", np.broadcast_to(neuron.bias, layer.shape)
        yield "bias exponent", neuron.bias_exponent
        if not spiking:
            continue
        yield "du", neuron.du
        if isinstance(neuron, chip.GeneralLifNeuron):
            yield from asdict(neuron).items()
            continue
        for t in range(network.timesteps):
            table = isinstance(neuron, chip.TableLifNeuron)
            yield "leak", int(neuron.leak[t]) if table else fx.DECAY_ONE - neuron.dv
            yield "threshold", int(neuron.threshold[t]) if table else neuron.threshold << 6


def answers(result: RunResult) -> Facts:
    """Name every u, v, s and logit of a run."""
    for name, trace in (result.traces or {}).items():
        yield from ((f"{name}.u", trace.u), (f"{name}.v", trace.v))
        yield f"{name}.s", "none" if trace.s is None else trace.s
    yield from (("logits", result.logits), ("predictions", result.predictions))


def digest(facts: Facts) -> str:
    """Return half a SHA-256 of names, shapes and numbers; the type of an array does not count."""
    found = hashlib.sha256()
    for name, value in facts:
        if isinstance(value, np.ndarray):
            found.update(f"{name} {value.shape} ".encode() + value.astype("<i8").tobytes("C"))
        else:
            found.update(f"{name} {value} ".encode())
    return found.hexdigest()[:32]


@cache
def converted(name: str, choice: str) -> dict[str, str]:
    """Convert a shipped network, run it on the first shipped images, and hash both."""
    source = load_checkpoint(zoo_networks()[name]).network
    images, _ = load_data(zoo_calibration(), source.input_shape)
    network = convert_network(source, images, OPTIONS[choice]).chip
    x, _ = load_data(zoo_images(), source.input_shape)
    result = NumpyEngine().run(network, x[:SAMPLES], trace=True)
    return {"integers": digest(integers(network)), "answers": digest(answers(result))}


def drawn(index: int) -> dict[str, str]:
    """Draw a chain of the fuzz campaign, run it, and hash both."""
    case = draw_chain(SEED, index)
    result = ReferenceEngine().run(case.network, case.x, trace=True)
    return {"integers": digest(integers(case.network)), "answers": digest(answers(result))}


def choices() -> list[tuple[str, str]]:
    """Return every pair of a shipped network and options that can convert it."""
    board = ("plain", "plain-graded", "default")
    return [
        (name, choice)
        for name in sorted(zoo_networks())
        for choice in (board if "dlif" in name else OPTIONS)
    ]


def arithmetic() -> list[str]:
    """Say whose matrix products the searched scales were scored with, on what processors."""
    kinds = {str(p.get("architecture")) for p in threadpool_info() if p["user_api"] == "blas"}
    return [f"numpy {np.__version__}", *sorted(kinds)]


def record() -> dict[str, Any]:
    """Compute everything that the file holds."""
    return {
        "arithmetic": arithmetic(),
        "converted": {f"{name} {choice}": converted(name, choice) for name, choice in choices()},
        "drawn": [drawn(index) for index in range(CASES)],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(record(), indent=1) + "\n", encoding="utf-8")
