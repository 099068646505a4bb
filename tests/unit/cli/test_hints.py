"""Every option that a message or a help text names exists, and takes what the text gives it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from spikeproof.cli.parser import COMMANDS, load_command

OTHERS = {  # options of pip, uv, docker, dask and HDF5's tools, in commands we tell people to run
    "--no-deps",
    "--ignore-requires-python",
    "--upgrade",
    "--python",
    "--shm-size",
    "--nthreads",
    "--version",
    "--help",
}
PROSE = set(
    [
        "a",
        "and",
        "are",
        "at",
        "chooses",
        "data",
        "do",
        "does",
        "download",
        "downloads",
        "fetches",
        "for",
        "from",
        "has",
        "in",
        "is",
        "keeps",
        "means",
        "needs",
        "of",
        "on",
        "or",
        "out",
        "over",
        "reads",
        "says",
        "shows",
        "stops",
        "takes",
        "that",
        "the",
        "then",
        "to",
        "too",
        "until",
        "uses",
        "with",
        "without",
        "writes",
    ]
)
_OPTION = re.compile(r"(?<![\w`/-])(--[a-z][a-z-]*[a-z])(?: +([A-Za-z][\w={}.-]*))?")
_ROOTS = ("toolchain/spikeproof", "models/spikeproof_models", "deploy/spikeproof_lava")


def options() -> dict[str, list[Any]]:
    """Return the parameters that every option name of any command stands for."""
    found: dict[str, list[Any]] = {}
    for name in COMMANDS:
        for parameter in load_command(name).params:
            for flag in (*parameter.opts, *parameter.secondary_opts):
                found.setdefault(flag, []).append(parameter)
    return found


def choices_of(parameter: Any) -> set[str]:
    """Return the words an option takes, empty if it takes any."""
    annotation = parameter.type_descriptor.annotation
    words = [
        w
        for part in (annotation, *get_args(annotation))
        for w in get_args(part)
        if get_origin(part) is Literal
    ]
    shown = parameter.metavar or ""
    return {*words, *(shown.split("|") if "|" in shown else ())}


def texts(path: Path) -> list[tuple[int, str]]:
    """Return the string constants of a module that are no docstrings, f-strings in one piece."""
    tree = ast.parse(path.read_text())
    skipped: set[int] = set()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            skipped |= {id(v) for v in node.values}
            found.append((node.lineno, "".join(map(str, parts))))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in skipped
        ):
            found.append((node.lineno, node.value))
    return found


def problem(flag: str, word: str | None, known: dict[str, list[Any]]) -> str | None:
    if flag in OTHERS:
        return None
    if flag not in known:
        return "is no option of any command"
    if word is None or word in PROSE:
        return None
    for parameter in known[flag]:
        choices = choices_of(parameter)
        if parameter.is_flag or (choices and word in choices):
            return None
        mapping = "=" in (parameter.metavar or "")
        if not choices and (not mapping or "=" in word):
            return None
    return f"does not take {word!r}"


def test_every_option_named_in_a_message_exists(root: Path) -> None:
    known, problems = options(), []
    named: set[str] = set()
    for folder in _ROOTS:
        for path in sorted((root / folder).rglob("*.py")):
            for line, text in texts(path):
                # Alone it stands where a parser's option is made, or a command is put together.
                for flag, word in _OPTION.findall(text) if " " in text else ():
                    named.add(flag)
                    found = problem(flag, word or None, known)
                    if found:
                        problems.append(f"{path.name}:{line}: {flag} {found}")
    assert problems == []
    assert {"--pixel-range", "--input-shape", "--timesteps", "--calibration"} <= named


@pytest.mark.parametrize(
    ("flag", "word", "fine"),
    [
        ("--scale", "auto", False),
        ("--scale", "l1=3", True),
        ("--format", "net", True),
        ("--format", "nir", False),
        ("--nosuch", None, False),
        ("--debug", "shows", True),
    ],
)
def test_the_check_itself_tells_them_apart(flag: str, word: str | None, fine: bool) -> None:
    assert (problem(flag, word, options()) is None) is fine
