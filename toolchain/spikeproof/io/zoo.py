"""Find the networks, images and recipes that ship with the project, without importing torch.

In a checkout they lie in ``models/``; in a wheel inside the package ``spikeproof_models``.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from spikeproof.errors import InputError

_PACKAGE = "spikeproof_models"
_SUFFIX = ".ckpt"


def shipped_folder(name: str = "zoo") -> Path:
    """Return the folder of the shipped networks, or that of the shipped ``recipes``.

    Raises:
        InputError: this installation has none.
    """
    spec = find_spec(_PACKAGE)
    package = Path(spec.origin).parent if spec is not None and spec.origin else None
    if package is not None:
        for folder in (package / name, package.parent / name):
            if folder.is_dir():
                return folder
    raise InputError(
        f"the folder {name!r} is missing from this installation",
        where=str(package or _PACKAGE),
        hint="Install spikeproof again, or name a file of your own.",
    )


def zoo_networks() -> dict[str, Path]:
    """Return the shipped networks: name -> checkpoint file."""
    return {path.stem: path for path in sorted(shipped_folder().glob(f"*{_SUFFIX}"))}


def zoo_images() -> Path:
    """Return the npz file of shipped real test images (``x``) and labels (``y``)."""
    return _data("test")


def zoo_calibration() -> Path:
    """Return the npz file of shipped training images for calibration; none is a test image."""
    return _data("calibration")


def _data(kind: str) -> Path:
    """Return the shipped images of one kind.

    Raises:
        InputError: this installation has none.
    """
    folder = shipped_folder() / "data"
    found = sorted(folder.glob(f"*-{kind}-*.npz"))
    if not found:
        raise InputError(
            f"the shipped {kind} images are missing",
            where=str(folder),
            hint="Install spikeproof again, or name your own file of images.",
        )
    return found[0]


def resolve_model(name: str) -> Path:
    """Return the file for what a user typed: a path, or the name of a shipped network.

    Raises:
        InputError: neither, or empty; the shipped names and near misses are listed.
    """
    if not name:
        raise InputError(
            "the name of the network is empty",
            hint=f"Name a file, or a shipped network: {', '.join(zoo_networks()) or 'none'}.",
        )
    path = Path(name)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    networks = zoo_networks()
    if name in networks:
        return networks[name]
    near = get_close_matches(name, networks, n=1)
    raise InputError(
        "is neither a file nor a shipped network"
        + (f"; did you mean {near[0]!r}?" if near else ""),
        where=name,
        hint=f"Shipped: {', '.join(networks) or 'none'}.",
    )
