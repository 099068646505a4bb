"""Typed values of JSON documents: one strict model per record, for who writes and who reads."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from spikeproof.document.numbers import finite
from spikeproof.errors import list_problems
from spikeproof.text import clean_text

Json = dict[str, Any]


def clean_tree(value: object) -> object:
    """Clean every string in a JSON value; NaN and infinity become None."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(k)): clean_tree(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_tree(v) for v in value]
    if isinstance(value, float):
        return finite(value)
    return value


def _number(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, found {type(value).__name__}")
    return value if finite(value) is not None else None


def _figure(value: object) -> object:
    if _number(value) is None:
        raise ValueError(f"expected a number, found {value}")
    return value


def _pair(value: object) -> object:
    return None if value in ([], ()) else value


Text = Annotated[str, AfterValidator(clean_text)]
Figure = Annotated[int | float, BeforeValidator(_figure)]
"""A number that is always known."""
Number = Annotated[int | float | None, BeforeValidator(_number)]
Count = Annotated[int | None, BeforeValidator(_number)]
Interval = tuple[Figure, Figure]
Pair = Annotated[tuple[Number, Number] | None, BeforeValidator(_pair)]
Anything = Annotated[Any, AfterValidator(clean_tree)]


class Record(BaseModel):
    """A part of a document: its fields and no others, so that no renamed key goes unnoticed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )


def dump(record: BaseModel) -> Json:
    """Return the JSON of a record: the fields that were given, under their names in the file."""
    return record.model_dump(mode="json", by_alias=True, exclude_unset=True)


_PLAIN = {
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "bool": "must be true or false",
    "string_type": "must be a text",
    "dict": "must be a table",
    "model": "must be a table",
    "tuple": "must be a list",
    "list": "must be a list",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} values, not {actual_length}",
    "too_long": "must have at most {max_length} values, not {actual_length}",
}
"""What pydantic calls an error, whole or its first word, and how people say it."""


def message_of(item: Mapping[str, Any]) -> str:
    """Say in plain words what one of a model's errors is; it follows the name of the field.

    What a model keeps as a tuple is a list in every file and option.
    """
    kind = str(item["type"])
    plain = _PLAIN.get(kind) or _PLAIN.get(kind.partition("_")[0])
    if plain is None:  # of validators, ours among them
        told = str(item["msg"]).removeprefix("Value error, ")
        return told.replace("Input should", "must").replace("String should", "must")
    return plain.format(**{key: _limit(value) for key, value in item.get("ctx", {}).items()})


def _limit(value: Any) -> Any:
    """Write a limit as the sentence has it: 1 for 1.0, 100,000."""
    whole = isinstance(value, float) and value.is_integer()
    return f"{int(value) if whole else value:,}" if isinstance(value, int | float) else value


def explain(error: ValidationError, prefix: str = "", most: int = 8) -> str:
    """Say what is wrong with a record: each field by its path, and how many more than ``most``.

    ``prefix``: where the record stands in its document, ``V5.data.``.
    """
    found = error.errors(include_url=False)
    told = [_told(prefix + ".".join(map(str, e["loc"])), e) for e in found[:most]]
    return list_problems(told + [f"{len(found) - most} more"] * (len(found) > most))


def _told(path: str, error: Any) -> str:
    """Say one problem; a value of our own types' tells itself, of a missing one there is none."""
    told = f"{path}: {message_of(error)}".removeprefix(": ")
    if error["type"] in ("missing", "value_error"):
        return told
    value = ascii(error["input"])
    return f"{told} (found {value if len(value) <= 60 else value[:57] + '...'})"


def key_of(name: str, field: FieldInfo) -> str:
    """Return the name of a field in the file."""
    return field.serialization_alias or name


def fit(value: Any, kind: type[BaseModel]) -> Any:
    """Make a record of an older version one of today: drop what is gone, leave open what is new.

    A field that is missing becomes None, empty or the default; where it can be none of these it
    stays missing, and checking the record names it.
    """
    if not isinstance(value, Mapping) or not kind.model_fields:  # any record: no more is known
        return value
    found: Json = {}
    for name, field in kind.model_fields.items():
        key = key_of(name, field)
        if key in value:
            found[key] = _fit_inner(value[key], field.annotation)
        elif field.is_required():
            _leave_open(found, key, field.annotation)
    return found


def _fit_inner(value: Any, annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return fit(value, annotation)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _fit_inner(value, inner[0])
    if origin in (list, tuple) and isinstance(value, list | tuple):
        return [_fit_inner(item, inner[0]) for item in value]
    if origin is dict and isinstance(value, dict):
        return {k: _fit_inner(v, inner[1]) for k, v in value.items()}
    if origin in (Union, types.UnionType) and value is not None:
        return _fit_inner(value, max(inner, key=lambda kind: _alike(value, kind)))
    return value


def _alike(value: Any, annotation: Any) -> int:
    """Count the keys that a mapping shares with a record; -1 where the types differ anyway."""
    if get_origin(annotation) is Annotated:
        return _alike(value, get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        keys = {key_of(name, field) for name, field in annotation.model_fields.items()}
        return len(keys & value.keys()) if isinstance(value, Mapping) else -1
    kind = get_origin(annotation) or annotation
    return 0 if isinstance(kind, type) and isinstance(value, kind) else -1


def _leave_open(found: Json, key: str, annotation: Any) -> None:
    """Enter what says nothing: None, an empty list, mapping, record or text."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        _leave_open(found, key, inner[0])
    elif origin in (Union, types.UnionType) and type(None) in inner:
        found[key] = None
    elif origin in (list, tuple, dict):
        found[key] = {} if origin is dict else []
    elif annotation is str:
        found[key] = ""
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        found[key] = fit({}, annotation)
