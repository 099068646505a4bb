"""Image sets as 8-bit arrays: Fashion-MNIST and MNIST (IDX files), CIFAR-10 (binary version)."""

from __future__ import annotations

import gzip
import importlib
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikeproof.errors import InputError
from spikeproof.extras import install_command
from spikeproof.io.files import read_bytes, sha256
from spikeproof.io.known import training_set
from spikeproof.text import counted

DatasetName = Literal["fashion-mnist", "mnist", "cifar10"]
Split = Literal["train", "test"]
_FASHION_FOLDERS = (Path("/usr/share/datasets/fashion-mnist"),)
_TORCHVISION = {
    "fashion-mnist": Path("FashionMNIST/raw"),
    "mnist": Path("MNIST/raw"),
    "cifar10": Path("cifar-10-batches-bin"),
}
_USUAL_SHARE = 10
"""One of so many images is held out where nobody says; the recipes hold out one of 12."""
_CIFAR_RECORD = 1 + 3 * 32 * 32


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images uint8 (N, C, H, W) and labels int64 (N,)."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.x)

    def take(self, index: NDArray[np.int64]) -> ImageSet:
        """Return the images at ``index``, in that order."""
        return ImageSet(self.x[index], self.y[index])

    def content_hash(self) -> str:
        """Return the SHA-256 of shape, pixels and labels."""
        return sha256(f"{list(self.x.shape)}".encode() + self.x.tobytes() + self.y.tobytes())


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzip.

    Raises:
        InputError: unreadable, not IDX, another element type, truncated, or bytes left over.
    """
    data = _decompress(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != 8 or not 1 <= data[3] <= 4:
        raise InputError(
            f"starts with {data[:4].hex(' ')}, expected 00 00 08 and 1..4 dimensions (IDX, bytes)",
            where=str(path),
            hint="This is no IDX file: get the original, for example train-images-idx3-ubyte.gz.",
        )
    count = data[3]
    header, body = data[4 : 4 + 4 * count], data[4 + 4 * count :]
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, 4 * count, 4))
    expected = math.prod(shape)  # Python integers: a hostile header cannot make it wrap
    if len(header) != 4 * count or len(body) != expected:
        raise InputError(
            f"holds {len(body):,} bytes of data, its header {shape} promises {expected:,}",
            where=str(path),
            hint="The file is truncated or damaged; get it again.",
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def load_fashion_mnist(
    split: Split, data_dir: Path | None = None, *, download: bool = False
) -> ImageSet:
    """Load Fashion-MNIST, x (N, 1, 28, 28).

    Args:
        split: which images.
        data_dir: folder with the four IDX files, or one that holds ``FashionMNIST/raw``.
            Without it the system's data set folder is used.
        download: let torchvision fetch the files into ``data_dir`` when they are absent.

    Raises:
        InputError: the files are missing (how to get them is said) or damaged, or could not be
            fetched.
    """
    if download and data_dir is not None:
        _download(data_dir)
    return read_idx_folder(find_fashion_mnist(data_dir), split)


def load_mnist(split: Split, data_dir: Path | None = None) -> ImageSet:
    """Load MNIST, x (N, 1, 28, 28), from the IDX files in a folder or in its ``MNIST/raw``.

    Raises:
        InputError: no folder given, or files missing or damaged.
    """
    hint = "Put the four IDX files of MNIST (plain or .gz) into a folder and name it."
    if data_dir is None:
        raise InputError("MNIST needs --data-dir", hint=hint)
    for folder in (data_dir, data_dir / _TORCHVISION["mnist"]):
        if _has_idx(folder):
            return read_idx_folder(folder, split)
    raise _not_found("MNIST", data_dir, _TORCHVISION["mnist"], _IDX_NAMES, hint)


def read_idx_folder(folder: Path, split: Split) -> ImageSet:
    """Read one split, x (N, 1, 28, 28), of a folder with four IDX files named as MNIST's are.

    Raises:
        InputError: files are missing, damaged or do not fit each other.
    """
    stem = "train" if split == "train" else "t10k"
    images, labels = (
        _idx_file(folder, f"{stem}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    x, y = read_idx(images), read_idx(labels)
    if x.shape[1:] != (28, 28) or y.shape != x.shape[:1]:
        raise InputError(
            f"images {x.shape} and labels {y.shape} do not fit",
            where=f"{images} and {labels.name}",
            hint="Expected images (N, 28, 28) and one label for each; get both files again.",
        )
    return _checked(x[:, None], y, str(labels))


def find_fashion_mnist(data_dir: Path | None = None) -> Path:
    """Return the folder of the IDX files.

    Raises:
        InputError: not found; says where it looked and how to get the files.
    """
    roots = (data_dir,) if data_dir is not None else _FASHION_FOLDERS
    tried = [p for r in roots for p in (r, r / _TORCHVISION["fashion-mnist"])]
    for folder in tried:
        if _has_idx(folder):
            return folder
    if data_dir is not None:
        inner = _TORCHVISION["fashion-mnist"]
        raise _not_found("Fashion-MNIST", data_dir, inner, _IDX_NAMES, _FASHION_HINT)
    raise InputError(
        "Fashion-MNIST was not found in " + ", ".join(map(str, tried)),
        hint=_FASHION_HINT,
    )


_IDX_NAMES = [
    f"{stem}-{kind}-ubyte" for stem in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
]
_FASHION_HINT = (
    "Put the four IDX files (plain or .gz) into it. On Debian: apt install dataset-fashion-mnist. "
    f"Elsewhere: `{install_command('download')}`, then train with --download --data-dir FOLDER."
)


def _not_found(
    what: str, folder: Path, inner: str | Path, names: list[str], hint: str
) -> InputError:
    """Return the error that says which files of a data set a folder lacks, or that it is none."""
    if folder.exists() and not folder.is_dir():
        return InputError(
            f"is a file; a folder with {what} was expected", where=str(folder), hint=hint
        )
    if not folder.exists():
        return InputError("there is no such folder", where=str(folder), hint=hint)
    missing = {
        place: [name for name in names if not _idx_file(place, name).is_file()]
        for place in (folder / inner, folder)
    }
    place = min(missing, key=lambda p: len(missing[p]) if p.is_dir() else len(names) + 1)
    (other,) = missing.keys() - {place}
    told = f"{what} was not found: there is no {', '.join(missing[place])}, nor all in {other}"
    return InputError(told, where=str(place), hint=hint)


def load_cifar10(split: Split, data_dir: Path | None = None) -> ImageSet:
    """Load CIFAR-10 from its binary version, x (N, 3, 32, 32).

    Args:
        split: which images.
        data_dir: folder with ``data_batch_1.bin`` ..., or one that holds
            ``cifar-10-batches-bin``.

    Raises:
        InputError: no folder given, files missing, or their size is wrong.
    """
    if data_dir is None:
        raise InputError("CIFAR-10 needs --data-dir", hint=_CIFAR_HINT)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    for folder in (data_dir, data_dir / _TORCHVISION["cifar10"]):
        if all((folder / name).is_file() for name in names):
            parts = [_read_cifar_batch(folder / name) for name in names]
            return _checked(
                np.concatenate([x for x, _ in parts]),
                np.concatenate([y for _, y in parts]),
                str(folder),
            )
    raise _not_found("CIFAR-10", data_dir, _TORCHVISION["cifar10"], names, _CIFAR_HINT)


_CIFAR_HINT = "Unpack cifar-10-binary.tar.gz (the 'binary version' on the CIFAR-10 page)."


def load_dataset(name: DatasetName, split: Split, data_dir: Path | None = None) -> ImageSet:
    """Load a split of a named data set, and check by its content that it is no other one.

    Files that are no published set are accepted: they may be somebody's own images in this form.

    Raises:
        InputError: the files are missing or damaged, or are those of another data set or split.
    """
    load: dict[str, Callable[..., ImageSet]] = {
        "fashion-mnist": load_fashion_mnist,
        "mnist": load_mnist,
        "cifar10": load_cifar10,
    }
    images = load[name](split, data_dir)
    found = training_set(images.content_hash())
    if found is not None and (found.dataset, found.split) != (name, split):
        raise InputError(
            f"the files hold {found.name} {found.split} (recognised by content), "
            f"not {name} {split}",
            where=str(data_dir or "the system's data sets"),
            hint=f'Name another folder, or write dataset = "{found.dataset}" into the recipe.',
        )
    return images


def hold_out(images: ImageSet, count: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split off the last ``count`` images of a seeded permutation.

    Returns:
        The rest, and the held-out part.

    Raises:
        InputError: ``count`` leaves nothing on one side.
    """
    if not 0 < count < len(images):
        most = len(images) - 1
        share = max(1, len(images) // _USUAL_SHARE)
        raise InputError(
            f"data.held_out is {count:,}, and there {'is' if len(images) == 1 else 'are'} "
            f"{counted(len(images), 'image')}: none would be left to train on, "
            "or none to choose the epoch with",
            hint=f"Set data.held_out to {share:,} (1 to {most:,} work), or give more images."
            if most
            else "Give at least 2 images: one to train on, one to hold out.",
        )
    order = np.random.default_rng(seed).permutation(len(images))
    return images.take(order[:-count]), images.take(order[-count:])


def _decompress(path: Path) -> bytes:
    data = read_bytes(path)
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"is not a whole gzip file: {error}", where=str(path), hint="Get the file again."
        ) from error


