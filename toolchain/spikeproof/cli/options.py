"""Options shared by all commands, and options made from a typed model's fields."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeproof.cli.console import Console
from spikeproof.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

Command = Callable[..., int]
LISTED = "X,Y,..."
"""What help shows for an option of any number of numbers, which the parser gets as one word."""

JSON = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, all else on stderr.")
]
QUIET = Annotated[bool, typer.Option("-q", "--quiet", help="Only the last lines and errors.")]
VERBOSE = Annotated[bool, typer.Option("-v", "--verbose", help="Details of every stage.")]
DEBUG = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
WORKERS_HELP = "Processes of this machine that share the work (threads, for the fast engine)."
Workers = Annotated[int, typer.Option(min=1, help="Processes of this machine that share the work.")]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Share the work over a Dask cluster, tcp://HOST:8786."),
]
_COMMON = {"json": JSON, "quiet": QUIET, "verbose": VERBOSE, "debug": DEBUG}


def command(
    function: Callable[..., int], *models: type[BaseModel], skip: frozenset[str] = frozenset()
) -> Command:
    """Give a command the common options, and one option per field of each model.

    The function takes ``console`` first; for every model it takes a dict of the explicitly
    given fields, in order, before its own parameters. Fields and options cannot drift apart,
    because the options are made from the fields; ``skip`` names fields without an option.
    """
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1 + len(models) :]
    made = [_options(model, skip) for model in models]

    @functools.wraps(function)
    def run(**given: Any) -> int:
        console = Console(**{key: given.pop(key) for key in _COMMON})
        chosen = [{k: given.pop(k) for k in options} for options in made]
        explicit = [_explicit(part) for part in chosen]
        return function(console, *explicit, **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=keyword) for p in own]
    for options in made:
        parameters += [
            inspect.Parameter(k, keyword, annotation=a, default=None) for k, a in options.items()
        ]
    parameters += [
        inspect.Parameter(k, keyword, annotation=a, default=False) for k, a in _COMMON.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _explicit(part: dict[str, Any]) -> dict[str, Any]:
    """Keep what the user gave; repeated LAYER=X options become a dict."""
    return {
        name: _pairs(name, value) if isinstance(value, list) else value
        for name, value in part.items()
        if value is not None and value != []
    }


def _options(model: type[BaseModel], skip: frozenset[str]) -> dict[str, Any]:
    wanted = {k: info for k, info in model.model_fields.items() if k not in skip}
    fields = {name: _option(name, info) for name, info in wanted.items()}
    return {name: option for name, option in fields.items() if option is not None}


def _option(name: str, info: FieldInfo) -> Any:
    """Make one typer option; None for fields no command line can spell (tables, nested models)."""
    members = typing.get_args(info.annotation) if _is_union(info.annotation) else ()
    if dict[str, float] in members:
        help_text = f"{info.description} Repeat it for several."
        option = typer.Option(_flags(name, str), help=help_text, metavar="LAYER=X")
        return Annotated[list[str] | None, option]
    kind = _plain(info.annotation)
    if kind is None:
        return None
    option = typer.Option(
        _flags(name, kind), help=_help(name, info), show_default=False, metavar=_meta(kind, info)
    )
    return Annotated[str | None if kind is typing.Literal else kind | None, option]


def settings_of_frontends() -> type[BaseModel]:
    """Return all that frontends of trained networks ask for, as one model of optional fields.

    Where two ask for the same, the option is the first one's; each checks what it is given itself.
    """
    from pydantic import Field, create_model

    from spikeproof.io.formats import FRONTENDS, TrainedFrontend

    fields: dict[str, Any] = {}
    for name, frontend in FRONTENDS.all().items():
        model = frontend.settings if isinstance(frontend, TrainedFrontend) else None
        for key, info in model.model_fields.items() if model else ():
            told = f"--from {name}: {info.description}"
            fields.setdefault(key, (info.annotation, Field(default=None, description=told)))
    return create_model("FrontendSettings", **fields)


def _help(name: str, info: FieldInfo) -> str:
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    if isinstance(default, bool):
        default = _flags(name, bool).split("/")[not default].removeprefix("--")
    return f"{info.description or ''}{'' if default is None else f' [default: {default}]'}"


def _plain(annotation: Any) -> Any:
    """Reduce a field's type to bool, int, float, str or Literal, or None if it is none of them."""
    members = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    rest = [m for m in members if m is not types.NoneType]
    literal = [m for m in rest if typing.get_origin(m) is typing.Literal]
    if literal:
        return typing.Literal if len(rest) == 1 else str
    if (
        len(rest) == 1
        and typing.get_origin(rest[0]) is tuple
        and Ellipsis in typing.get_args(rest[0])
    ):
        return str  # of any length, X,Y,Z; the model takes it apart
    plain = [m for m in rest if m in (bool, int, float, str)]
    if len(plain) != len(rest) or not plain:
        return None
    return plain[0] if len(plain) == 1 else str


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _flags(name: str, kind: Any) -> str:
    flag = "--" + name.replace("_", "-")
    return f"{flag}/--no-{flag[2:]}" if kind is bool else flag


def _meta(kind: Any, info: FieldInfo) -> str | None:
    if kind is typing.Literal:
        return "|".join(map(str, typing.get_args(info.annotation)))
    if tuple in [
        typing.get_origin(m) for m in (info.annotation, *typing.get_args(info.annotation))
    ]:
        return LISTED
    return None if kind is bool else {int: "N", float: "X"}.get(kind, "NAME")


def _pairs(name: str, given: list[str]) -> dict[str, float]:
    """Parse LAYER=X options."""
    pairs: dict[str, float] = {}
    for text in given:
        layer, _, value = text.partition("=")
        if layer in pairs:
            raise InputError(
                f"{layer} is given twice: {layer}={pairs[layer]:g} and {text}",
                where=f"--{name}",
                hint=f"Name every layer once: --{name} {text}.",
            )
        try:
            pairs[layer] = float(value)
        except ValueError:
            raise InputError(
                f"found {text!r}, expected LAYER=NUMBER",
                where=f"--{name}",
                hint=f"For example --{name} l1=64; `spikeproof inspect CHECKPOINT` names layers.",
            ) from None
    return pairs
