"""Tell what a file is that is none of ours, by its first bytes and its name, and the way to go.

Nothing of the file is executed, and little interpreted: a header, a zip archive's table of names,
the names that a pickle inside it asks for.
"""

from __future__ import annotations

import io
import pickletools
import shlex
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from spikeproof.errors import InputError
from spikeproof.io.toml import LIMIT_BYTES, parse_toml

HDF5 = b"\x89HDF\r\n\x1a\n"
_REBUILD = (
    "Build it as a spikeproof.ir.floats.FloatNetwork and write that with "
    "spikeproof.io.checkpoint.save_checkpoint(PATH, NETWORK)"
)
_TORCH = (
    "a PyTorch file",
    "It holds tensors without the network around them. Read them with torch.load(..., "
    "weights_only=True); the state dict is what that returns, or an entry of it such as ['model']. "
    f'{_REBUILD}. What the reference code of "Robust Stable SNNs" wrote, the frontend '
    "stable-snn reads: convert --from stable-snn.",
)
_STATE_DICT = (
    "Where it was trained, write its tensors alone, torch.save(model.state_dict(), ...), and read "
    f"them with torch.load(..., weights_only=True). {_REBUILD}."
)
_UNRUN = "Reading one would execute what it holds, so nothing here does."
_MODULE = ("a whole pickled PyTorch module", f"{_UNRUN} {_STATE_DICT}")
_SCRIPT = ("a TorchScript program", f"{_UNRUN} {_STATE_DICT}")
_EXPORTED = ("a program written by torch.export", _STATE_DICT)
_ONNX = (
    "an ONNX model",
    "ONNX is written (export --format onnx), never read: give the bundle or the trained network "
    "that it was made from.",
)
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file begins that torch.save wrote before PyTorch 1.6, or writes without zip format."""
_TENSORS_ONLY = (
    "torch",
    "torch._utils",
    "torch._tensor",
    "torch.storage",
    "torch.serialization",
    "torch.nn.parameter",
)
"""Modules that the pickle of mere tensors asks for; that of a module asks for its class, too."""
_CONTAINERS = (
    "collections.OrderedDict",
    "collections.Counter",
    "_codecs.encode",
    "builtins.set",
    "__builtin__.set",
    "builtins.bytearray",
    "__builtin__.bytearray",
)
"""What torch.load reads besides with weights_only."""
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
    f"{_UNRUN} Where it was made, take the weights out as arrays. {_REBUILD}.",
)
_SAFETENSORS = (
    "a safetensors file that spikeproof did not write",
    f"It holds tensors without the network around them. {_REBUILD}.",
)
_TFLITE = ("a TensorFlow Lite model", f"{_REBUILD}.")
_GZIP = ("a gzip archive", "Unpack it first.")

_PICTURE = (
    "a picture",
    "Images are given as arrays, numpy.savez(path, x=images), with --calibration or --data.",
)
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM")
"""How files of PNG, JPEG, GIF and BMP begin."""
_TEXTS = {
    ".json": "a JSON file",
    ".toml": "a TOML file",
    ".py": "a Python program",
    ".ipynb": "a notebook",
    ".csv": "a table of values",
    ".yaml": "a YAML file",
    ".yml": "a YAML file",
    ".html": "a web page",
}
_TEXT_START = 4096
"""Bytes that are looked at to tell whether a file is text."""

Foreign = tuple[str, str]
_BY_SUFFIX: dict[str, Foreign] = {
    ".pth": _TORCH,
    ".pt": _TORCH,
    ".pt2": _EXPORTED,
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
        What it is, with an article ("a PyTorch file"), and the way to go, in whole sentences;
        "" where what it is says nothing of what was meant.
    """
    suffix = PurePath(name).suffix.lower()
    return _by_content(data, suffix) or _BY_SUFFIX.get(suffix) or _text(data, suffix, name)


def _text(data: bytes, suffix: str, name: str) -> Foreign | None:
    """Tell readable text, which no network is; the suffix says of what kind."""
    try:
        start = data[:_TEXT_START].decode()
    except UnicodeDecodeError as error:
        if error.start < _TEXT_START - 3:  # else the cut fell into a letter
            return None
        start = data[: error.start].decode()
    if not start or not all(letter.isprintable() or letter in "\t\n\f\r" for letter in start):
        return None
    if suffix == ".toml" and _is_recipe(data):
        return "a recipe", f"Train it first: spikeproof train {shlex.quote(name)}"
    return _TEXTS.get(suffix, "a text file"), ""


def _is_recipe(data: bytes) -> bool:
    """Tell by the one key every recipe has, and no file of settings."""
    try:
        return len(data) <= LIMIT_BYTES and "name" in parse_toml(data.decode(), "")
    except (InputError, UnicodeDecodeError):
        return False


def _by_content(data: bytes, suffix: str) -> Foreign | None:
    if data.startswith(HDF5):
        return NIR if suffix == ".nir" else _HDF5
    if data.startswith(b"PK\x03\x04"):
        return _zip(data)
    if data.startswith(b"\x93NUMPY"):
        return _DATA
    if data.startswith(b"\x1f\x8b"):
        return _GZIP
    if data.startswith(_PICTURES):
        return _PICTURE
    if data[4:8] == b"TFL3":
        return _TFLITE
    if data.startswith(_LEGACY):
        return _legacy_torch(data)
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _PICKLE
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
            entries = {PurePath(e.filename).name: e for e in archive.infolist()}
            if "constants.pkl" in entries:
                return _SCRIPT
            if "archive_format" in entries and "model.json" in entries:
                return _EXPORTED
            if "data.pkl" in entries:
                if entries["data.pkl"].file_size > _PICKLE_LIMIT:
                    return _TORCH
                return _torch(_asked_for(io.BytesIO(archive.read(entries["data.pkl"]))))
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, zlib.error, EOFError):
        return "a damaged zip archive", "Copy or create it again."
    if names and all(name.endswith(".npy") for name in names):
        return _DATA
    if "model.weights.h5" in names:
        return _KERAS
    return "a zip archive", "Unpack it first."


def _legacy_torch(data: bytes) -> Foreign:
    """Tell tensors from modules in a file of four pickles (a mark, two of numbers, the object)."""
    stream = io.BytesIO(data[:_PICKLE_LIMIT])
    try:
        asked = [name for _ in range(4) for name in _asked_for(stream)]
    except ValueError:
        return "a damaged file in the format of before PyTorch 1.6", "Copy or create it again."
    what, hint = _torch(asked)
    return f"{what}, in the format of before PyTorch 1.6", hint


def _torch(asked: Iterable[str]) -> Foreign:
    """Say what a PyTorch file is by the names its pickle asks for."""
    more = [
        name
        for name in dict.fromkeys(asked)
        if name.rpartition(".")[0] not in _TENSORS_ONLY and name not in _CONTAINERS
    ]
    if any(name.startswith("torch.nn.") for name in more):
        return _MODULE
    if more:
        return (
            f"a PyTorch file that holds more than tensors ({', '.join(more[:3])})",
            f"{_UNRUN} {_STATE_DICT}",
        )
    return _TORCH


def _asked_for(stream: io.BytesIO) -> Iterator[str]:
    """Yield the names (module.class) that one pickle asks for; it is taken apart, never run.

    Raises:
        ValueError: it is no pickle, or cut short.
    """
    texts: list[str] = []
    for code, argument, _ in pickletools.genops(stream):
        if code.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif code.name == "STACK_GLOBAL":  # protocol 4: module and name were the last two texts
            yield ".".join(texts[-2:])
        elif isinstance(argument, str):
            texts = [*texts[-1:], argument]
