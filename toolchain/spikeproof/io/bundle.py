"""The bundle: a chip network that carries its own test.

One container file holds the network, the record of how it was made, a reference stimulus, and
what every layer must answer to it, so that any machine can check itself (``--self-test``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import BundleError, InputError, list_problems
from spikeproof.io import container
from spikeproof.io.files import read_bytes, write_atomic
from spikeproof.io.record import BundleRecord, read_record
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_input import check_input
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.serial import network_from_parts, network_to_parts
from spikeproof.text import network_line

KIND = "bundle"
SCHEMA = 1
STIMULUS_SAMPLES = 4
"""Samples of the reference stimulus."""
_STIMULUS = "stimulus"
_EXPECTED = "expected/"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A chip network, its record, and a stimulus with the expected answers.

    record: source hash, conversion options, units, relations, table, versions.
    stimulus: uint8 input of a few samples. expected: per layer the spikes ``NAME/s``
    (N, T, *neurons) and for the readout its membrane ``NAME/v``.
    content_hash: identity of the file's content ("" before it is first written).
    """

    network: ChipNetwork
    record: BundleRecord
    stimulus: NDArray[np.uint8]
    expected: dict[str, NDArray[Any]]
    content_hash: str = ""

    def __repr__(self) -> str:
        """Say in one line what it is, not every weight of it."""
        network = self.network
        line = network_line(network.name, network.input_shape, network.timesteps)
        return f"<Bundle {line}, {self.content_hash[:12] or 'not written'}>"


def check_bundle(bundle: Bundle) -> None:
    """Check the network, the stimulus, and that every layer has an answer of the right form.

    Raises:
        GraphError: the network breaks a rule of the chip. BundleError: a test with this bundle
            would compare less than every layer, or could not run.
    """
    network = bundle.network
    check_chip(network)
    try:
        check_input(network, bundle.stimulus)
    except InputError as error:
        raise BundleError(f"stimulus: {error.what}", where=network.name) from error
    wanted = _answer_forms(network, len(bundle.stimulus))
    found = {name: _form(a.dtype, a.shape) for name, a in bundle.expected.items()}
    problems = [
        f"expected {name}: found {found.get(name, 'nothing')}, must be {wanted.get(name, 'absent')}"
        for name in sorted({*wanted, *found})
        if found.get(name) != wanted.get(name)
    ]
    if problems:
        raise BundleError(list_problems(problems), where=network.name)


def _answer_forms(network: ChipNetwork, samples: int) -> dict[str, str]:
    """Return type and shape of each answer: spikes NAME/s, of a readout its membrane NAME/v."""
    forms = {}
    for layer in network.layers:
        shape = (samples, network.timesteps, *layer.shape)
        if layer.neuron.spiking:
            forms[f"{layer.name}/s"] = _form(np.dtype(np.uint8), shape)
        else:
            forms[f"{layer.name}/v"] = _form(np.dtype(np.int32), shape)
    return forms


def _form(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    return f"{dtype} {shape}"


def bundle_bytes(bundle: Bundle) -> bytes:
    """Serialise a bundle; the bytes depend only on its content."""
    check_bundle(bundle)
    network, tensors = network_to_parts(bundle.network)
    extra = {_EXPECTED + name: array for name, array in bundle.expected.items()}
    document = {"network": network, "record": bundle.record.document}
    return container.pack(KIND, SCHEMA, document, {**tensors, **extra, _STIMULUS: bundle.stimulus})


def save_bundle(path: Path | str, bundle: Bundle) -> Bundle:
    """Write a bundle atomically and return it with its content hash.

    Raises:
        BundleError: its self-test is not whole.
        GraphError: the network breaks a rule of the chip.
        InputError: the file cannot be written.
    """
    data = bundle_bytes(bundle)
    write_atomic(path, data)
    return Bundle(
        bundle.network,
        bundle.record,
        bundle.stimulus,
        bundle.expected,
        container.content_hash(data),
    )


def load_bundle(path: Path | str) -> Bundle:
    """Read a bundle and check every byte, every shape and every bit width in it.

    Raises:
        InputError: the file cannot be read. BundleError: damaged, altered, other schema, or a
            self-test that leaves out a layer.
        GraphError: the network breaks a rule of the chip.
    """
    data = read_bytes(path)
    document, tensors = container.unpack(data, KIND, SCHEMA, str(path))
    stimulus = tensors.pop(_STIMULUS, None)
    names = [name for name in tensors if name.startswith(_EXPECTED)]
    expected = {name.removeprefix(_EXPECTED): tensors.pop(name) for name in names}
    network, record = document.get("network"), document.get("record")
    if stimulus is None or not isinstance(network, dict) or not isinstance(record, dict):
        raise BundleError("holds no network, no record or no reference stimulus", where=str(path))
    read = read_record(BundleRecord, record, str(path))
    bundle = Bundle(
        network_from_parts(network, tensors, ChipNetwork),
        read,
        stimulus,
        expected,
        container.content_hash(data),
    )
    check_bundle(bundle)
    return bundle
