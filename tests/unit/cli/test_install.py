"""``doctor --install`` names the right packages for the right installer, and runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from spikeproof.cli import install
from spikeproof.cli.app import run
from spikeproof.errors import InputError

Calls = list[list[str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Record what would be run; every program exists and succeeds."""
    found: Calls = []

    def record(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        found.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(install.subprocess, "run", record)
    return found


def names(command: list[str]) -> set[str]:
    packages = [word for word in command if not word.startswith("-")]
    return {Requirement(w).name for w in packages[packages.index("install") + 1 :]}


@pytest.fixture
def with_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "is_installed", lambda _: True)
    monkeypatch.setattr(install, "_made_by_uv", lambda: False)


@pytest.mark.usefixtures("with_pip")
def test_lava_is_installed_without_its_caps_and_numpy_keeps_ours(calls: Calls) -> None:
    assert run(["doctor", "--install", "lava", "-q"]) == 0
    first, second = calls
    assert first[:4] == [sys.executable, "-m", "pip", "install"]
    assert first[4:] == ["--no-deps", "--ignore-requires-python", "lava-nc==0.10.0"]
    assert {"asteval", "networkx", "scikit-learn", "numpy"} <= names(second)
    assert "lava-nc" not in names(second)
    numpy = next(Requirement(w) for w in second if w.startswith("numpy"))
    assert "2.4.0" not in numpy.specifier and "2.3.5" in numpy.specifier


@pytest.mark.usefixtures("with_pip")
def test_other_extras_take_one_command(calls: Calls) -> None:
    assert run(["doctor", "--install", "onnx", "--upgrade", "-q"]) == 0
    (only,) = calls
    assert only[3:5] == ["install", "--upgrade"]
    assert names(only) == {"onnx", "onnxruntime", "numpy"}


@pytest.mark.usefixtures("with_pip")
def test_all_brings_lava_in_its_own_way() -> None:
    first, second = install.commands("all")
    assert "lava-nc==0.10.0" in first
    assert {"torch", "numba", "onnx", "h5py", "asteval"} <= names(second)
    assert "spikeproof" not in names(second)


@pytest.mark.usefixtures("with_pip")
def test_torchvision_is_asked_for_beside_the_torch_that_is_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(install, "version_of", {"torch": "2.7.1+cpu"}.get)
    (command,) = install.commands("download")
    assert names(command) == {"torch", "torchvision", "numpy"}
    assert "torch==2.7.1" in command
    assert "torch==2.7.1" not in install.commands("torch")[0]
    monkeypatch.setattr(install, "version_of", lambda _: None)
    assert not any(word.startswith("torch==") for word in install.commands("download")[0])


def test_every_extra_that_a_message_says_to_install_exists(root: Path) -> None:
    files = [p for folder in ("toolchain", "models") for p in (root / folder).rglob("*.py")]
    texts = [p.read_text() for p in (*files, root / "README.md")]
    told = re.compile(r"install_command\(['\"](\w+)['\"]\)|doctor --install ([a-z]+)")
    found = {a or b for text in texts for a, b in told.findall(text)}
    assert "download" in found
    assert found <= set(install.extras())


@pytest.mark.usefixtures("with_pip")
def test_no_requirement_carries_a_marker_that_an_installer_would_drop() -> None:
    for extra in install.extras():
        assert all(Requirement(r).marker is None for r in install.requirements(extra)), extra


