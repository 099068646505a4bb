"""Run every stage of the conversion on the same images; V2, V3 and V4 read the result."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from spikeproof.document.values import Number, Record
from spikeproof.verify.checked_relation import CheckedRelation
from spikeproof.verify.checks.base import Job
from spikeproof.verify.first_difference import (
    FirstDifference,
    Values,
    View,
    at_neuron,
    first_difference,
)
from spikeproof.verify.layer_errors import LayerError, layer_errors
from spikeproof.verify.material import Material
from spikeproof.verify.relations import check_stages
from spikeproof.verify.stages import Membrane, run_stages


class Gap(Record):
    """Where a layer's integers, given the same spikes, are furthest from the floats."""

    sample: int
    step: int
    neuron: list[int]
    values: Values
    threshold: Number
    """In chip v-units; None for a readout."""


class StageMeasurement(Record):
    """What the stages did on so many images."""

    samples: int
    relations: list[CheckedRelation]
    errors: list[LayerError]
    gaps: dict[str, Gap]
    pairs: list[FirstDifference]


def _measure(material: Material) -> StageMeasurement:
    x = material.x[: material.config.samples.stages]
    stages, runs = material.stages, run_stages(material.stages, x)
    ends = [
        (before.name, after.name)
        for before, after in pairwise(stages.stages)
        if after.relation is None or after.relation.kind != "exact"
    ]
    ends.append((stages.stages[0].name, stages.stages[-1].name))
    return StageMeasurement(
        samples=len(x),
        relations=check_stages(stages, runs, material.config.stages),
        errors=layer_errors(runs),
        gaps=widest_gaps(runs.whole["folded"], runs.local["folded"]),
        pairs=[_first_spike(runs.whole[a], runs.whole[b], a, b) for a, b in ends],
    )


def _cost(material: Material) -> float:
    return material.images(material.config.samples.stages) * (28 + 7 * material.effort)


STAGES = Job("stages", _measure, StageMeasurement, _cost)


def widest_gaps(real: list[Membrane], alone: list[Membrane]) -> dict[str, Gap]:
    """Tell where each layer's integers, given the same spikes, are furthest from the floats."""
    found = {}
    for left, right in zip(real, alone, strict=True):
        gap = np.abs(left.v - right.v) * left.lsb
        place = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
        sample, step, *neuron = place
        unit = at_neuron(left.lsb[step], neuron)
        found[left.name] = Gap(
            sample=sample,
            step=step,
            neuron=neuron,
            values=Values(first=float(left.v[place]) * unit, second=float(right.v[place]) * unit),
            threshold=None if left.s is None else unit,
        )
    return found


def _first_spike(
    first: list[Membrane], second: list[Membrane], source: str, target: str
) -> FirstDifference:
    """Find the first spike that differs, with membranes in chip v-units."""
    views = [(a.name, _view(a), _view(b)) for a, b in zip(first, second, strict=True)]
    return first_difference(views, source, target)


def _view(layer: Membrane) -> View:
    return View(layer.v * layer.lsb, layer.s, None if layer.s is None else layer.lsb)
