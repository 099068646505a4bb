"""An unknown setting is answered with the one that may be meant, by spelling or by description."""

from __future__ import annotations

from typing import Literal

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


class _Kinds(_Strict):
    count: int = Field(ge=1, le=100_000)
    share: float = Field(gt=0, lt=1)
    pair: tuple[int, int] = (0, 0)
    word: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"share": 0.5}, "count: is missing"),
        ({"count": 0, "share": 0.5}, "count: must be at least 1 (found 0)"),
        ({"count": 1e6, "share": 0.5}, "count: must be at most 100,000 (found 1000000.0)"),
        ({"count": "x", "share": 0.5}, "count: must be a whole number (found 'x')"),
        ({"count": 1.5, "share": 0.5}, "count: must be a whole number (found 1.5)"),
        ({"count": 1, "share": 0}, "share: must be more than 0 (found 0)"),
        ({"count": 1, "share": 1}, "share: must be less than 1 (found 1)"),
        ({"count": 1, "share": None}, "share: must be a number (found None)"),
        (
            {"count": 1, "share": 0.5, "pair": (1, 2, 3)},
            "at most 2 values, not 3 (found (1, 2, 3))",
        ),
        ({"count": 1, "share": 0.5, "pair": 3}, "pair: must be a list (found 3)"),
        ({"count": 1, "share": 0.5, "word": "c"}, "word: must be 'a' or 'b' (found 'c')"),
        ({"count": 1, "share": 0.5, "names": (1,)}, "names.0: must be a text (found 1)"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        _Kinds.model_validate(given)
    told = str(wrong_settings(_Kinds, error.value, "r.toml"))
    assert said in told.splitlines()[0] and "Input" not in told and "valid" not in told
