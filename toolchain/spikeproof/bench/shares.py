"""How near the fast engine comes to the machine's peaks, by layer and as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spikeproof.bench.ceilings import work_of
from spikeproof.bench.document import Ceilings, LayerShare
from spikeproof.bench.nets import BenchNet
from spikeproof.engines.fast import compiled

if TYPE_CHECKING:
    from spikeproof.bench.profile import LayerTime

Peaks = dict[str, float]


def shares(
    net: BenchNet, fast_rate: float, times: Mapping[str, LayerTime], alone: Peaks, together: Peaks
) -> Ceilings:
    """Return the floor of each layer, what it took, and the share reached.

    Args:
        net: the network.
        fast_rate: samples per second of the fast engine on all threads.
        times: of the layers (see :func:`layer_times`).
        alone: peaks of one thread, for the layers, which are timed on one.
        together: peaks of all threads, for the whole network.
    """
    layers = []
    total: float | None = 0.0
    for work in work_of(net, {name: found.peak for name, found in times.items()}):
        whole, one = work.floor(together), work.floor(alone)
        total = None if whole is None or total is None else total + sum(whole)
        took = times[work.layer].seconds if work.layer in times else None
        layers.append(
            LayerShare(
                layer=work.layer,
                bound_by=work.peak,
                **{work.peak: work.sums},
                neuron_updates=work.neuron_updates,
                floor_seconds=None if one is None else sum(one),
                seconds=took,
                share=None if one is None or not took else sum(one) / took,
            )
        )
    return Ceilings(
        layers=layers,
        floor_seconds=total,
        seconds=1 / fast_rate,
        share=None if total is None else total * fast_rate,
    )


def layer_times(net: BenchNet) -> dict[str, LayerTime]:
    """Return how each layer is summed and how long it takes; empty if nothing is compiled."""
    if not compiled():
        return {}
    from spikeproof.bench.profile import profile

    return profile(net)
