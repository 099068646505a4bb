"""Find the first place where two traced runs of one network part (check V3, simple form).

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
from spikeproof.engines.trace import LayerTrace
from spikeproof.ir.chip import ChipNetwork
from spikeproof.verify.compare import Traces


@dataclass(frozen=True, eq=False)
class View:
    """One layer of a run, prepared for comparison.

    v: membrane before reset in chip v-units (float for a float stage), (N, T, *neurons);
    s: spikes or None; threshold: raw v-units, (T, ...) that broadcasts to (T, *neurons), None for
    a readout. exact: any state of u or v counts as a divergence, not only a spike.
    """

    v: NDArray[Any]
    s: NDArray[np.uint8] | None
    threshold: NDArray[Any] | None
    u: NDArray[Any] | None = None


@dataclass(frozen=True)
class Divergence:
    """Where two runs first part, both values in chip v-units, and how near the threshold was."""

    layer: str
    step: int
    sample: int
    neuron: tuple[int, ...]
    state: str
    values: tuple[float, float]
    threshold: float | None

    @property
    def margin_lsb(self) -> float | None:
        """Distance of the first run's membrane from the threshold, in v-units."""
        return None if self.threshold is None else abs(self.values[0] - self.threshold)

    @property
    def margin(self) -> float | None:
        """The same distance in units of the threshold."""
        if self.threshold is None or self.margin_lsb is None:
            return None
        return self.margin_lsb / max(abs(self.threshold), 1.0)


class Values(Record):
    """A state in both runs, in chip v-units."""

    first: Figure = Field(validation_alias="from", serialization_alias="from")
    second: Figure = Field(validation_alias="to", serialization_alias="to")


class FirstDifference(Record):
    """The first state in which two runs differ, as the report holds it."""

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


def first_difference(found: Divergence | None, first: str, second: str) -> FirstDifference:
    """Write a first divergence as the report holds it."""
    if found is None:
        return FirstDifference(source=first, target=second, found=False)
    return FirstDifference(
        source=first,
        target=second,
        found=True,
        layer=found.layer,
        neuron=list(found.neuron),
        step=found.step,
        sample=found.sample,
        state=found.state,
        values=Values(first=found.values[0], second=found.values[1]),
        threshold=found.threshold,
        margin=found.margin,
        margin_lsb=found.margin_lsb,
        replay=replay_line(found, first, second),
    )


def layer_views(
    network: ChipNetwork, first: Traces, second: Traces
) -> list[tuple[str, View, View]]:
    """Pair the layers of two integer runs for :func:`first_divergence`."""
    views = []
    for layer in network.layers:
        left, right = first[layer.name], second[layer.name]
        threshold = None
        if layer.neuron.spiking:
            threshold = layer.thresholds(network.timesteps)
        views.append((layer.name, chip_view(left, threshold), chip_view(right, threshold)))
    return views


def chip_view(trace: LayerTrace, threshold: NDArray[Any] | None) -> View:
    """Prepare an integer trace: every state counts."""
    return View(trace.v, trace.s, threshold, trace.u)


def first_divergence(
    layers: list[tuple[str, View, View]],
    *,
    exact: bool,
    together: Sequence[tuple[int, ...]] | None = None,
) -> Divergence | None:
    """Return the first difference, or None.

    Args:
        layers: (name, first run, second run) in network order.
        exact: compare every u, v and s; otherwise spikes only (a readout is then skipped).
        together: positions of layers that feed each other, in the order in which such groups run
            (``ir.graph.groups``); None: each layer alone.
    """
    for group in together or [(i,) for i in range(len(layers))]:
        every = [_first_in_layer(*layers[i], exact) for i in group]
        found = [one for one in every if one is not None]
        if found:
            return min(found, key=lambda one: one.step)  # the first listed, of several
    return None


def _first_in_layer(name: str, first: View, second: View, exact: bool) -> Divergence | None:
    places = []
    for state in ("u", "v", "s") if exact else ("s",):
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
    values = (float(getattr(first, key)[index]), float(getattr(second, key)[index]))
    threshold = None if first.threshold is None else at_neuron(first.threshold[step], neuron)
    return Divergence(name, step, sample, tuple(neuron), state, values, threshold)


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


def replay_line(found: Divergence | None, first: str, second: str, bundle: str = "BUNDLE") -> str:
    """Describe in one line what happened and how to see it again."""
    if found is None:
        return f"{first} and {second}: no divergence"
    near = "" if found.margin_lsb is None else f", {found.margin_lsb:.4g} LSB from the threshold"
    return (
        f"{first} and {second} first differ in {found.layer}, step {found.step}, neuron "
        f"{found.neuron}, sample {found.sample}: {found.state} from v-values "
        f"{found.values[0]:.6g} and {found.values[1]:.6g}{near}; to see it: "
        f"spikeproof run {bundle} --engine fast --data DATA.npz --limit {found.sample + 1} "
        f"--trace OUT.npz"
    )
