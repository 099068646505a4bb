"""Files of networks: what reads them (frontends) and what writes them (exporters), by name.

A new one is a file with a frontend or an :class:`Exporter` in it, and a line in a registry
below or an entry point of its group. Commands, the public functions and
:mod:`spikeproof.io.kinds` ask here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeproof.errors import InputError, list_problems, problems_of
from spikeproof.registry import Registry

if TYPE_CHECKING:  # help lists the names, and should not wait for what reads files
    from pydantic import BaseModel, ValidationError

    from spikeproof.io.bundle import Bundle
    from spikeproof.io.checkpoint import Checkpoint
    from spikeproof.io.record import SourceRecord
    from spikeproof.ir.chip import ChipNetwork

Stage = Callable[[str], AbstractContextManager[Any]]
"""Called with a title, for the time a piece of work takes."""


@dataclass(frozen=True)
class TrainedFrontend:
    """Turns one kind of file into a trained network, which can be converted and verified.

    Args:
        title: what people call such files.
        recognises: tells by a file's content, quickly. Files that look like any other of their
            kind are recognised by nobody; ``convert --from NAME`` says what they are.
        load: called as ``load(path)``, or as ``load(path, settings)`` where there are settings;
            returns the network with the identity of the file's content.
        settings: what such a file leaves open, as a model: its fields are options of ``convert``
            and keyword arguments of the public functions, and those without a default must be
            given. What was given stands in the bundle's record, where ``verify`` reads it.
        advice: for whoever gave too few of them: where to find the values.
    """

    title: str
    recognises: Callable[[Path], bool]
    load: Callable[..., Checkpoint]
    settings: type[BaseModel] | None = None
    advice: str | None = None


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
        "stable-snn": "spikeproof.formats.stable_snn.frontend:STABLE_SNN",
    },
    where="--from",
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


def find_frontend(path: Path, name: str | None = None) -> Frontend | None:
    """Return what reads a file, by the name it goes by or else by its content; None: nothing does.

    Raises:
        InputError: missing, a folder, a pipe, or unreadable; or there is no frontend of that name.
    """
    if name is not None:
        return FRONTENDS.get(name)
    return next((f for f in FRONTENDS.all().values() if f.recognises(path)), None)


def load_trained(
    path: Path, name: str | None = None, given: Mapping[str, Any] | None = None
) -> Checkpoint:
    """Read a trained network, whatever kind of file it is in (see load_checkpoint).

    Args:
        path: the file.
        name: of the frontend; None: its content tells.
        given: what the file leaves open, by the names of the frontend's settings. It is part of
            the identity of the network, and of its training record.

    Raises:
        InputError: settings are missing, wrong, or not for such a file; all are listed.
    """
    from pydantic import ValidationError

    from spikeproof.io.checkpoint import load_checkpoint

    frontend = find_frontend(path, name)
    if not isinstance(frontend, TrainedFrontend):
        _refuse_settings(given, "this file", path)
        return load_checkpoint(path)  # whose error says what the file is instead
    if frontend.settings is None:
        _refuse_settings(given, f"a {frontend.title}", path)
        return frontend.load(path)
    try:
        settings = frontend.settings.model_validate(given or {})
    except ValidationError as error:
        raise _all_wrong(frontend, frontend.settings, error, path, given or {}) from error
    return _with_source(frontend, frontend.load(path, settings), settings, path)


def _with_source(
    frontend: TrainedFrontend, loaded: Checkpoint, settings: BaseModel, path: Path
) -> Checkpoint:
    """Record what was said of a file: it is part of the identity of the network."""
    from spikeproof.io.files import canonical_json, sha256
    from spikeproof.io.record import SourceRecord, TrainingRecord, read_record

    source = SourceRecord(
        frontend=frontend_name(frontend),
        hash=loaded.content_hash,
        settings=settings.model_dump(mode="json", exclude_none=True),
    ).model_dump(mode="json")
    training = read_record(
        TrainingRecord, {**loaded.training.document, "source": source}, str(path)
    )
    return replace(loaded, training=training, content_hash=sha256(canonical_json(source)))


def _all_wrong(
    frontend: TrainedFrontend,
    model: type[BaseModel],
    error: ValidationError,
    path: Path,
    given: Mapping[str, Any],
) -> InputError:
    """Return the error for wrong settings and for all that is wrong with the file besides.

    What the file lacks stands first: without it no value of a setting helps.
    """
    from pydantic import ValidationError

    from spikeproof.io.options import wrong_settings

    found = wrong_settings(model, error, str(path))
    problems, hints = problems_of(found.what), [found.hint]
    if any(item["type"] == "missing" for item in error.errors()):
        hints.append(frontend.advice)
    wrong = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
    try:
        frontend.load(
            path, model.model_validate({k: v for k, v in given.items() if k not in wrong})
        )
    except ValidationError:
        pass  # more of them are missing, which has been said
    except InputError as more:
        options = [f"--{name.replace('_', '-')}" for name in wrong]
        besides = [p for p in problems_of(more.what) if not any(o in p for o in options)]
        problems = besides + problems
        hints = [more.hint] * bool(besides) + hints
    hint = " ".join(dict.fromkeys(hint for hint in hints if hint))
    return InputError(list_problems(problems), where=str(path), hint=hint)


def load_source(path: Path, bundle: Bundle) -> Checkpoint:
    """Read the trained network that a bundle came from.

    What its file leaves open is taken from the bundle's record, as it was given when it was
    converted; a file that leaves nothing open is read as it is.
    """
    source = recorded_source(bundle)
    frontend = find_frontend(path)
    says_all = isinstance(frontend, TrainedFrontend) and frontend.settings is None
    if source is None or says_all:
        return load_trained(path)
    return load_trained(path, source.frontend, source.settings)


def recorded_source(bundle: Bundle) -> SourceRecord | None:
    """Return what a bundle records of the foreign file it came from; None: it came from none."""
    origin = bundle.record.checkpoint
    return None if origin is None else origin.source


def frontend_name(frontend: Frontend) -> str:
    """Return the name under which a frontend is registered."""
    return next(name for name, known in FRONTENDS.all().items() if known is frontend)


def _refuse_settings(given: Mapping[str, Any] | None, what: str, path: Path) -> None:
    if given:
        names = ", ".join(given)
        raise InputError(
            f"{names} does not apply to {what}", where=str(path), hint=f"Leave out {names}."
        )


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
