"""What every kind of file says of itself, as typed documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

from spikeproof.document.values import Json, Record, dump
from spikeproof.io.wiring import ConnectionRow

if TYPE_CHECKING:
    from spikeproof.ir.chip import ChipNetwork
    from spikeproof.ir.floats import FloatNetwork


class Described(Record):
    """What every file says of itself; ``kind`` is "checkpoint", "bundle" or another."""

    kind: str
    path: str

    def json_document(self) -> Json:
        """Return it as plain JSON, as ``inspect --json`` prints it."""
        return {"schema": 1, **dump(self)}


class TomlFile(Described):
    """A recipe, with its settings in full, or the settings of a command."""

    recipe: Json
    settings: Json | None = None


class NetworkFile(Described):
    """What every file of a network says; ``timesteps`` is None where the file does not."""

    name: str
    input_shape: list[int]
    timesteps: int | None


class NodeRow(Record):
    """One node of a trained network."""

    layer: str
    kind: str
    output: list[int]
    neurons: int | None
    parameters: int
    smallest: float | None
    largest: float | None
    details: str


class TrainedFile(NetworkFile):
    """A trained network, and how it was trained."""

    layers: list[NodeRow]
    training: Json


class LayerRow(Record):
    """One layer of a bundle, beside what its conversion's table says of it, if it has one."""

    model_config = ConfigDict(extra="allow")

    layer: str
    kind: str
    neuron: str
    shape: list[int]
    neurons: int
    weights: int
    weight_range: list[int]
    portability: str
    """"portable": published registers of Loihi 1 and 2 hold the neurons; "neuron program": they
    need microcode of Loihi 2, and run on every engine and on Lava's CPU backend; "simulator
    only": a connection needs a delay that no chip has."""
    reads: list[ConnectionRow]
    numbers: Json
    """The neuron's scalars and tables over time; the bias is per neuron and left out."""
    scale: Any = None
    v_low: Any = None
    v_high: Any = None
    headroom_bits: Any = None


class BundleFile(NetworkFile):
    """A bundle, its record, and which chips it fits."""

    layers: list[LayerRow]
    chip_fit: list[Json]
    readout: str
    """What of the last layer is the answer; "auto": its v at the last step, or spike counts."""
    content_hash: str
    self_test_samples: int
    record: Json
    warnings: list[str]


class ChipFile(NetworkFile):
    """A file of chip integers as it would be read; its rows have the frontend's columns."""

    coding: str
    layers: list[Json]
    chip_fit: list[Json]
    warnings: list[str]


def head_of(kind: str, path: Path, network: FloatNetwork | ChipNetwork) -> Json:
    """Return what every description of a network begins with."""
    return {
        "kind": kind,
        "path": str(path),
        "name": network.name,
        "input_shape": list(network.input_shape),
        "timesteps": network.timesteps,
    }
