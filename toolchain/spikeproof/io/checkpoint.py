"""Checkpoints: a trained float network, and how it was trained, in one container file.

Reading one needs no torch: the training side writes the float dialect itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from spikeproof.errors import BundleError
from spikeproof.io import container
from spikeproof.io.files import read_bytes
from spikeproof.io.record import TrainingRecord, read_record
from spikeproof.ir.check_float import check_float
from spikeproof.ir.floats import FloatNetwork
from spikeproof.ir.serial import network_from_parts, network_to_parts
from spikeproof.text import network_line

KIND = "checkpoint"
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network and its training record (recipe, seed, epoch, figures).

    content_hash: identity of the file's content ("" for one that was not read from a file; what it
    would be, says :func:`checkpoint_hash`).
    """

    network: FloatNetwork
    training: TrainingRecord = field(default_factory=TrainingRecord)
    content_hash: str = ""

    def __repr__(self) -> str:
        """Say in one line what it is, not every weight of it."""
        network = self.network
        return f"<Checkpoint {network_line(network.name, network.input_shape, network.timesteps)}>"


def save_checkpoint(path: Path | str, trained: Checkpoint | FloatNetwork) -> None:
    """Check a network, and write it atomically; the bytes depend only on the content.

    Args:
        path: the file.
        trained: a network, alone or with the record of its training.

    Raises:
        GraphError: the network is inconsistent or has values that are not finite.
    """
    checkpoint = trained if isinstance(trained, Checkpoint) else Checkpoint(trained)
    check_float(checkpoint.network)
    container.write(path, KIND, SCHEMA, *_parts(checkpoint))


def checkpoint_hash(checkpoint: Checkpoint) -> str:
    """Return the identity of what a file of it holds, whether there is one or not."""
    if checkpoint.content_hash:
        return checkpoint.content_hash
    return container.content_hash(container.pack(KIND, SCHEMA, *_parts(checkpoint)))


def _parts(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    network, tensors = network_to_parts(checkpoint.network)
    return {"network": network, "training": checkpoint.training.document}, tensors


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint and check the network in it.

    Raises:
        InputError: the file cannot be read. BundleError: damaged, altered, wrong schema.
        GraphError: the network is inconsistent or has values that are not finite.
    """
    data = read_bytes(path)
    document, tensors = container.unpack(data, KIND, SCHEMA, str(path))
    network, training = document.get("network"), document.get("training")
    if not isinstance(network, dict) or not isinstance(training, dict):
        raise BundleError("holds no network or no training record", where=str(path))
    record = read_record(TrainingRecord, training, str(path))
    found = network_from_parts(network, tensors, FloatNetwork)
    check_float(found)
    return Checkpoint(found, record, container.content_hash(data))
