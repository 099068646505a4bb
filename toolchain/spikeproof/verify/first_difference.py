"""Find the first place where two traced runs of one network differ (V1, V3, fuzzing).

First means: the earliest layer (causes come before effects), there the earliest step, then the
first sample and neuron. A later layer can only differ because an earlier one did, or by itself.
Of layers that feed each other in a cycle the earliest step comes first, over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spikeproof.document.values import Count, Figure, Number, Record, Text
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.graph import groups
from spikeproof.verify.compare import Traces


@dataclass(frozen=True, eq=False)
class View:
    """One layer of a run, prepared for comparison.

    v: membrane before reset in chip v-units (float for a float stage), (N, T, *neurons);
    s: spikes or None; threshold: raw v-units, (T, ...) that broadcasts to (T, *neurons), None for
    a readout; u: the current, None for a float stage.
    """

    v: NDArray[Any]
    s: NDArray[np.uint8] | None
    threshold: NDArray[Any] | None
    u: NDArray[Any] | None = None


class Values(Record):
    """A state in both runs, in chip v-units."""

    first: Figure = Field(validation_alias="from", serialization_alias="from")
    second: Figure = Field(validation_alias="to", serialization_alias="to")


class FirstDifference(Record):
    """The first state in which two runs differ, and how near the threshold it was.

    threshold, margin_lsb: in chip v-units, the distance being that of the first run's membrane;
    margin: in units of the threshold. All None of a readout.
    """

    source: Text = Field(validation_alias="from", serialization_alias="from")
    target: Text = Field(validation_alias="to", serialization_alias="to")
    found: bool
    layer: Text | None = None
    neuron: list[int] | None = None
    step: Count = None
    sample: Count = None
    state: Text | None = None
    values: Values | None = None
    threshold: Number = None
    margin: Number = None
    margin_lsb: Number = None
    replay: Text | None = None


def first_unequal_state(
    network: ChipNetwork, first: Traces, second: Traces, source: str, target: str
) -> FirstDifference:
    """Find the first u, v or s in which two integer runs of a network differ.

    Args:
        network: the chip network that both ran.
        first: the traces of ``source``.
        second: those of ``target``.
        source: what the first run is called.
        target: what the second is called.
    """
    views = []
    for layer in network.layers:
        threshold = layer.thresholds(network.timesteps) if layer.neuron.spiking else None
        left, right = (
            View(t.v, t.s, threshold, t.u) for t in (first[layer.name], second[layer.name])
        )
        views.append((layer.name, left, right))
    return first_difference(views, source, target, states=("u", "v", "s"), together=groups(network))


def first_difference(
    layers: list[tuple[str, View, View]],
    source: str,
    target: str,
    *,
    states: Sequence[str] = ("s",),
    together: Sequence[tuple[int, ...]] | None = None,
) -> FirstDifference:
    """Find the first difference of two runs.

    Args:
        layers: (name, first run, second run) in network order.
        source: what the first run is called.
        target: what the second is called.
        states: those that are compared; a layer without one of them is passed over.
        together: positions of layers that feed each other, in the order in which such groups run
            (``ir.graph.groups``); None: each layer alone.
    """
    for group in together or [(i,) for i in range(len(layers))]:
        every = [_first_in_layer(*layers[i], source, target, states) for i in group]
        found = [one for one in every if one is not None]
        if found:
            return min(found, key=lambda one: one.step or 0)  # the first listed, of several
    return FirstDifference(source=source, target=target, found=False)


def _first_in_layer(
    name: str, first: View, second: View, source: str, target: str, states: Sequence[str]
) -> FirstDifference | None:
    places = []
    for state in states:
        left, right = getattr(first, state), getattr(second, state)
        if left is not None and right is not None:
            place = _first_place(left, right)
            if place is not None:
                places.append((place, state))
    if not places:
        return None
    (step, sample, *neuron), state = min(places, key=lambda p: p[0])
    # A spike is explained by the membrane behind it, so that is what is shown.
    key = "v" if state == "s" else state
    index = (sample, step, *neuron)
    before, after = (float(getattr(view, key)[index]) for view in (first, second))
    threshold = margin = lsb = None
    near = ""
    if first.threshold is not None:
        threshold = at_neuron(first.threshold[step], neuron)
        lsb = abs(before - threshold)
        margin = lsb / max(abs(threshold), 1.0)
        near = f", {lsb:.4g} LSB from the threshold"
    return FirstDifference(
        source=source,
        target=target,
        found=True,
        layer=name,
        neuron=neuron,
        step=step,
        sample=sample,
        state=state,
        values=Values(first=before, second=after),
        threshold=threshold,
        margin=margin,
        margin_lsb=lsb,
        replay=f"{source} and {target} first differ in {name}, step {step}, neuron "
        f"{tuple(neuron)}, sample {sample}: {state} from v-values {before:.6g} and {after:.6g}"
        f"{near}; to see it: spikeproof run BUNDLE --engine fast --data DATA.npz --limit "
        f"{sample + 1} --trace OUT.npz",
    )


def at_neuron(row: NDArray[Any], neuron: Sequence[int]) -> float:
    """Return the entry of one neuron in a row that broadcasts to all of them."""
    return float(row[tuple(i if n > 1 else 0 for i, n in zip(neuron, row.shape, strict=True))])


def _first_place(left: NDArray[Any], right: NDArray[Any]) -> tuple[int, ...] | None:
    """Return (step, sample, *neuron) of the first difference in the order of time."""
    differs = np.swapaxes(left != right, 0, 1)
    if not differs.any():
        return None
    index = np.unravel_index(int(differs.argmax()), differs.shape)
    return tuple(int(i) for i in index)
