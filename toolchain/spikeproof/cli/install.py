"""Install optional parts into the environment of this program: ``doctor --install EXTRA``.

spikeproof comes as a wheel or a checkout and not from an index, so what an extra needs is read
from the metadata of what is installed, and those packages are named one by one. Lava's metadata
caps Python and NumPy below versions on which its own tests pass: it is installed without what its
metadata demands, its dependencies with bounds of ours.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from spikeproof.errors import InputError
from spikeproof.extras import is_installed, version_of

DISTRIBUTION = "spikeproof"
UNCAPPED = {"lava-nc": "lava-nc==0.10.0"}
"""Packages installed without what their metadata demands, as pinned there."""
_NEUTRAL = sys.prefix
# "python -m pip" would run a pip.py of the current folder, and uv reads settings that lie there.
_NO_INSTALLER = (
    "Make an environment of its own and install spikeproof there: "
    "python3 -m venv .venv && . .venv/bin/activate"
)


def extras() -> list[str]:
    """Return the names of all extras of the installed distribution."""
    return sorted(metadata(DISTRIBUTION).get_all("Provides-Extra") or [])


def requirements(extra: str) -> list[str]:
    """Return what an extra needs here, as requirements that an installer understands.

    NumPy's bounds always stand among them: no extra may lift it to a version that makes Lava hang.
    torchvision, each release of which takes one release of torch, is asked for beside the torch
    that is installed.

    Raises:
        InputError: there is no such extra; the names are listed.
    """
    names = extras()
    if extra not in names:
        near = get_close_matches(extra, names, n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"there is no extra {extra!r}{guess}",
            where="doctor --install",
            hint=f"Extras: {', '.join(names)}.",
        )
    numpy = [r for r in _required("") if Requirement(r).name == "numpy"]
    wanted = [*_required(extra), *numpy]
    torch = version_of("torch")
    if torch and any(Requirement(r).name == "torchvision" for r in wanted):
        wanted.append(f"torch=={Version(torch).public}")  # any build of it, also one for CPUs
    return list(dict.fromkeys(wanted))


def _required(extra: str) -> Iterator[str]:
    """Yield what one extra adds on this Python; extras made of extras are followed."""
    for text in requires(DISTRIBUTION) or []:
        item = Requirement(text)
        if not _belongs(item, extra):
            continue
        if item.name == DISTRIBUTION:
            for other in sorted(item.extras):
                yield from _required(other)
        else:
            item.marker = None
            yield str(item)


def _belongs(item: Requirement, extra: str) -> bool:
    """Tell whether a requirement is the extra's own; the core's own are those of the extra ""."""
    if item.marker is None:
        return not extra
    # What is installed without its caps is installed on any Python, whatever the metadata says.
    python = {"python_version": "3.10"} if item.name in UNCAPPED else {}
    always = item.marker.evaluate({"extra": "", **python})
    return always is (not extra) and item.marker.evaluate({"extra": extra, **python})


def commands(extra: str, *, upgrade: bool = False) -> list[list[str]]:
    """Return the one or two commands that install an extra here.

    Raises:
        InputError: no such extra, or neither uv nor pip works here.
    """
    wanted = requirements(extra)
    uncapped = [UNCAPPED[name] for r in wanted if (name := Requirement(r).name) in UNCAPPED]
    checked = [r for r in wanted if Requirement(r).name not in UNCAPPED]
    install, unchecked = _installer(extra)
    install += ["--upgrade"] if upgrade else []
    first = [[*install, *unchecked, *uncapped]] if uncapped else []
    return [*first, [*install, *checked]]


def is_complete(extra: str) -> bool:
    """Tell whether everything an extra needs is installed, in versions that it takes."""
    wanted = [Requirement(UNCAPPED.get(Requirement(r).name, r)) for r in requirements(extra)]
    return all(_has(item) for item in wanted)


def _has(item: Requirement) -> bool:
    try:
        return item.specifier.contains(version(item.name), prereleases=True)
    except PackageNotFoundError:
        return False


def _installer(extra: str) -> tuple[list[str], list[str]]:
    """Return the installer's command, and its options to ignore a package's own demands."""
    pip = [sys.executable, "-m", "pip", "install"], ["--no-deps", "--ignore-requires-python"]
    if is_installed("pip") and not _made_by_uv():
        return pip
    for candidate in _uvs():
        if _works(candidate):
            return [*candidate, "pip", "install", "--python", sys.executable], ["--no-deps"]
    if is_installed("pip"):
        return pip
    raise InputError(
        "this environment has no pip, and uv was not found",
        where=sys.prefix,
        hint="In a checkout: `deactivate`, then `python3 -m uv run spikeproof doctor --install "
        f"{extra}`. Elsewhere: `{shlex.quote(sys.executable)} -m ensurepip`, then the same again.",
    )


def _made_by_uv() -> bool:
    try:
        text = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(line.split("=")[0].strip() == "uv" for line in text.splitlines())


def _uvs() -> Iterator[list[str]]:
    """Yield ways to call uv; a shim on the path may be there and still not work."""
    if given := os.environ.get("UV"):
        yield [given]
    if found := shutil.which("uv"):
        yield [found]
    beside = Path(sys.prefix).parent / ".uv" / "bin" / "uv"  # where README makes one
    for path in (beside, Path.home() / ".local" / "bin" / "uv"):
        if path.is_file():
            yield [str(path)]
    yield [sys.executable, "-m", "uv"]
    # The Python that this environment was made from: `python3 -m pip install uv` put it there.
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    if sys.base_prefix != sys.prefix and base.is_file():
        yield [str(base), "-m", "uv"]


def _works(candidate: list[str]) -> bool:
    """Tell whether it starts where we call it, and where who copies the command stands."""
    return all(_starts(candidate, folder) for folder in (_NEUTRAL, None))


def _starts(candidate: list[str], folder: str | None) -> bool:
    try:
        done = subprocess.run(
            [*candidate, "--version"], cwd=folder, capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def install(plan: list[list[str]]) -> None:
    """Run the commands of :func:`commands`; the installer's own output goes to stderr.

    Raises:
        InputError: the installer refused.
    """
    for command in plan:
        done = subprocess.run(command, cwd=_NEUTRAL, stdout=sys.stderr, check=False)
        if done.returncode:
            raise InputError(
                f"{' '.join(command)} ended with code {done.returncode}; what it says stands above",
                where="doctor --install",
                hint=_NO_INSTALLER,
            )