def test_an_environment_made_by_uv_is_filled_by_uv(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_made_by_uv", lambda: True)
    monkeypatch.setenv("UV", "/opt/uv")
    first, _ = install.commands("lava")
    assert first[:5] == ["/opt/uv", "pip", "install", "--python", sys.executable]
    assert "--ignore-requires-python" not in first


def test_a_shim_that_does_not_work_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_only_module(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, 0 if command[0] == sys.executable else 127)

    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(install, "_made_by_uv", lambda: True)
    monkeypatch.setattr(install.shutil, "which", lambda _: "/shims/uv")
    monkeypatch.setattr(install.subprocess, "run", run_only_module)
    assert install.commands("onnx")[0][:3] == [sys.executable, "-m", "uv"]


def test_a_command_that_is_printed_works_where_the_reader_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shim of pyenv works or not by the folder it is called from."""
    shim = tmp_path / "uv"
    shim.write_text("#!/bin/sh\ntest ! -e here\n")
    shim.chmod(0o755)
    assert install._works([str(shim)])
    (tmp_path / "here").touch()
    monkeypatch.chdir(tmp_path)
    assert not install._works([str(shim)])


def test_without_pip_and_uv_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "is_installed", lambda _: False)
    monkeypatch.setattr(install, "_works", lambda _: False)
    with pytest.raises(InputError, match="no pip, and uv was not found") as caught:
        install.commands("onnx")
    assert "ensurepip" in str(caught.value.hint)
    assert "`python3 -m uv run spikeproof doctor --install onnx`" in str(caught.value.hint)
    assert caught.value.exit_code == 2


def test_uv_is_found_beside_the_environment_at_home_and_in_the_python_it_was_made_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After ``source .venv/bin/activate``, python3 is one without uv, and no path leads to it."""
    base, home = tmp_path / "base", tmp_path / "home"
    base_python = base / "bin" / f"python3.{sys.version_info.minor}"
    beside, at_home = tmp_path / ".uv" / "bin" / "uv", home / ".local" / "bin" / "uv"
    for program in (base_python, beside, at_home):
        program.parent.mkdir(parents=True)
        program.touch()
    monkeypatch.setattr(install.sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(install.sys, "base_prefix", str(base))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(install.shutil, "which", lambda _: None)
    monkeypatch.setattr(install, "is_installed", lambda _: False)
    for call in ([str(beside)], [str(at_home)], [str(base_python), "-m", "uv"]):
        monkeypatch.setattr(install, "_works", lambda candidate, call=call: candidate == call)
        (command,) = install.commands("onnx")
        assert command[: len(call) + 2] == [*call, "pip", "install"]


@pytest.mark.usefixtures("with_pip")
def test_a_dry_run_says_that_nothing_is_lacking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "everything of onnx is installed already"
    monkeypatch.setattr(install, "version", lambda name: {"numpy": "2.0.0"}.get(name, "99"))
    assert run(["doctor", "--install", "onnx", "--dry-run"]) == 0
    assert said in capsys.readouterr().out
    monkeypatch.setattr(install, "version", lambda name: "0.0.1")
    assert run(["doctor", "--install", "onnx", "--dry-run"]) == 0
    assert said not in capsys.readouterr().out


def test_a_mistyped_extra_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--install", "lavva"]) == 2
    error = capsys.readouterr().err
    assert "did you mean 'lava'?" in error
    assert "onnx" in error


def test_a_refused_installation_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(install.subprocess, "run", refuse)
    with pytest.raises(InputError, match="ended with code 1") as caught:
        install.install([["pip", "install", "x"]])
    assert "python3 -m venv" in str(caught.value.hint)


@pytest.mark.usefixtures("with_pip")
def test_a_dry_run_prints_the_commands_and_runs_none(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--install", "lava", "--dry-run"]) == 0
    assert calls == []
    said = capsys.readouterr()
    assert "lava-nc==0.10.0" in said.out + said.err


def test_options_of_the_installation_need_an_extra(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--upgrade"]) == 2
    assert "--install EXTRA" in capsys.readouterr().err


@pytest.mark.usefixtures("with_pip")
def test_the_two_lines_in_the_documents_are_what_is_run() -> None:
    page = (Path(__file__).parents[3] / "docs" / "howto.md").read_text(encoding="utf-8")
    for command in install.commands("lava"):
        words = [w if w.startswith("-") or "==" in w else f"'{w}'" for w in command[4:]]
        assert "pip install " + " ".join(words) in page
