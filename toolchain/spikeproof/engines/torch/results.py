"""What a run on a torch device returns, collected batch by batch in ordinary memory."""

from __future__ import annotations

from math import prod

import numpy as np

from spikeproof.engines.torch.layers import LayerRun
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir.chip import ChipNetwork


class TorchResults:
    """What a run returns, filled batch by batch: logits, and u, v, s of all layers if asked for."""

    def __init__(self, network: ChipNetwork, samples: int, trace: bool) -> None:
        self.network = network
        self.logits = np.zeros((samples, prod(network.layers[-1].shape)), np.int64)
        self.traces: dict[str, LayerTrace] | None = None
        if trace:
            self.traces = {}
            for layer in network.layers:
                full = (samples, network.timesteps, *layer.shape)
                self.traces[layer.name] = LayerTrace(
                    np.empty(full, np.int32),
                    np.empty(full, np.int32),
                    np.empty(full, np.uint8) if layer.neuron.spiking else None,
                )

    def take(self, name: str, start: int, done: LayerRun) -> None:
        """Keep a layer's trace of the batch that begins at sample ``start``."""
        if self.traces is None:
            return
        kept = self.traces[name]
        for target, found in ((kept.u, done.u), (kept.v, done.v), (kept.s, done.spikes)):
            if target is not None and found is not None:
                target[start : start + found.shape[1]] = found.transpose(0, 1).cpu().numpy()

    def finish(self, start: int, done: LayerRun) -> None:
        """Keep the logits: the last layer's v, or how often its neurons fired."""
        final = done.last_v if done.spikes is None else done.spikes.sum(0)
        logits = final.flatten(1).cpu().numpy()
        self.logits[start : start + len(logits)] = logits
