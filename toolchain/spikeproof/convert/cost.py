"""What a profile costs: two conversions of one network, run on its calibration images.

Both run end to end, so the errors of all layers before count in each layer. The images are those
the roundings were fitted to; what holds beyond them is measured by ``verify``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.floats import run_float
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.io.record import LayerCost, ProfileCost
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
_CHUNK = 64


def profile_cost(
    profile: str,
    folded: FloatNetwork,
    default: ChipNetwork,
    chip: ChipNetwork,
    images: Images,
    labels: Labels | None,
) -> ProfileCost:
    """Run the trained network and both conversions of it on images (N, C, H, W), N >= 1."""
    engine, runs = NumpyEngine(), (default, chip)
    spiking = [layer.name for layer in chip.layers[:-1]]
    flips = np.zeros((len(runs), len(spiking)))
    right, same = np.zeros(1 + len(runs)), np.zeros(len(runs))
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK]
        trained = run_float(folded, part, trace=True)
        known = None if labels is None else labels[start : start + len(part)]
        right[0] += 0 if known is None else (trained.predictions == known).sum()
        for i, network in enumerate(runs):
            done = engine.run(network, part, trace=True)
            same[i] += (done.predictions == trained.predictions).sum()
            right[1 + i] += 0 if known is None else (done.predictions == known).sum()
            for j, name in enumerate(spiking):
                found, wanted = (done.traces or {})[name].s, trained.traces[name].s
                flips[i, j] += len(part) * float(np.mean(found != wanted))
    count = len(images)
    accuracy: list[float | None] = [None if labels is None else float(r) / count for r in right]
    return ProfileCost(
        profile=profile,
        samples=count,
        accuracy_trained=accuracy[0],
        accuracy_default=accuracy[1],
        accuracy=accuracy[2],
        agreement_default=float(same[0]) / count,
        agreement=float(same[1]) / count,
        layers=[
            LayerCost(layer=name, flips_default=float(a) / count, flips=float(b) / count)
            for name, a, b in zip(spiking, *flips, strict=True)
        ],
    )
