"""What a command may write where: asked once, before any work, by every command that writes.

* No output is one of the command's inputs, whatever it is called: another path, a link, a copy of
  the name with other case on a file system that does not care.
* A file that exists and is not of the kind to be written is replaced only with ``--force``.
* The folder of an output must exist. Only ``runs``, where results go by default, is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikeproof.errors import InputError, list_problems
from spikeproof.io.files import same_file, through_link
from spikeproof.text import one_line

if TYPE_CHECKING:
    from spikeproof.io.kinds import Kind

RUNS = "runs"
Force = Annotated[
    bool, typer.Option("--force", help="Replace a file even if it is of another kind.")
]


@dataclass(frozen=True)
class Output:
    """A file to be written, what it will be, and the option that names it or its folder.

    folder: the folder of a run that holds the file, and is made if only it itself is missing.
    """

    path: Path
    kind: Kind
    option: str = "-o"
    folder: Path | None = None


def run_files(folder: Path, files: dict[str, Kind], option: str = "-o") -> list[Output]:
    """Return the outputs that are files of one folder: name -> kind."""
    return [Output(folder / name, kind, option, folder) for name, kind in files.items()]


def check_outputs(
    outputs: Sequence[Output], inputs: Iterable[Path | None], *, force: bool = False
) -> None:
    """Check that everything that will be written may be; nothing is made or changed.

    Args:
        outputs: every file the command will write.
        inputs: every file and folder it reads; of a data set's folder also ``x.npy``, ``y.npy``.
        force: accept existing files of another kind.

    Raises:
        InputError: one output is an input or another output, or in the way of something, or has no
            folder; every problem is listed.
    """
    read = [path for given in inputs if given is not None for path in _with_members(given)]
    problems: dict[str, None] = {}
    for i, output in enumerate(outputs):
        before = outputs[:i]
        found = _problem(output, read, [o for o in before if same_file(o.path, output.path)], force)
        if found is not None:
            problems[found] = None
    if problems:
        raise InputError(list_problems(list(problems)), hint=_hint(list(problems)))


def check_folder(folder: Path, option: str = "-o") -> None:
    """Check that a folder for files with names of our own exists or can be made.

    Raises:
        InputError: it is a file, cannot be written to, or its own folder does not exist.
    """
    problem = _missing_folder(Output(folder / "x", "bundle", option, folder))
    if problem is not None:
        raise InputError(problem, hint=_hint([problem]))


def _problem(output: Output, read: list[Path], twice: list[Output], force: bool) -> str | None:
    from spikeproof.io.kinds import in_the_way  # help needs none of what this imports

    path, where = output.path, one_line(f"{output.option} {output.path}")
    if any(same_file(path, other) for other in read):
        return f"{where}: is an input of this command and is never overwritten"
    if twice:
        return f"{where}: is the place of the {twice[0].kind}, too ({twice[0].option})"
    if (missing := _missing_folder(output)) is not None:
        return missing
    found = in_the_way(path, output.kind, force=force, told="--force")
    return None if found is None else f"{where}: {found}"


def _missing_folder(output: Output) -> str | None:
    """Say what is wrong with the folder of an output, if anything is: once for all of a run."""
    where = one_line(f"{output.option} {output.folder or output.path}")
    folder = through_link(output.path).parent if output.folder is None else output.folder
    if output.folder is not None and not os.path.lexists(folder):
        folder = folder.parent
    if folder.is_dir():
        writable = os.access(folder, os.W_OK | os.X_OK)
        return None if writable else f"{where}: the folder {folder} cannot be written to"
    if folder.exists() or os.path.lexists(folder):
        return f"{where}: {folder} is not a folder"
    if _below_runs(folder):
        return None
    return f"{where}: the folder {folder} does not exist"


def _below_runs(folder: Path) -> bool:
    return not folder.is_absolute() and folder.parts[:1] == (RUNS,) and ".." not in folder.parts


def _with_members(path: Path) -> list[Path]:
    return [path, path / "x.npy", path / "y.npy"] if path.is_dir() else [path]


def _hint(problems: list[str]) -> str:
    text = "\n".join(problems)
    if "does not exist" in text:
        return f"Make the folder first (mkdir -p), or choose another place; only {RUNS}/ is made."
    return "Choose another place."
