"""Make a bundle's reference answers, and check any engine against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import Engine, LayerTrace, RunResult
from spikeproof.errors import BundleError, TargetError
from spikeproof.io.bundle import Bundle
from spikeproof.io.record import BundleRecord, read_record
from spikeproof.ir.chip import ChipNetwork


@dataclass(frozen=True)
class SelfTest:
    """How many stored values were compared, and how many differed, per layer."""

    compared: int
    mismatches: dict[str, int]

    @property
    def passed(self) -> bool:
        """Tell whether something was compared and nothing differed."""
        return self.compared > 0 and not any(self.mismatches.values())


def make_bundle(
    network: ChipNetwork, record: dict[str, Any], stimulus: NDArray[np.uint8]
) -> Bundle:
    """Build a bundle whose expected answers are those of the reference simulator.

    Raises:
        BundleError: ``record``, plain JSON, is none of a bundle's.
    """
    held = read_record(BundleRecord, record, network.name)
    result = reference_traces(network, stimulus)
    return Bundle(network, held, stimulus, _answers(result.traces or {}))


def reference_traces(network: ChipNetwork, x: NDArray[np.uint8]) -> RunResult:
    """Return u, v and s of every layer as the reference has them, in a fraction of its time.

    The NumPy engine, which is proved equal, runs all samples; the reference runs the first one.

    Raises:
        TargetError: they differ there, with every layer: a defect, or a faulty machine.
    """
    result = NumpyEngine().run(network, x, trace=True)
    first = ReferenceEngine().run(network, x[:1], trace=True)
    found, expected = _states(result), _states(first)
    differing = [
        name for name, values in expected.items() if not np.array_equal(found[name][:1], values)
    ]
    if differing or not np.array_equal(first.logits, result.logits[:1]):
        raise TargetError(
            f"the NumPy engine differs from the reference in {', '.join(differing) or 'logits'}",
            where=network.name,
            hint="This is a defect, or a fault of this machine: please report it.",
        )
    return result


def _states(result: RunResult) -> dict[str, NDArray[Any]]:
    return {
        f"{name}/{key}": values
        for name, layer in (result.traces or {}).items()
        for key, values in vars(layer).items()
        if values is not None
    }


def self_test(bundle: Bundle, engine: Engine) -> SelfTest:
    """Run the stored stimulus on an engine and compare every stored value.

    Raises:
        BundleError: the engine does not return a layer the bundle expects, or another shape.
    """
    result = engine.run(bundle.network, bundle.stimulus, trace=True)
    found = _answers(result.traces or {})
    compared, mismatches = 0, dict.fromkeys(found, 0)  # in the order of the layers
    for name, expected in bundle.expected.items():
        if name not in found or found[name].shape != expected.shape:
            raise BundleError(f"engine {engine.name!r} returned no {name!r} of {expected.shape}")
        compared += expected.size
        mismatches[name] = int((found[name] != expected).sum())
    return SelfTest(compared, mismatches)


def _answers(traces: dict[str, LayerTrace]) -> dict[str, NDArray[Any]]:
    return {
        f"{name}/v" if t.s is None else f"{name}/s": t.v if t.s is None else t.s
        for name, t in traces.items()
    }
