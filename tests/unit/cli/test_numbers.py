"""Options of several numbers: with spaces, with commas, and what is said of anything else."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from spikeproof.cli.app import run
from spikeproof.cli.commands import convert
from spikeproof.cli.parser import load_command


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What convert is called with."""
    found: dict[str, Any] = {}
    real = convert.build

    def build() -> Any:
        made = real()

        def called(**options: Any) -> int:
            found.update(options)
            return 0

        called.__signature__ = inspect.signature(made)  # type: ignore[attr-defined]
        called.__annotations__ = made.__annotations__
        return called

    monkeypatch.setattr(convert, "build", build)
    return found


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("--input-shape 3 16 16 net.pth", "input_shape", (3, 16, 16)),
        ("--input-shape 3,16,16 net.pth", "input_shape", (3, 16, 16)),
        ("net.pth --input-shape=3,16,16", "input_shape", (3, 16, 16)),
        ("--pixel-range -1,1 net.pth", "pixel_range", (-1.0, 1.0)),
        ("--pixel-range -1 1 net.pth", "pixel_range", (-1.0, 1.0)),
        ("--mean 0.5,0.25,-1 net.pth", "mean", "0.5,0.25,-1"),
        ("--mean 0.5 0.25 -1 net.pth", "mean", "0.5,0.25,-1"),
        ("--mean=.5 .25 -1 net.pth", "mean", ".5,.25,-1"),
        ("--mean a,b,c net.pth", "mean", "a,b,c"),
    ],
)
def test_several_numbers_are_taken_with_spaces_and_with_commas(
    words: str, key: str, value: Any, given: dict[str, Any]
) -> None:
    assert run(["convert", *words.split()]) == 0
    assert given[key] == value and given["checkpoint"] == "net.pth"


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("--input-shape 3,16 net.pth", "found 3 16, expected 3 numbers"),
        ("--input-shape 3 16 net.pth", "found 3 16, expected 3 numbers"),
        ("--input-shape 3,16,16,1 net.pth", "found 3 16 16 1, expected 3 numbers"),
        ("--input-shape 3x16x16 net.pth", "found 3x16x16, expected 3 numbers"),
        ("net.pth --input-shape", "found nothing, expected 3 numbers"),
    ],
)
def test_another_count_of_numbers_is_told_both_ways_to_write_them(
    words: str, seen: str, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["convert", *words.split()]) == 2
    told = capsys.readouterr().err
    assert f"--input-shape: {seen}" in told and not given
    assert "Give --input-shape C H W, or with commas: --input-shape C,H,W." in told


def test_what_stands_behind_two_dashes_is_a_name(given: dict[str, Any]) -> None:
    assert run(["convert", "--mean", "1", "--", "2"]) == 0
    assert given["mean"] == "1" and given["checkpoint"] == "2"
    assert {o.nargs for o in load_command("inspect").params if o.name == "input_shape"} == {3}
