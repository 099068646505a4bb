"""Describe TOML files: recipes, and settings of a command."""

from __future__ import annotations

from pathlib import Path

from spikeproof.describe.documents import TomlFile
from spikeproof.document.values import Json
from spikeproof.errors import InputError


def describe_toml(path: Path) -> TomlFile:
    """Check a TOML file as what its keys say it is: a recipe, or settings of a command."""
    from spikeproof.convert.options import ConvertOptions
    from spikeproof.io.options import merged_options
    from spikeproof.io.toml import read_toml
    from spikeproof.verify.config import load_config

    content = read_toml(path)
    kind = _toml_kind(content, path)
    _check_plain(content, path)
    if kind == "recipe":
        from spikeproof_models.recipe import load_recipe

        settings = load_recipe(path).model_dump(mode="json")
        return TomlFile(kind=kind, path=str(path), recipe=content, settings=settings)
    if kind == "settings of verify":
        load_config(overrides=path)
    else:
        merged_options(ConvertOptions, path, {})
    return TomlFile(kind=kind, path=str(path), recipe=content)


def _toml_kind(content: Json, path: Path) -> str:
    """Tell by most of its keys what a TOML file is; its model says what is wrong with the others.

    Raises:
        InputError: half of the keys or more belong into no file of ours; they are named.
    """
    from spikeproof.convert.options import ConvertOptions
    from spikeproof.verify.config import VerifyConfig
    from spikeproof_models.recipe import Recipe

    known = {
        "recipe": frozenset(Recipe.model_fields),
        "settings of verify": frozenset(VerifyConfig.model_fields),
        "options of convert": frozenset(ConvertOptions.model_fields),
    }
    keys = frozenset(content)
    nearest = max(known, key=lambda kind: len(keys & known[kind]))
    if 2 * len(keys & known[nearest]) > len(keys):
        return nearest
    odd = ", ".join(sorted(keys - known[nearest])[:8])
    found = (
        f"{nearest} but for {odd}" if keys & known[nearest] else f"none of ours: {odd or 'empty'}"
    )
    raise InputError(
        f"is TOML, {found}",
        where=str(path),
        hint="A recipe of train, or a file for verify --config or convert --config, was expected.",
    )


def _check_plain(recipe: Json, path: Path) -> None:
    """Raise InputError for what TOML can say and a recipe cannot: nan, inf, dates, times."""
    from spikeproof.io.files import canonical_json

    try:
        canonical_json(recipe)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"holds a value no recipe can have: {error}",
            where=str(path),
            hint="Use finite numbers, strings, true and false; write dates as strings.",
        ) from error
