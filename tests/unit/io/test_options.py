"""An unknown setting is answered with the one that may be meant, by spelling or by description."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spikeproof.io.options import wrong_settings


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Data(_Strict):
    held_out: int = Field(default=1, description="Images that only choose the epoch (validation).")
    limit: int = 1


class _Steps(_Strict):
    epochs: int = 1
    spearman: float = Field(default=1.0, description="Rank correlation, at least this.")
    ratio: float = 1.0


class _Recipe(_Strict):
    data: _Data = _Data()
    steps: _Steps = _Steps()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"data": {"validation": 1}}, "'data.held_out'"),
        ({"validation": 1}, "'data.held_out'"),
        ({"data": {"heldout": 1}}, "'data.held_out'"),
        ({"data": {"epochs": 1}}, "'steps.epochs'"),
        ({"epoch": 1}, "'steps.epochs'"),
        ({"steps": {"correlation": 1}}, "'steps.spearman'"),  # and not ratio, spelled a bit like it
        ({"data": {"path": 1}}, None),  # the section itself is no answer
        ({"data": {"rank": 1}}, None),  # what another section describes is none either
    ],
)
def test_an_unknown_setting_names_the_one_that_is_meant(
    given: dict[str, object], meant: str | None
) -> None:
    with pytest.raises(ValidationError) as error:
        _Recipe.model_validate(given)
    told = str(wrong_settings(_Recipe, error.value, "r.toml")).splitlines()[0]
    assert told.endswith(f"; did you mean {meant}?" if meant else "'"), told


def test_the_recipe_says_what_it_calls_validation() -> None:
    pytest.importorskip("torch")
    from spikeproof_models.recipe import Recipe

    with pytest.raises(ValidationError) as error:
        Recipe.model_validate({"name": "n", "data": {"validation": 0.1}})
    assert "did you mean 'data.held_out'?" in str(wrong_settings(Recipe, error.value, "r"))