def _idx_file(folder: Path, name: str) -> Path:
    plain = folder / name
    return plain if plain.is_file() else folder / f"{name}.gz"


def _has_idx(folder: Path) -> bool:
    return all(
        _idx_file(folder, f"{s}-{k}-ubyte").is_file()
        for s in ("train", "t10k")
        for k in ("images-idx3", "labels-idx1")
    )


def _read_cifar_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    data = read_bytes(path)
    if not data or len(data) % _CIFAR_RECORD:
        raise InputError(
            f"has {len(data):,} bytes, expected a multiple of {_CIFAR_RECORD}",
            where=str(path),
            hint=_CIFAR_HINT,
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _checked(x: NDArray[np.uint8], y: NDArray[Any], where: str) -> ImageSet:
    if y.size and y.max() > 9:
        first = int((y > 9).argmax())
        raise InputError(
            f"labels go up to {y.max()} (first at index {first}), expected 0..9",
            where=where,
            hint="Get the labels again, or check that they are those of this data set.",
        )
    return ImageSet(np.ascontiguousarray(x), y.astype(np.int64))


def _download(data_dir: Path) -> None:
    try:
        torchvision = importlib.import_module("torchvision.datasets")
    except ImportError as error:
        raise InputError(
            "downloading needs torchvision, which is not installed",
            hint=f"Install: {install_command('download')}. Or put the four IDX files into the "
            "folder yourself.",
        ) from error
    try:
        torchvision.FashionMNIST(str(data_dir), train=True, download=True)
    except (OSError, RuntimeError) as error:  # no connection, no space, a damaged file
        raise InputError(
            f"Fashion-MNIST could not be downloaded: {error}",
            where=str(data_dir),
            hint="Check the connection, or put the four IDX files into the folder yourself.",
        ) from error
