"""What code a run is made with: versions, machine, and a hash of our own sources.

A stored result is only worth something if what computed it is what would compute it now.
"""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spikeproof import __version__
from spikeproof.engines.trace import Engine
from spikeproof.extras import version_of

Json = dict[str, Any]
PACKAGES = ("numpy", "scipy", "numba", "torch", "lava-nc", "onnxruntime")
OURS = ("spikeproof", "spikeproof_models", "spikeproof_lava")
_SOURCES = (".py", ".toml")


def code_identity(engine: Engine | None = None) -> Json:
    """Return what a stored result depends on besides data and settings.

    Args:
        engine: a target given as an object; others are found by name and known by their package.
    """
    return {
        "spikeproof": __version__,
        "sources": source_hash(),
        "python": platform.python_version(),
        "machine": [platform.system(), platform.machine()],
        "packages": package_versions(),
        "targets": _targets(),
        "engine": None if engine is None else f"{type(engine).__qualname__} {engine.name}",
    }


def package_versions() -> dict[str, str | None]:
    """Return the versions of the packages results depend on; None if one is not installed."""
    return {name: version_of(name) for name in PACKAGES}


def _targets() -> dict[str, str]:
    """Return the package and version of every installed target."""
    found = {}
    for point in entry_points(group="spikeproof.targets"):
        made_by = f"{point.dist.name} {point.dist.version}" if point.dist else ""
        found[point.name] = f"{point.value} {made_by}"
    return found


@cache
def source_hash() -> str:
    """Return one hash of the source files of our packages, as they are on disk."""
    folders = {}
    for name in OURS:
        spec = find_spec(name)
        for place in (spec.submodule_search_locations or []) if spec else []:
            folders[name] = Path(place)
    return hash_sources(folders)


def hash_sources(folders: dict[str, Path]) -> str:
    """Return one hash of names and contents of all source files below the folders."""
    digest = hashlib.sha256()
    for name, folder in sorted(folders.items()):
        for path in sorted(p for p in folder.rglob("*") if p.suffix in _SOURCES and p.is_file()):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name}/{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()
