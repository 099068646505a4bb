"""Who sees what: results on stdout, remarks on stderr, exit codes that claim nothing unseen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.cli.commands import COMMANDS
from spikeproof.cli.console import Console
from spikeproof.cli.parser import load_command
from spikeproof.cli.verdict import show_verdict
from spikeproof.io.bundle import load_bundle
from spikeproof.io.checkpoint import load_checkpoint, save_checkpoint
from spikeproof.io.data import load_data, save_arrays
from spikeproof.text import spell_out
from spikeproof.verify.checks.base import Check
from spikeproof.verify.document import Network, Provenance, Report, parse_report

REAL = Path(__file__).parents[1] / "report" / "real"


def call(args: list[str], **streams: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spikeproof", *args]
    return subprocess.run(command, check=False, text=True, timeout=300, **streams)


def a_command_of_each_kind(checkpoint: Path, bundle: Path, images: Path, out: Path) -> list[Any]:
    """Commands that end well: each would exit with 0 if its output were read."""
    return [
        ["--help"],
        ["--version"],
        ["convert", "--help"],
        ["inspect", str(checkpoint)],
        ["inspect", str(bundle), "--json"],
        ["run", str(bundle), "--data", str(images), "--engine", "numpy"],
        ["run", str(bundle), "--data", str(images), "--engine", "numpy", "--json"],
        ["run", str(bundle), "--self-test", "--engine", "reference"],
        ["verify", str(bundle), "--against", str(checkpoint), "--data", str(images), "--dry-run"],
        ["doctor", "--json"],
        ["fuzz", "--nets", "1", "--engine", "numpy", "-o", str(out)],
    ]


@pytest.fixture
def commands(
    tiny_checkpoint: Path, tiny_bundle: Path, tiny_images: Path, tmp_path: Path
) -> list[list[str]]:
    return a_command_of_each_kind(tiny_checkpoint, tiny_bundle, tiny_images, tmp_path / "fuzz")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_stdout_ends_every_command_with_4(commands: list[list[str]]) -> None:
    for args in commands:
        with open("/dev/full", "w") as full:  # noqa: PTH123
            done = call(args, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 4, (args, done.stderr)
        assert "could not be written to stdout: No space left" in done.stderr, args
        assert "Traceback" not in done.stderr, args


def test_a_stdout_closed_before_the_start_ends_with_4(commands: list[list[str]]) -> None:
    for args in commands:
        done = call(args, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
        assert done.returncode == 4, (args, done.stderr)
        assert "Traceback" not in done.stderr, args


def test_a_stderr_that_nobody_reads_changes_nothing(commands: list[list[str]]) -> None:
    for args in commands[3:6]:
        done = call(args, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2))
        assert done.returncode == 0, args
        assert done.stdout, args


@pytest.mark.parametrize("what", ["checkpoint", "bundle"])
def test_inspect_can_be_searched_with_grep(
    what: str, tiny_checkpoint: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_checkpoint if what == "checkpoint" else tiny_bundle
    assert run(["inspect", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "neurons" in out
    assert err == ""


def test_both_sides_of_a_conversion_have_the_same_number_of_neurons(
    tiny_checkpoint: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    totals = []
    for path in (tiny_checkpoint, tiny_bundle):
        assert run(["inspect", str(path)]) == 0
        line = next(x for x in capsys.readouterr().out.splitlines() if " neurons, " in x)
        totals.append(line.split(" neurons, ")[0])
    assert totals[0] == totals[1]


def test_with_json_people_read_stderr(
    tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(tiny_checkpoint), "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "neurons" in err


def test_progress_and_remarks_stay_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.note("a remark")
    console.warn("a warning")
    console.progress("half")
    with console.stage("Working"):
        pass
    console.say("a result")
    out, err = capsys.readouterr()
    assert out == "a result\n"
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "a remark",
        "warning",
        "half",
        "Working",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07l1", r"\x1b]0;owned\x07l1"),
        ("\x1b[2Jl1", r"\x1b[2Jl1"),
        ("a\rb", r"a\x0db"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("\U000e0041", r"\U000e0041"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\U0001f469\u200d\U0001f467 a\u00adb", "\U0001f469\u200d\U0001f467 a\u00adb"),
        ("größe\n\tθ ≥ 1", "größe\n\tθ ≥ 1"),
    ],
)
def test_no_name_steers_the_terminal(text: str, shown: str) -> None:
    assert spell_out(text) == shown


def test_no_name_begins_a_line_of_its_own(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "net\nPASS: all is well\x1b[2J.spk"
    odd.write_bytes(tiny_bundle.read_bytes())
    missing, blocked = tmp_path / "no\nPASS: x.spk", tmp_path / "o\nPASS: x"
    blocked.write_text("mine")
    for args, code in (
        (["inspect", str(odd)], 0),
        (["run", str(odd), "--self-test", "--engine", "numpy"], 0),
        (["run", str(missing), "--self-test"], 2),
        (["export", str(odd), "-o", str(blocked)], 2),
    ):
        assert run(args) == code
        shown = "".join(capsys.readouterr())
        assert not [line for line in shown.splitlines() if line.startswith("PASS")]
        assert "\x1b" not in shown
    assert r"o\nPASS: x: exists and is no ONNX model" in shown


def test_tables_keep_names_in_their_cell_and_their_own_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Console().table(["name", "n"], [("a\nb\tc", 1), ("d", 2)], "\ntitle")
    assert capsys.readouterr().out.splitlines() == [
        "",
        "title",
        "name     n",
        "-------  -",
        r"a\nb\tc  1",
        "d        2",
    ]


def test_a_terminal_of_few_characters_shows_the_rest_spelled_out(tmp_path: Path) -> None:
    path = tmp_path / "gr\u00f6\u00dfe.ckpt"
    path.write_bytes(b"nothing")
    done = subprocess.run(
        [sys.executable, "-m", "spikeproof", "inspect", path],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 2
    assert rb"gr\xf6\xdfe.ckpt" in done.stderr


def test_names_in_files_reach_terminal_and_errors_spelled_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd\x1b[31m.ckpt"
    path.write_bytes(b"nothing")
    assert run(["inspect", str(path)]) == 2
    assert "\x1b" not in capsys.readouterr().err
    Console().table(["layer\x1b[0m"], [["\x1b[2J"]])
    assert "\x1b" not in capsys.readouterr().out


def test_the_top_level_help_lists_every_command_without_the_parser() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "spikeproof", "-h"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert all(
        f"  {name} " in done.stdout and line in done.stdout for name, line in COMMANDS.items()
    )
    narrow = subprocess.run(
        [sys.executable, "-m", "spikeproof", "-h"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "COLUMNS": "40"},
    )
    assert max(map(len, narrow.stdout.splitlines())) <= 40
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"typer", "rich", "numpy", "pydantic"}


@pytest.mark.parametrize("width", [36, 40, 50, 80])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_fits_and_is_never_cut(
    name: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser's own layout takes 50 columns, however narrow the terminal."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("TERMINAL_WIDTH", raising=False)
    assert run([name, "-h"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    assert "<bool>" not in shown
    for param in load_command(name).params:
        if param.param_type_name == "option":
            assert any(
                option in shown.split() or f"{option}," in shown.split()
                for option in [*param.opts, *param.secondary_opts]
            ), param.opts


@pytest.mark.parametrize("module", ["scipy", "torch", "numba", "rich", "jinja2", "lava"])
def test_the_help_of_no_command_waits_for_a_heavy_library(module: str) -> None:
    code = (
        "import sys, importlib\n"
        "from spikeproof.cli.commands import COMMANDS\n"
        "from spikeproof.cli.parser import load_command\n"
        "for name in COMMANDS: load_command(name)\n"
        f"sys.exit({module!r} in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_paths_may_be_strings(tiny_checkpoint: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(tiny_checkpoint))
    save_checkpoint(str(tmp_path / "copy.ckpt"), checkpoint)
    assert load_bundle(str(tiny_bundle)).network.timesteps == checkpoint.network.timesteps
    shape = checkpoint.network.input_shape
    save_arrays(str(tmp_path / "d.npz"), {"x": np.zeros((2, *shape), np.uint8)})
    assert load_data(str(tmp_path / "d.npz"), shape)[0].shape == (2, *shape)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ('name = "x"\nseed = 1\n[optimiser]\nepochs = 2\n', "recipe mine.toml"),
        ("lava_samples = 50\n[margins]\nclean = 0.005\n", "settings of verify mine.toml"),
        ("weight_bits = 6\n", "options of convert mine.toml"),
    ],
)
def test_inspect_tells_what_a_toml_file_is(
    content: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    assert run(["inspect", str(path)]) == 0
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[build-system]\n[project]\n", "none of ours: build-system, project"),
        ('name = "x"\n[tool]\n', "recipe but for tool"),
        ("", "none of ours: empty"),
        ("a = " + "[" * 20_000, "TOML"),
        ("a = " + "9" * 5_000, "TOML"),
        ("a = {b = " * 400 + "1" + "}" * 400, "TOML"),
    ],
)
@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_toml_that_is_none_of_ours_is_an_input_error(
    content: str,
    words: str,
    command: str,
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "p.toml"
    path.write_text(content)
    args = {
        "inspect": ["inspect", str(path)],
        "convert": ["convert", str(tiny_checkpoint), "--config", str(path), "--dry-run"],
    }[command]
    code = run(args)
    if command == "convert" and not content:
        return  # an empty file changes no option
    assert code == 2
    if command == "inspect":
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "run", "fuzz"])
def test_a_mistyped_engine_is_found_before_any_file_is_read(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("a file was read although the engine does not exist")

    monkeypatch.setattr("spikeproof.io.bundle.load_bundle", never)
    monkeypatch.setattr("spikeproof.bundles.load_bundle", never)
    args = {
        "verify": ["verify", "no.spk", "--against", "no.ckpt", "--dry-run"],
        "run": ["run", "no.spk", "--data", "no.npz"],
        "fuzz": ["fuzz", "--nets", "1"],
    }[command]
    assert run([*args, "--engine", "lavaa"]) == 2
    assert "did you mean 'lava'?" in capsys.readouterr().err


def test_verify_finds_another_checkpoint_before_the_data_are_read(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["verify", str(tiny_bundle), "--against", "fmnist-lif-natural", "--data", "no.npz"]
    assert run(args) == 2
    assert "was made from checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (OSError(28, "No space left on device", "/tmp/x"), "/tmp/x: no space is left", 2),
        (OSError(24, "Too many open files"), "ulimit -n", 2),
        (OSError(36, "File name too long", "n" * 300), "the name is too long", 2),
        (OSError(95, "Operation not supported"), "internal error", 4),
    ],
)
def test_what_the_system_refuses_is_named(
    error: OSError,
    words: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("spikeproof.cli.show.show_file", refuse)
    assert run(["inspect", "x.ckpt"]) == code
    assert words in capsys.readouterr().err


def test_results_of_checks_fit_a_redirected_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A summary in a cell made the table, and the dashes below its head, 850 characters wide."""
    monkeypatch.delenv("COLUMNS", raising=False)
    summary = "accuracy is equal within a margin " * 25
    check = {
        "id": "V7",
        "verdict": "pass",
        "kind": "tested",
        "title": "Accuracy",
        "summary": summary,
        "data": {},
    }
    report = Report(
        verdict="pass",
        sentence="all is well",
        network=Network(name="tiny", input_shape=[1, 2, 2], timesteps=1),
        checks=[Check.model_validate(check)],
        report="r.json",
        provenance=Provenance(),
    )
    assert show_verdict(Console(), report) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert " ".join(summary.split()) in " ".join(out.split())


