"""Where the compiled engine spends its time: how each layer is summed, and for how long.

Imported late, because it needs numba.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeproof.bench.ceilings import EVENT_ADDS, PRODUCTS, TABLE_LOADS
from spikeproof.bench.nets import BenchNet
from spikeproof.engines.compiled.batches import Batches
from spikeproof.engines.compiled.layout import EventTable, GradedTable, ProductTable

_TURNS = 25
_SAMPLES = 32


@dataclass(frozen=True)
class LayerTime:
    """How a layer's sums are made (the peak that bounds them), and its seconds per sample."""

    peak: str
    seconds: float


def profile(net: BenchNet) -> dict[str, LayerTime]:
    """Return the time of each layer of a chain on one thread; the first packs the input, too.

    The smallest of several turns, each on new samples.
    """
    batches, rng = Batches(net.network), np.random.default_rng(3)
    size = batches.chunk_size(_SAMPLES, 1, False)
    batches.layer_seconds(net.draw(rng, size))  # compiles
    turns = [batches.layer_seconds(net.draw(rng, size)) for _ in range(_TURNS)]
    best = np.min(turns, axis=0) / size
    return {
        laid.layer.name: LayerTime(_peak(laid.feeds[0].table), float(seconds))
        for laid, seconds in zip(batches.layers, best, strict=True)
    }


def _peak(table: Any) -> str:
    if isinstance(table, (ProductTable, GradedTable)):
        return PRODUCTS
    return EVENT_ADDS if isinstance(table, EventTable) else TABLE_LOADS
