"""The exporter to ONNX: standard operators, proved before the file is in its place."""

from __future__ import annotations

import re
from pathlib import Path

from spikeproof.extras import install_command, is_installed
from spikeproof.io.bundle import Bundle
from spikeproof.io.files import read_start, temporary_beside, through_link, write_atomic
from spikeproof.io.formats import Exported, Exporter, Stage

# ir_version (field 1, a small number), producer_name (field 2), producer_version (field 3): the
# protobuf of a model starts so, for fields are written in the order of their numbers.
_START = re.compile(rb"\x08[\x01-\x7f]\x12\x0aspikeproof\x1a")


def is_ours(path: Path) -> bool:
    """Tell whether a model was written by us."""
    return _START.match(read_start(path, 32)) is not None


def write(bundle: Bundle, path: Path, traces: bool, stage: Stage) -> Exported:
    """Write the model and replay the bundle's stimulus; a difference is an error, and no file."""
    from spikeproof.formats.onnx.check import check_model, replay
    from spikeproof.formats.onnx.graph import build_model, model_bytes

    metadata = {"spikeproof.bundle": bundle.content_hash}
    with stage("Writing ONNX"):
        data = model_bytes(build_model(bundle.network, traces=traces, metadata=metadata))
    # Only a file that has been read back and proved takes the place of what is there.
    compared, place = None, through_link(path)
    with temporary_beside(place) as unproved:
        write_atomic(unproved, data, path)
        check_model(unproved)
        if is_installed("onnxruntime"):
            with stage("Replaying the bundle's stimulus on ONNX Runtime"):
                compared = replay(unproved, bundle.network, bundle.stimulus)
        unproved.replace(place)
    if compared is None:
        told = f"not replayed: onnxruntime is not installed ({install_command('onnx')})"
    else:
        told = f"replayed on ONNX Runtime: {compared:,} values compared, 0 differ"
    return Exported(compared, [told])


ONNX = Exporter("ONNX model", ".onnx", is_ours, write, traces=True)