def test_tables_and_help_fit_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert run(["-h"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60
    Console().table(["layer", "kind", "neurons"], [("l1", "convolution " * 9, 1234)])
    out = capsys.readouterr().out
    assert out.splitlines()[2].startswith("l1     convolution") and "1,234" in out
    assert max(map(len, out.splitlines())) <= 60


@pytest.mark.parametrize("tost", ["pass", "inconclusive"])
def test_the_table_of_accuracies_stays_a_table_at_sixty_columns(
    tost: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headings are broken, columns move together, long names are broken; no figure is."""
    monkeypatch.setenv("COLUMNS", "60")
    report = json.loads((REAL / "report.json").read_text())
    (accuracy,) = [c for c in report["checks"] if c["id"] == "V7"]
    for row in accuracy["data"]["rows"]:
        row["tost"] = tost
    show_verdict(Console(), parse_report(report))
    lines = capsys.readouterr().out.splitlines()
    (start,) = [i for i, line in enumerate(lines) if line.startswith("perturbation")]
    assert lines[start].split() == ["perturbation", "images", "%", "%", "%", "points", "verdict"]
    assert lines[start - 1].split() == ["clean", "trained", "chip"]
    rows = [line.split() for line in lines[start + 2 :]]
    shown = [row for row in rows if row[-1:] == [tost]]
    assert len(shown) == len(accuracy["data"]["rows"]) > 5
    assert all(len(row) in (7, 8) for row in shown)
    assert max(map(len, lines[start - 1 : start + 2 + 2 * len(shown)])) <= 60


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[margins]\nclaen = 0.1\n", "claen"),
        ("weight_bits = 99\n", "weight_bits"),
        ('name = "x"\n[optimiser]\nepocs = 2\n', "did you mean 'optimiser.epochs'?"),
        ('name = "x"\n[network]\narchitecture = "vgg6"\n', "network.architecture"),
        ('name = "x"\n[objective]\nrho = 0.5\n', "rho needs a perturbation"),
        ("seed = 1\n", "name: is missing"),
        (
            'name = "a/b"\n',
            "letters A-Z and a-z, digits, '_', '.' and '-', a letter or digit first",
        ),
        ('name = "x"\n[network]\nhidden = 64\n', "network.hidden takes a list, e.g. [64]; each is"),
        ('name = "x"\nnetwork = 64\n', "network is a table: set one of network.architecture,"),
        ('name = "x"\nseed = 1\nsede = 2\n[data]\nflop = true\n', "data.flop"),
        ('name = "x"\nseed = 1\nsede = 2\n[data]\nflop = true\n', "did you mean 'seed'?"),
    ],
)
def test_inspect_refuses_settings_that_their_command_refuses(
    content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    assert run(["inspect", str(path)]) == 2
    assert words in capsys.readouterr().err


def test_inspect_shows_the_defaults_that_apply_to_a_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "x"\n[optimiser]\nepochs = 2\n')
    assert run(["inspect", str(path)]) == 0
    lines = {row.split()[0]: row for row in capsys.readouterr().out.splitlines() if row.strip()}
    assert "default" in lines["optimiser.batch_size"] and "128" in lines["optimiser.batch_size"]
    assert "default" not in lines["optimiser.epochs"]
    assert run(["inspect", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["recipe"] == {"name": "x", "optimiser": {"epochs": 2}}
    assert document["settings"]["optimiser"]["batch_size"] == 128
