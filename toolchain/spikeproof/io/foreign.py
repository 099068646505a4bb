"""Tell what a file is that is none of ours, by its first bytes and its name, and the way to go.

Nothing of the file is executed, and little interpreted: a header, a zip archive's table of names,
the names that a pickle inside it asks for.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
import zlib
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
_MODULE = (
    "a whole pickled PyTorch module",
    "Reading one would execute what it holds, so nothing here does. Where it was trained, write "
    "its tensors alone, torch.save(model.state_dict(), ...), and read them with torch.load(..., "
    f"weights_only=True). {_REBUILD}.",
)
_ONNX = (
    "an ONNX model",
    "ONNX is written (export --format onnx), never read: give the bundle or the trained network "
    "that it was made from.",
)
_TENSORS_ONLY = (
    "collections",
    "torch",
    "torch._utils",
    "torch._tensor",
    "torch.storage",
    "torch.serialization",
    "torch.nn.parameter",
    "_codecs",
    "builtins",
    "__builtin__",
)
"""Modules that the pickle of mere tensors asks for; that of a module asks for its class, too."""
_PICKLE_LIMIT = 16 << 20
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
    ".pth": _TORCH,
    ".pt": _TORCH,
    ".onnx": _ONNX,
    ".nir": NIR,
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".npz": _DATA,
    ".npy": _DATA,
    ".keras": _KERAS,
    ".tflite": _TFLITE,
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".safetensors": _SAFETENSORS,
}


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
            pickles = [e for e in archive.infolist() if PurePath(e.filename).name == "data.pkl"]
            if pickles:
                return _MODULE if _asks_for_classes(archive, pickles[0]) else _TORCH
    except (zipfile.BadZipFile, ValueError, NotImplementedError, zlib.error, EOFError):
        return "a damaged zip archive", "Copy or create it again."
    if names and all(name.endswith(".npy") for name in names):
        return _DATA
    if "model.weights.h5" in names:
        return _KERAS
    return "a zip archive", "Unpack it first."


def _asks_for_classes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """Tell whether a pickle names anything but what tensors in containers need; it is not run."""
    if entry.file_size > _PICKLE_LIMIT:
        return False
    asked = (
        str(argument).split(" ")[0]
        for code, argument, _ in pickletools.genops(archive.read(entry))
        if code.name == "GLOBAL"
    )
    return any(not name.startswith("numpy") and name not in _TENSORS_ONLY for name in asked)
