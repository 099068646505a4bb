"""Files of networks: what reads them (frontends) and what writes them (exporters), by name.

A new one is a file with a frontend or an :class:`Exporter` in it, and a line in a registry
below or an entry point of its group. Commands, the public functions and
:mod:`spikeproof.io.kinds` ask here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikeproof.errors import InputError
from spikeproof.io.bundle import Bundle
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint
from spikeproof.ir.chip import ChipNetwork
from spikeproof.registry import Registry

Stage = Callable[[str], AbstractContextManager[Any]]
"""Called with a title, for the time a piece of work takes."""


@dataclass(frozen=True)
class TrainedFrontend:
    """Turns one kind of file into a trained network, which can be converted and verified.

    Args:
        title: what people call such files.
        recognises: tells by a file's content, quickly.
        load: returns the network with the identity of the file's content.
    """

    title: str
    recognises: Callable[[Path], bool]
    load: Callable[[Path], Checkpoint]


@dataclass(frozen=True)
class ChipFrontend:
    """Turns one kind of file into chip integers as they are: nothing about them is chosen.

    Args:
        title: what people call such files.
        recognises: tells by a file's content, quickly.
        load: called as ``load(path, data, **options)``: a file whose first samples become the
            self-test (or None), and what ``spikeproof convert`` was told that the file leaves open.
        columns: what is shown of the table in the bundle's record.
    """

    title: str
    recognises: Callable[[Path], bool]
    load: Callable[..., Bundle]
    columns: tuple[str, ...]
    inspect: Callable[[Path, tuple[int, int, int] | None], Described]
    """Called as ``inspect(path, input_shape)``; works as far as the file says."""


@dataclass(frozen=True, eq=False)
class Described:
    """A file of chip integers as it would be read: rows of its layers, steps if it says them."""

    network: ChipNetwork
    layers: list[dict[str, Any]]
    timesteps: int | None
    warnings: list[str]


Frontend = TrainedFrontend | ChipFrontend


@dataclass(frozen=True)
class Exported:
    """What is to be said of an export: values compared with the reference, and remarks."""

    compared: int | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Exporter:
    """Writes a bundle in another format.

    Args:
        kind: what the file is, as :mod:`spikeproof.io.kinds` names kinds.
        suffix: of the file's name, with the dot.
        recognises: tells whether a file was written by it; may raise what reading raises.
        write: called as ``write(bundle, path, traces, stage)``; writes in one step, and nothing
            where the network does not fit the format.
        traces: whether it can give u, v and spikes of every layer.
    """

    kind: str
    suffix: str
    recognises: Callable[[Path], bool]
    write: Callable[[Bundle, Path, bool, Stage], Exported]
    traces: bool = False


FRONTENDS: Registry[Frontend] = Registry(
    "frontend",
    "spikeproof.frontends",
    {
        "checkpoint": "spikeproof.formats.checkpoint:CHECKPOINT",
        "netx": "spikeproof.formats.netx.frontend:NETX",
    },
)
EXPORTERS: Registry[Exporter] = Registry(
    "format",
    "spikeproof.exporters",
    {
        "onnx": "spikeproof.formats.onnx.exporter:ONNX",
        "net": "spikeproof.formats.netx.exporter:NET",
    },
    where="--format",
)


def find_frontend(path: Path) -> Frontend | None:
    """Return what reads a file; None: nothing does.

    Raises:
        InputError: missing, a folder, a pipe, or unreadable.
    """
    return next((f for f in FRONTENDS.all().values() if f.recognises(path)), None)


def load_trained(path: Path) -> Checkpoint:
    """Read a trained network, whatever kind of file it is in (see load_checkpoint)."""
    frontend = find_frontend(path)
    if isinstance(frontend, TrainedFrontend):
        return frontend.load(path)
    return load_checkpoint(path)  # whose error says what the file is instead


def exporter_name(given: str | None, output: Path | None, default: str = "onnx") -> str:
    """Return the name of a format, which the suffix of the output tells where nothing else does.

    Raises:
        InputError: the two contradict each other, or there is no such format, or no such suffix.
    """
    suffixes = {exporter.suffix: name for name, exporter in EXPORTERS.all().items()}
    named = suffixes.get(output.suffix.lower()) if output else None
    if given is not None:
        EXPORTERS.get(given)
    if output and given and named and given != named:
        raise InputError(
            f"--format {given} contradicts the name {output}",
            where="export",
            hint=f"Leave --format out, or call the file "
            f"{output.with_suffix(EXPORTERS.get(given).suffix)}.",
        )
    if output and output.suffix and not (given or named or output.exists()):
        raise InputError(
            f"{output.name}: no format ends in {output.suffix}",
            where="export",
            hint=f"Call the file *{' or *'.join(suffixes)}, or give --format.",
        )
    return given or named or default
