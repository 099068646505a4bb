"""Lay command-line options over a TOML file over a model's defaults; unknown keys are errors."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from spikeproof.document.values import message_of
from spikeproof.errors import InputError, list_problems
from spikeproof.io.toml import read_toml

ModelT = TypeVar("ModelT", bound=BaseModel)

_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
}
_ENDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_NO_TABLE = ("model_type", "model_attributes_type", "dict_type")
_MOST_HINTS = 3
_SURE = 0.7
_WORD = re.compile(r"[a-z0-9_]+")


def merged_options(model: type[ModelT], config: Path | None, given: dict[str, Any]) -> ModelT:
    """Build the options; explicit ones win over the file, the file over the defaults.

    Raises:
        InputError: the file is unreadable or not TOML, or any value is wrong; all are listed.
    """
    settings = {} if config is None else read_toml(config)
    try:
        return model.model_validate({**settings, **given})
    except ValidationError as error:
        raise wrong_settings(model, error, str(config) if config else "options") from error


def wrong_settings(model: type[BaseModel], error: ValidationError, where: str) -> InputError:
    """Return the error that names every wrong setting by its key, and says what each takes."""
    items = error.errors()
    hints = [hint for item in items if (hint := _hint(model, item))]
    told = list(dict.fromkeys(hints))[:_MOST_HINTS] or ["Change one of the values that are named."]
    problems = [_explain(model, item) for item in items]
    return InputError(list_problems(problems), where=where, hint=" ".join(told))


def _explain(model: type[BaseModel], item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        near = [repr(name) for name in _alike(key, _all_keys(model), _told(model))]
        return f"unknown setting {key!r}" + (f"; did you mean {_either(near)}?" if near else "")
    told = "is a table of settings" if item["type"] in _NO_TABLE else message_of(item)
    problem = f"{key}: {told}" if key else told
    whole = item["type"] == "missing" or isinstance(item["input"], dict | BaseModel)
    return problem if whole else f"{problem} (found {item['input']!r})"


def _alike(key: str, known: Sequence[str], told: Mapping[str, str]) -> list[str]:
    """Return the settings an unknown one may stand for, by their full names.

    Whoever names the last part right has left out or mistaken the section: all that end so. Else
    what is spelled alike or described by that very word (``validation``), first in the section
    that was named. ``told``: descriptions by name.
    """
    section, _, last = key.rpartition(".")
    ends = [name.rpartition(".")[2] for name in known]
    if last not in ends:
        described = [name for name in known if last in _WORD.findall(told[name])]
        if section:
            here = {e: k for k, e in zip(known, ends, strict=True) if k == f"{section}.{e}"}
            if near := get_close_matches(last, here, n=1, cutoff=_SURE):
                return [here[near[0]]]
            if meant := [name for name in described if name in here.values()]:
                return meant[:_MOST_HINTS]
        others = [name for name in known if not f"{key}.".startswith(f"{name}.")]
        if not section and (near := get_close_matches(key, others, n=1)):
            return near
        if not (near := get_close_matches(last, ends, n=1)):
            return [] if section in known else described[:_MOST_HINTS]
        last = near[0]
    return [name for name, end in zip(known, ends, strict=True) if end == last]


def _either(words: Sequence[str]) -> str:
    *first, last = words
    return (", ".join(first) + " or " if first else "") + last


def _hint(model: type[BaseModel], item: Any) -> str:
    """Say what a setting takes, or which settings there are beside an unknown one."""
    *parents, name = item["loc"] or [""]
    if item["type"] == "extra_forbidden":
        section = _at(model, parents)
        if not _is_model(section):
            return ""
        place = f"Settings in {'.'.join(map(str, parents))}" if parents else "Settings"
        return f"{place}: {', '.join(section.model_fields)}."
    section = _at(model, [part for part in parents if isinstance(part, str)])
    names = [part for part in item["loc"] if isinstance(part, str)]
    if isinstance(name, int):  # one of several values: what the setting takes is what each is
        section = _at(model, names[:-1])
    info = section.model_fields.get(names[-1]) if names and _is_model(section) else None
    if info is not None and _is_model(info.annotation):
        keys = [f"{'.'.join(names)}.{inner}" for inner in _at(section, names[-1:]).model_fields]
        return f"{'.'.join(names)} is a table: set one of {', '.join(keys)}."
    whole = not isinstance(name, int) or item["type"] == "missing"  # the list, not one of it
    inside = None if info is None else _listed(info)
    if whole and inside:
        return f"{'.'.join(names)} takes {_takes_list(inside, item['input'])}."
    takes = "" if info is None else _takes(info)
    return f"{'.'.join(names)} takes {takes}." if takes else ""


def _at(model: Any, names: Sequence[Any]) -> Any:
    """Return the type of a section by the names that lead to it, None where there is none."""
    for name in names:
        info = model.model_fields.get(name) if _is_model(model) else None
        model = None if info is None else info.annotation
    return model


def _takes(info: FieldInfo) -> str:
    """Say in words what a field takes: ``a whole number, at least 2, at most 8 (default 8)``."""
    members = typing.get_args(info.annotation) if _is_union(info.annotation) else [info.annotation]
    plain = [member for member in members if member is not types.NoneType]
    if inside := _listed(info):
        return _takes(FieldInfo.from_annotation(inside[0]))
    words: list[str] = []
    for member in plain:
        literal = typing.get_origin(member) is typing.Literal
        words += map(repr, typing.get_args(member)) if literal else [_KINDS.get(member, "")]
    if not words or not all(words):
        return ""
    ends = [
        f", {word} {getattr(limit, end):,}"
        for limit in info.metadata
        for end, word in _ENDS.items()
        if getattr(limit, end, None) is not None
    ]
    default = "" if info.is_required() or info.default is None else f" (default {info.default!r})"
    return _either(words) + "".join(ends) + default


def _listed(info: FieldInfo) -> tuple[Any, ...]:
    """Return what a list holds, as the arguments of its tuple; nothing where it is no list."""
    members = typing.get_args(info.annotation) if _is_union(info.annotation) else [info.annotation]
    plain = [member for member in members if member is not types.NoneType]
    alone = len(plain) == 1 and typing.get_origin(plain[0]) is tuple
    return typing.get_args(plain[0]) if alone else ()


def _takes_list(inside: tuple[Any, ...], found: Any) -> str:
    """Say what a list takes: ``a list, e.g. [8]; each is a number, at least 0.001``."""
    each = _takes(FieldInfo.from_annotation(inside[0]))
    count = 1 if Ellipsis in inside else len(inside)
    told = "a list" if Ellipsis in inside else f"a list of {count} values"
    number = isinstance(found, int | float) and not isinstance(found, bool)
    if number and Ellipsis in inside:
        told += f", e.g. [{found}]"
    return f"{told}; each is {each}" if each else told


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _all_keys(model: type[BaseModel]) -> list[str]:
    return list(_told(model))


def _told(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Return all settings by their full names, each with its description in small letters."""
    told = {}
    for name, info in model.model_fields.items():
        told[prefix + name] = (info.description or "").lower()
        if _is_model(info.annotation):
            told |= _told(typing.cast(Any, info.annotation), f"{prefix}{name}.")
    return told
