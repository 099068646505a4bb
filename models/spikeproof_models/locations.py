"""Where recipes and trained networks lie, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

from spikeproof.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def zoo_dir() -> Path:
    """Return the folder of the trained networks."""
    return _find("zoo")


def recipes_dir() -> Path:
    """Return the folder of the training recipes."""
    return _find("recipes")


def _find(name: str) -> Path:
    """Look inside the package first (wheel), then beside it (checkout)."""
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise InputError(
        f"the folder {name!r} is missing from this installation",
        where=str(_PACKAGE),
        hint="Install spikeproof again.",
    )
