"""Every option that a message or a help text names exists, and takes what the text gives it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from spikeproof.cli.app import run
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


WRONG = [
    ("convert {c} --weight-bits 9", "weight_bits takes a whole number, at least 2, at most 8 "),
    ("convert {c} --calibration-samples 0", "calibration_samples takes a whole number, at least 1"),
    ("convert {c} --profile loih", "profile takes 'default' or 'loihi' (default 'default')"),
    ("convert {c} --input-coding x", "input_coding takes 'auto', 'graded' or 'bias' "),
    ("convert {c} --scale l1", "--scale l1=64"),
    ("convert {c} --calibration {x} --scale nosuch=3", "Name a layer and a scale in that range"),
    ("convert {c} --calibration {x} --scale l1=-3", "Name a layer and a scale in that range"),
    ("convert {c} --timesteps 3", "Leave out --timesteps"),
    ("convert {c} --weight-bits x", "spikeproof convert --help"),
    ("convert {c} --nosuch", "spikeproof convert --help"),
    ("run {b}", "Add --data X.npz, or --self-test"),
    ("run {b} --self-test --limit 3", "Leave out the others"),
    ("run {b} --data {x} --cluster tcp://h:1 --workers 2", "Leave out --workers"),
    ("run {b} --data {x} --limit 0", "spikeproof run --help"),
    ("run {b} --data {x} --engine nosuch", "Engines installed here: "),
    ("verify {b} --against {c} --suite x", "Suites: quick, standard, rigorous."),
    ("verify {b} --against {c} --alpha 2", "alpha takes a number, at least 0.0001, less than 0.5."),
    ("verify {b} --against {c} --alpha 0.001", "Change one of the values that are named."),
    ("verify {b} --against {c} --seed -1", "seed takes a whole number, at least 0, less than"),
    ("verify {b} --against {c} --engine nosuch", "Engines installed here: "),
    ("verify {b} --against {c} --set samples.pgdd=2", "Settings in samples: accuracy, stages, "),
    ("verify {b} --against {c} --set samples.pgd=a", "samples.pgd takes a whole number"),
    ("verify {b} --against {c} --set nosuch=1", "Settings: suite, version, engine, "),
    (
        "verify {b} --against {c} --set perturbations.gaussian=8",
        "takes a list, e.g. [8]; each is a",
    ),
    ("verify {b} --against {c} --set perturbations.pgd=x", "takes a list; each is a whole number"),
    ("verify {b} --against {c} --set mppd.ratio=[1]", "mppd.ratio takes a list of 2 values; each"),
    (
        "verify {b} --against {c} --set samples=3",
        "samples is a table: set one of samples.accuracy,",
    ),
    ("verify {b} --against {c} --set alpha=0.1 --set alpha=0.2", "Name every setting once: --set "),
    ("convert {c} --scale l2=1 --scale l2=2", "Name every layer once: --scale l2=2"),
    (
        "verify {b} --against {c} --set perturbations.pgd=[0]",
        "perturbations.pgd takes a whole number, at least 1, at most 255.",
    ),
    ("export {b} --format onx", "spikeproof export --help"),
    ("export {b} --format net --traces", "Leave it out, or add --format onnx"),
    ("fuzz --engine reference", "Name each of these once, or none for all: fast, "),
    ("fuzz --nets 0", "spikeproof fuzz --help"),
    ("bench --nets nosuch", "Networks: mlp, "),
    ("bench --threads 0", "spikeproof bench --help"),
    ("doctor --upgrade", "Add --install EXTRA"),
    ("doctor --install nosuch", "Extras: "),
    ("train {c}", "spikeproof convert"),
    ("train fmnist-lif-natural", "`spikeproof convert fmnist-lif-natural` converts it"),
    ("inspect {f}", "Give a file in it: `spikeproof inspect"),
    ("train {r} --download", "Add --data-dir FOLDER"),
    ("inspect {b} --input-shape 1 2 3", "Leave out --input-shape"),
]


@pytest.mark.parametrize(("line", "hint"), WRONG)
def test_an_option_that_is_wrong_is_told_with_what_to_do(
    line: str,
    hint: str,
    root: Path,
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tiny_images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = root / "models/recipes/lif-natural.toml"
    places = {"b": tiny_bundle, "c": tiny_checkpoint, "x": tiny_images, "r": recipe}
    places["f"] = tiny_checkpoint.parent
    assert run([word.format(**places) for word in line.split()]) == 2
    told = capsys.readouterr().err
    assert "Value error" not in told
    assert "tuple" not in told.lower()
    assert hint in told.partition("\n  -> ")[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "x.spk", "--limit", "x"], "'--limit': it must be a whole number (found 'x')"),
        (["run", "x.spk", "--limit", "0"], "'--limit': it must be at least 1 (found '0')"),
        (["export", "x.spk", "--format", "x"], "'--format': 'x' is not one of "),
    ],
)
def test_what_the_parser_refuses_is_told_in_plain_words(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    said = capsys.readouterr().err
    assert f"Invalid value for {told}" in said and "Input" not in said
