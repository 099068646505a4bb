"""An empty word on the command line is an error that names it, and never the current folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spikeproof.cli.app import run
from spikeproof.cli.commands import COMMANDS
from spikeproof.cli.parser import load_command


def _parameters() -> list[Any]:
    """List every argument, and every option that takes a value, of every command."""
    found = []
    for name in COMMANDS:
        for parameter in load_command(name).params:
            if not getattr(parameter, "is_flag", False):
                found.append(pytest.param(name, parameter, id=f"{name} {parameter.name}"))
    return found


@pytest.mark.parametrize(("command", "parameter"), _parameters())
def test_an_empty_word_is_refused_by_name(
    command: str,
    parameter: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if parameter.param_type_name == "option":
        for flag in parameter.opts:
            assert run([command, flag, *[""] * parameter.nargs]) == 2
            told = capsys.readouterr().err
            assert told.startswith(f"error: {', '.join(parameter.opts)}: is empty\n")
            if flag.startswith("--") and parameter.nargs == 1:
                assert run([command, f"{flag}="]) == 2
                assert capsys.readouterr().err == told
    else:
        assert run([command, ""]) == 2
        name = str(parameter.name).upper()
        assert capsys.readouterr().err.startswith(f"error: {name}: is empty\n  -> ")
    assert not list(tmp_path.iterdir())


def test_words_that_are_not_empty_are_passed_on() -> None:
    made = load_command("report")
    with made.make_context("report", ["."]) as context:
        assert str(context.params["run"]) == "."
