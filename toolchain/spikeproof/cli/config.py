"""Lay command-line options over a TOML file over a model's defaults; unknown keys are errors."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from spikeproof.errors import InputError, list_problems
from spikeproof.io.files import read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: unreadable or not TOML.
    """
    try:
        return tomllib.loads(read_bytes(path, limit=1 << 20).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"is not TOML: {error}", where=str(path)) from error


def _explain(model: type[BaseModel], item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{key}: {item['msg']}, found {item['input']!r}"
    near = get_close_matches(key, model.model_fields, n=1)
    return f"{key}: unknown key" + (f", did you mean {near[0]!r}?" if near else "")
