"""Lay command-line options over a TOML file over a model's defaults; unknown keys are errors."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from spikeproof.errors import InputError, list_problems
from spikeproof.io.toml import read_toml

ModelT = TypeVar("ModelT", bound=BaseModel)


def merged_options(model: type[ModelT], config: Path | None, given: dict[str, Any]) -> ModelT:
    """Build the options; explicit ones win over the file, the file over the defaults.

    Raises:
        InputError: the file is unreadable or not TOML, or any value is wrong; all are listed.
    """
    settings = {} if config is None else read_toml(config)
    try:
        return model.model_validate({**settings, **given})
    except ValidationError as error:
        problems = [_explain(model, item) for item in error.errors()]
        raise InputError(
            list_problems(problems), where=str(config) if config else "options"
        ) from error


def _explain(model: type[BaseModel], item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        near = get_close_matches(key, _all_keys(model), n=1)
        return f"{key}: unknown key" + (f", did you mean {near[0]!r}?" if near else "")
    if not key or item["type"] == "missing":
        return f"{key}: {item['msg']}" if key else str(item["msg"])
    return f"{key}: {item['msg']}, found {item['input']!r}"


def _all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, info in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            keys += _all_keys(info.annotation, f"{prefix}{name}.")
    return keys
