"""Make a bundle's reference answers, and check any engine against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import BundleError
from spikeproof.io.bundle import Bundle
from spikeproof.ir.chip import ChipNetwork
from spikeproof.simulate.reference import ReferenceEngine
from spikeproof.simulate.trace import Engine, LayerTrace


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
    """Build a bundle whose expected answers come from the reference simulator."""
    result = ReferenceEngine().run(network, stimulus, trace=True)
    return Bundle(network, record, stimulus, _answers(result.traces or {}))


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
