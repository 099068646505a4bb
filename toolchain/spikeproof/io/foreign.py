"""Tell what a file is that is none of ours, by its first bytes and its name, and the way to go.

Nothing of the file is interpreted beyond a header: a zip archive's table of names at most.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePath

HDF5 = b"\x89HDF\r\n\x1a\n"
_REBUILD = (
    "Build it as a spikeproof.ir.floats.FloatNetwork and write that with "
    "spikeproof.io.checkpoint.save_checkpoint"
)
_TORCH = (
    "a PyTorch file",
    "It holds tensors without the network around them. Read them with torch.load(..., "
    f"weights_only=True). {_REBUILD}.",
)
_ONNX = ("an ONNX model", f"ONNX is written (export --format onnx), not read. {_REBUILD}.")
NIR = (
    "a NIR graph",
    "NIR is not read yet: it says neither the length of a step nor the reset nor any integers. "
    f"{_REBUILD}.",
)
_HDF5 = ("an HDF5 file", "Of HDF5 files, only lava-dl's .net is read.")
_DATA = ("a NumPy file", "Images are given with --calibration or --data, after the network.")
_KERAS = ("a Keras model", f"{_REBUILD}.")
_PICKLE = (
    "a Python pickle",
    "Reading one would execute what it holds, so nothing here does. "
    f"If it is an old PyTorch file: load it with torch.load(..., weights_only=True). {_REBUILD}.",
)
_SAFETENSORS = (
    "a safetensors file that spikeproof did not write",
    f"It holds tensors without the network around them. {_REBUILD}.",
)
_TFLITE = ("a TensorFlow Lite model", f"{_REBUILD}.")
_GZIP = ("a gzip archive", "Unpack it first.")

Foreign = tuple[str, str]
_BY_SUFFIX: dict[str, Foreign] = {
    ".pth": _TORCH, ".pt": _TORCH, ".onnx": _ONNX, ".nir": NIR, ".h5": _HDF5, ".hdf5": _HDF5,
    ".npz": _DATA, ".npy": _DATA, ".keras": _KERAS, ".tflite": _TFLITE, ".pkl": _PICKLE,
    ".pickle": _PICKLE, ".safetensors": _SAFETENSORS,
}  # fmt: skip


def foreign_kind(data: bytes, name: str) -> Foreign | None:
    """Say what a file is and what to do with it; None if that cannot be told.

    Args:
        data: its bytes; the first few hundred do for all but zip archives.
        name: its name, for the suffix. It decides where the bytes leave it open.

    Returns:
        What it is, with an article ("a PyTorch file"), and the way to go, in whole sentences.
    """
    suffix = PurePath(name).suffix.lower()
    return _by_content(data, suffix) or _BY_SUFFIX.get(suffix)


def _by_content(data: bytes, suffix: str) -> Foreign | None:
    if data.startswith(HDF5):
        return NIR if suffix == ".nir" else _HDF5
    if data.startswith(b"PK\x03\x04"):
        return _zip(data)
    if data.startswith(b"\x93NUMPY"):
        return _DATA
    if data.startswith(b"\x1f\x8b"):
        return _GZIP
    if data[4:8] == b"TFL3":
        return _TFLITE
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _TORCH if suffix in (".pth", ".pt") else _PICKLE
    # A protobuf whose field 1 is a small number and whose field 2 is a text: version, producer.
    if data[:1] == b"\x08" and data[2:3] == b"\x12":
        return _ONNX
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length] if 0 < length <= len(data) - 8 else b""
    if header[:1] == b"{" and header.rstrip()[-1:] == b"}":
        return _SAFETENSORS
    return None


def _zip(data: bytes) -> Foreign:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "a damaged zip archive", "Copy or create it again."
    if any(PurePath(name).name == "data.pkl" for name in names):
        return _TORCH
    if names and all(name.endswith(".npy") for name in names):
        return _DATA
    if "model.weights.h5" in names:
        return _KERAS
    return "a zip archive", "Unpack it first."
