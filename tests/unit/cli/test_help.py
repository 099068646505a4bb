"""Help is laid out so that what it names can be copied, at every width."""

from __future__ import annotations

import re

import pytest

from spikeproof.cli.app import run
from spikeproof.cli.commands import COMMANDS


@pytest.mark.parametrize("width", [40, 45, 65, 75, 80, 95])
def test_no_line_of_help_ends_within_a_name(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        told = capsys.readouterr().out
        assert not re.findall(r"\w-$", told, re.MULTILINE), (name, told)
        assert "\N{NON-BREAKING HYPHEN}" not in told
        assert "--help" in told


def test_help_says_what_to_write_in_the_place_of_every_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No words of the parser's own: ``{bundle}``, ``<int range>``, ``[x>=1]``, ``True``."""
    monkeypatch.setenv("COLUMNS", "200")
    told = ""
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        told += capsys.readouterr().out
    told = " ".join(told.split())
    assert not re.findall(r"<\w[\w\[\] |]*>|\{\w+\}|x[<>]=|\bTrue\b", told)
    for line in (
        "Usage: spikeproof run [OPTIONS] BUNDLE Run",
        "BUNDLE A bundle made by convert. [required]",
        "--trace PATH Write",
        "Use only the first N samples. [at least 1]",
        "--format onnx|net onnx:",
        "--mean X,Y,... --from",
        "nearest. [default: compensate]",
    ):
        assert line in told, line
