"""All faults by kind: what ``spikeproof faults --kind`` may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikeproof.registry import Registry

if TYPE_CHECKING:
    from spikeproof.faults.base import Fault

FAULTS: Registry[type[Fault]] = Registry(
    "fault",
    "spikeproof.faults",
    {
        "weight-bits": "spikeproof.faults.weights:WeightBits",
        "worst-bits": "spikeproof.faults.ranked:WorstBits",
        "dead": "spikeproof.faults.spikes:DeadNeurons",
        "stuck": "spikeproof.faults.spikes:StuckNeurons",
        "dropped": "spikeproof.faults.spikes:DroppedSpikes",
        "jittered": "spikeproof.faults.spikes:JitteredSpikes",
        "threshold-drift": "spikeproof.faults.drift:ThresholdDrift",
        "decay-drift": "spikeproof.faults.drift:DecayDrift",
    },
    where="--kind",
)
