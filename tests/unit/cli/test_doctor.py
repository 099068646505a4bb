"""``doctor`` names what each optional library gives, what is missing, and the fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from spikeproof.cli import libraries
from spikeproof.cli.app import run
from spikeproof.cli.commands import doctor

Findings = dict[str, dict[str, str]]
EXTRAS = {
    "Fast engine": ("fast", "numba"),
    "ONNX": ("onnx", "onnxruntime"),
    "Lava .net files": ("netx", "h5py"),
    "Cluster": ("cluster", "distributed"),
}


@pytest.fixture
def findings(capsys: pytest.CaptureFixture[str]) -> Callable[[], Findings]:
    """Run the command, which must succeed, and return its findings by name."""

    def look() -> Findings:
        assert run(["doctor", "--json"]) == 0
        return {f["name"]: f for f in json.loads(capsys.readouterr().out)["findings"]}

    return look


@pytest.mark.parametrize("name", EXTRAS)
def test_an_installed_library_is_named_with_its_version(
    name: str, findings: Callable[[], Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMBA_DISABLE_JIT", raising=False)
    monkeypatch.setattr(libraries, "version_of", lambda package: f"7.{len(package)}")
    monkeypatch.setattr(libraries, "import_module", lambda module: None)
    found = findings()[name]
    module = EXTRAS[name][1]
    assert found["state"] == "ok"
    assert f"{module} 7.{len(module)}" in found["found"]
    assert found["fix"] == ""


@pytest.mark.parametrize("name", EXTRAS)
def test_a_missing_library_is_a_gap_with_a_command_and_no_failure(
    name: str, findings: Callable[[], Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra, absent = EXTRAS[name]
    monkeypatch.setattr(libraries, "version_of", lambda p: None if p == absent else "1.0")
    monkeypatch.setattr(libraries, "import_module", lambda module: None)
    found = findings()
    assert found[name]["state"] == "missing"
    assert f"{absent} not installed: " in found[name]["found"]
    assert found[name]["fix"] == f"spikeproof doctor --install {extra}"
    assert [n for n in EXTRAS if found[n]["state"] == "missing"] == [name]


def test_a_library_that_does_not_fit_its_neighbours_says_why(
    findings: Callable[[], Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(module: str) -> None:
        if module == "numba":
            raise ImportError("needs an older NumPy\nand more lines")

    monkeypatch.setattr(libraries, "version_of", lambda _: "0.1")
    monkeypatch.setattr(libraries, "import_module", load)
    found = findings()["Fast engine"]
    assert found["state"] == "missing"
    assert "numba 0.1 cannot be imported (needs an older NumPy): " in found["found"]
    assert "NumPy, slower" in found["found"]
    assert found["fix"] == "spikeproof doctor --install fast --upgrade"


def test_compilation_that_is_switched_off_is_found(
    findings: Callable[[], Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setattr(libraries, "version_of", lambda _: "0.1")
    monkeypatch.setattr(libraries, "import_module", lambda module: None)
    assert findings()["Fast engine"]["fix"] == "unset NUMBA_DISABLE_JIT"


def test_the_real_libraries_can_be_loaded_or_are_reported() -> None:
    for found in libraries.libraries():
        there = all(find_spec(m) for m in [EXTRAS[found.name][1]])
        assert (found.state == "ok") == there, found


@pytest.mark.parametrize(
    ("available", "smi", "cuda", "state", "words"),
    [
        (True, "/bin/x", "13.2", "ok", "Card 9; --engine torch runs on cuda"),
        (False, None, None, "ok", "--engine torch runs on cpu"),
        (False, "/bin/x", None, "missing", "built without CUDA"),
        (False, "/bin/x", "13.2", "missing", "finds no usable driver"),
    ],
)
def test_the_device_of_the_torch_engine(
    available: bool,
    smi: str | None,
    cuda: str | None,
    state: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch: Any = pytest.importorskip("torch", reason="needs torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Card 9")
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: smi)
    found = doctor._gpu()
    assert found.state == state
    assert words in found.found
    assert bool(found.fix) == (state == "missing")


def test_without_torch_the_lost_commands_are_named(
    findings: Callable[[], Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda p: None if p == "torch" else plain(p))
    monkeypatch.setattr(libraries, "import_module", lambda module: None)
    found = findings()
    assert "no --engine torch" in found["torch"]["found"]
    assert found["torch"]["fix"] == "spikeproof doctor --install torch"
    assert "unknown without torch" in found["GPU"]["found"]
