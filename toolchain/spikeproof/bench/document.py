"""What the bench measures, as typed documents: speeds (docs/bench.json) and cost against size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from spikeproof.document.values import Figure, Json, Number, Record, Text, explain
from spikeproof.errors import InputError
from spikeproof.io.files import read_bytes
from spikeproof.io.marks import GENERATOR

SCHEMA = 1
Axis = Literal["timesteps", "neurons", "synapses"]
Range = tuple[Figure, Figure]


class Machine(Record):
    """What the figures depend on besides the code."""

    processor: Text
    cores: int | None
    threads: int
    """That every contender may use."""
    load_before: Figure
    system: Text
    python: Text
    spikeproof: Text
    packages: dict[Text, Text]
    """Versions of those that are installed."""


class Share(Record):
    """The time the work would take at the machine's peaks, what it took, and the quotient."""

    floor_seconds: Figure | None
    seconds: Figure | None
    share: Figure | None


class LayerShare(Share):
    """One layer on one thread; its sums per sample stand under the name of the peak."""

    layer: Text
    bound_by: Text
    event_adds: Figure | None = None
    table_loads: Figure | None = None
    int8_products: Figure | None = None
    neuron_updates: Figure


class Ceilings(Share):
    """The whole network on all threads, and its layers."""

    layers: list[LayerShare]


class NetFigures(Record):
    """What came out for one network, by contender or group of contenders.

    Of a group the best contender counts; the suffix ``_batch1`` marks single samples, other
    figures are those of the best batch size.
    """

    net: Text
    timesteps: int
    neurons: int
    activity: dict[Text, Figure]
    """Spikes per neuron and step, by layer and of the ``input``."""
    samples_per_second: dict[Text, Figure]
    ratios: dict[Text, Figure | None]
    """How many times faster the engine ``fast`` is; None: not measured."""
    quartiles: dict[Text, Range]
    """Of the ratios over rounds."""
    batches: dict[Text, int]
    winners: dict[Text, Text]
    absent: dict[Text, Text]
    """Why a contender did not take part."""
    turns: dict[Text, dict[Text, list[Figure]]]
    """Samples per second of every round, by contender and batch size."""
    agreement: dict[Text, Figure]
    """Share of samples on which a contender that is not exact predicts what the chip does."""
    ceilings: Ceilings


class FirstUse(Record):
    """Seconds to a first result in a new process: from the cache, and compiling everything."""

    warm: Figure
    cold: Figure


class Speeds(Record):
    """The document of ``spikeproof bench``."""

    schema_version: int = Field(validation_alias="schema", serialization_alias="schema")
    machine: Machine
    nets: list[NetFigures]
    first_use_seconds: FirstUse | None = None
    peaks: dict[Text, dict[Text, Figure]]
    """Operations per second: ``threads_1``, and ``threads_N`` of all threads."""


class Point(Record):
    """One network: its size, seconds per sample, and the memory of a process that runs it."""

    timesteps: int
    neurons: int
    synapses: int
    seconds: Figure
    peak_bytes: int
    own_bytes: int
    """What the peak has beyond that of a process which has run a tiny network."""

    def size(self, axis: Axis) -> int:
        """Return the size along an axis."""
        found: int = getattr(self, axis)
        return found


class Line(Record):
    """Cost = fixed + per unit x size, and the largest relative distance of a point from it."""

    fixed_seconds: Figure
    seconds_per_unit: Figure
    largest_deviation: Figure


class Series(Record):
    """Networks that grow along one axis."""

    axis: Axis
    fit: Line
    points: list[Point]


class Scaling(Record):
    """The document of ``spikeproof bench --scaling``."""

    schema_version: int = Field(validation_alias="schema", serialization_alias="schema")
    generator: Text = GENERATOR
    """Not in the first documents of this schema."""
    samples_per_call: int
    series: list[Series]


class GradientRates(Record):
    """Gradients of one network, in images per second."""

    net: Text
    """Its name; of its chip network, followed by ``, integers``."""
    per_second: Figure
    """By its twin, with the estimator of ``sp-quick-1``."""
    plain_torch: Number
    """By a loop over time in torch, of the trained network; None: torch is not installed."""
    ratio: Number
    """Median over rounds of the first by the second."""


class Gradients(Record):
    """The document of ``spikeproof bench --gradients``."""

    gradients: list[GradientRates]


DocumentT = TypeVar("DocumentT", Speeds, Scaling)


def load_document(path: Path, kind: type[DocumentT]) -> DocumentT:
    """Read a document of the bench.

    Raises:
        InputError: unreadable, of another schema, or not such a document; problems are listed.
    """
    again = "bench --json" if kind is Speeds else f"bench --scaling {path.with_suffix('.svg')}"
    hint = f"Measure again: spikeproof {again}"
    try:
        value: Json = json.loads(read_bytes(path))
        if (schema := value["schema"]) != SCHEMA:
            problem = f"has schema {schema!r}, this version reads {SCHEMA}"
            raise InputError(problem, where=str(path), hint=hint)
        return kind.model_validate(value)
    except ValidationError as error:
        raise InputError(explain(error), where=str(path), hint=hint) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        problem = "is no document of the bench"
        raise InputError(problem, where=str(path), hint=hint) from error
