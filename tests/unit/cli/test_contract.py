"""What scripts rely on at the edges: closed pipes, wrong labels, odd files, quoted commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.cli.app import report_interruption, run
from spikeproof.cli.console import ARGUMENTS, Console
from spikeproof.verify.document import Report, load_report


@pytest.mark.parametrize(
    "order",
    [
        ("inspect", "{}", "--json"),
        ("inspect", "--json", "{}"),
        ("inspect", "{}"),
        ("--help",),
        ("--version",),
    ],
)
def test_a_closed_pipe_ends_quietly_with_4_through_every_path(
    order: tuple[str, ...], tiny_checkpoint: Path
) -> None:
    closed_end, open_end = os.pipe()
    os.close(closed_end)
    both = order == ("inspect", "{}")  # its text goes to stderr
    args = [word.format(tiny_checkpoint) for word in order]
    with os.fdopen(open_end, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "spikeproof", *args],
            stdout=pipe,
            stderr=pipe if both else subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert done.returncode == 4
    if not both:
        assert b"Traceback" not in done.stderr
        assert b"BrokenPipe" not in done.stderr


def test_a_broken_pipe_of_our_own_is_an_internal_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise BrokenPipeError("worker")

    monkeypatch.setattr("spikeproof.cli.show.show_file", explode)
    assert run(["inspect", "x.ckpt"]) == 4
    assert "internal error" in capsys.readouterr().err


def test_an_interruption_inside_the_parser_is_exit_code_2_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spikeproof.cli.show.show_file", interrupt)
    assert run(["inspect", "--json", "x.ckpt"]) == 2
    out, err = capsys.readouterr()
    assert "nothing half-written; run the same command again to start anew" in err
    assert json.loads(out)["error"] == {
        "type": "Interrupted",
        "message": "interrupted; nothing half-written; run the same command again to start anew",
        "exit_code": 2,
    }


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        (["verify", "B", "--against", "C"], True),
        (["demo"], True),
        (["train", "R"], True),
        (["train", "R", "--no-resume"], False),
        (["run", "B", "--data", "D", "--journal", "J"], True),
        (["run", "B", "--data", "D", "--journal=J"], True),
        (["run", "B", "--data", "D"], False),
        (["convert", "verify"], False),
        (["export", "B"], False),
        (["-q"], False),
    ],
)
def test_an_interrupted_command_says_to_resume_only_if_it_does(
    args: list[str], kept: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_interruption(args) == 2
    told = capsys.readouterr().err
    assert ("again to resume\n" in told) == kept
    assert ("again to start anew" in told) != kept
    assert ("--journal FOLDER" in told) == (args[0] == "run" and not kept)


@pytest.mark.parametrize("verb", ["run", "verify"])
def test_labels_that_are_no_class_are_an_input_error(
    verb: str,
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "odd.npz"
    y = np.zeros(24, np.int64)
    y[3] = 77
    np.savez(path, x=np.zeros((24, 1, 8, 8), np.uint8), y=y)
    extra = [] if verb == "run" else ["--against", str(tiny_checkpoint), "-o", str(tmp_path / "r")]
    assert run([verb, str(tiny_bundle), "--data", str(path), *extra]) == 2
    err = capsys.readouterr().err
    assert "77" in err
    assert "classes 0..9" in err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("value", ["nan", "[1.0, inf]", "1979-05-27", "07:32:00"])
def test_inspect_refuses_a_recipe_json_cannot_hold(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f'name = "x"\n[optimiser]\nlearning_rate = {value}\n')
    assert run(["inspect", str(path), "--json"]) == 2
    out, err = capsys.readouterr()
    assert "holds a value no recipe can have" in err
    assert json.loads(out)["error"]["exit_code"] == 2
    assert run(["inspect", str(path)]) == 2


def test_the_folder_of_a_trace_is_there_or_the_trace_is_refused_before_the_run(
    tiny_bundle: Path,
    tiny_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = ["run", str(tiny_bundle), "--data", str(tiny_images), "--limit", "2", "--trace"]
    (tmp_path / "new").mkdir()
    assert run([*base, str(tmp_path / "new" / "t.npz")]) == 0
    assert (tmp_path / "new" / "t.npz").is_file()

    def never(*_: object, **__: object) -> None:
        pytest.fail("the engine ran although its trace cannot be written")

    monkeypatch.setattr("spikeproof.engines.fast.FastEngine.run", never)
    (tmp_path / "file").write_text("")
    capsys.readouterr()
    for wrong in (tmp_path / "file" / "t.npz", tmp_path / "new"):
        assert run([*base, str(wrong)]) == 2
        assert "hoose another place" in capsys.readouterr().err


def test_download_is_refused_for_a_data_set_it_does_not_fetch(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    fetched: list[object] = []
    monkeypatch.setattr("spikeproof_models.datasets._download", fetched.append)
    recipe = root / "models" / "recipes" / "cifar10-vgg5.toml"
    assert run(["train", str(recipe), "--download", "--data-dir", str(tmp_path)]) == 2
    assert "this recipe needs cifar10" in capsys.readouterr().err
    assert fetched == []


def test_a_failed_download_is_an_input_error(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")

    class Torchvision:
        @staticmethod
        def FashionMNIST(*_: object, **__: object) -> None:
            raise RuntimeError("Error downloading train-images")

    monkeypatch.setattr("importlib.import_module", _instead_of_torchvision(Torchvision))
    recipe = root / "models" / "recipes" / "lif-natural.toml"
    assert run(["train", str(recipe), "--download", "--data-dir", str(tmp_path)]) == 2
    assert "could not be downloaded: Error downloading train-images" in capsys.readouterr().err


def _instead_of_torchvision(stand_in: object) -> Callable[..., Any]:
    import importlib

    real = importlib.import_module
    return lambda name, *rest: stand_in if name == "torchvision.datasets" else real(name, *rest)


def test_the_command_of_a_report_can_be_pasted_into_a_shell() -> None:
    before = ARGUMENTS.set(("verify", "my net.spk", "--against", "it's.ckpt"))
    try:
        line = Console().command_line
    finally:
        ARGUMENTS.reset(before)
    assert line == """spikeproof verify 'my net.spk' --against 'it'"'"'s.ckpt'"""


def test_the_command_is_that_of_this_run_not_that_of_the_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    def note(console: Console, *_: object) -> int:
        lines.append(console.command_line)
        return 0

    monkeypatch.setattr("spikeproof.cli.show.show_file", note)
    run(["inspect", "a b.ckpt"])
    run(["inspect", "--json", "a b.ckpt"])
    assert lines == ["spikeproof inspect 'a b.ckpt'", "spikeproof inspect --json 'a b.ckpt'"]


def test_a_demo_whose_self_test_differs_still_reports_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("lava")
    from spikeproof.engines import self_test

    wrong = self_test.SelfTest(compared=10, mismatches={"l1/s": 1})
    monkeypatch.setattr(self_test, "self_test", lambda *_: wrong)
    report = load_report(Path(__file__).parents[1] / "report" / "real" / "report.json")
    report = report.model_copy(update={"verdict": "pass"})
    verified: list[object] = []

    def verify_into(*args: object, **_: object) -> Report:
        verified.append(args)
        return report

    monkeypatch.setattr("spikeproof.cli.verification.verify_into", verify_into)
    assert run(["demo", "-o", str(tmp_path / "demo")]) == 1
    assert len(verified) == 1
    assert "10 values compared on Lava, 1 differ" in capsys.readouterr().out
