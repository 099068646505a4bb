"""What a run on a torch device returns, collected batch by batch in ordinary memory."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from spikeproof.engines.torch.layers import LayerRun
from spikeproof.engines.torch.load import Tensor
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.readouts import FROM_SPIKES, answers, settled


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

    def kept(self, index: int) -> int:
        """Return of how many steps, the last ones, the v of a layer is needed."""
        network = self.network
        if self.traces is not None:
            return network.timesteps
        if index != len(network.layers) - 1:
            return 0
        rule = settled(network.readout, network.layers[index].neuron.spiking)
        return {"last": 1, **dict.fromkeys(FROM_SPIKES, 0)}.get(rule, network.timesteps)

    def take(self, index: int, start: int, done: LayerRun) -> None:
        """Keep what is wanted of a layer of the batch that begins at sample ``start``."""
        last = index == len(self.network.layers) - 1
        if self.traces is None and not last:
            return
        u, v, s = _arrays(done.u), _arrays(done.v), _arrays(done.spikes)
        if last:
            logits = answers(self.network.readout, v, None if s is None else s.view(np.uint8))
            self.logits[start : start + len(logits)] = logits
        if self.traces is not None:
            kept = self.traces[self.network.layers[index].name]
            for target, found in ((kept.u, u), (kept.v, v), (kept.s, s)):
                if target is not None and found is not None:
                    target[start : start + len(found)] = found


def _arrays(steps: Tensor | None) -> Any:
    """Return (T, N, ...) values as an array (N, T, ...) in ordinary memory."""
    return None if steps is None else steps.transpose(0, 1).cpu().numpy()
