"""Kernels are compiled in the background where they will be needed, and only there."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is not installed: nothing is compiled")

from spikeproof.cli import ahead, install
from spikeproof.cli.ahead import compiling_ahead
from spikeproof.cli.console import Console
from spikeproof.cli.workflow import prepare_fast
from spikeproof.engines.compiled import cache
from spikeproof.errors import InputError
from spikeproof.extras import is_installed
from spikeproof.io.bundle import load_bundle
from spikeproof.io.child import child_python


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have other processes keep their kernels in a new folder, and this one look there."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    place = tmp_path / "spikeproof" / f"kernels-{cache.kernel_hash()}"
    monkeypatch.setattr(cache, "folder", place)
    return place


def test_kernels_of_a_network_being_converted_are_those_its_bundle_needs(
    tiny_checkpoint: Path, tiny_bundle: Path, empty_cache: Path
) -> None:
    with compiling_ahead(tiny_checkpoint) as process:
        assert process is not None and process.wait() == 0
    made = {path: path.stat().st_mtime_ns for path in empty_cache.glob("*.kernel")}
    assert made
    with compiling_ahead(tiny_bundle) as process:
        assert process is None, "there is nothing left to do"
    again = subprocess.run(child_python(ahead._START, str(tiny_bundle)), check=False)
    assert again.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in empty_cache.glob("*.kernel")} == made


def test_whoever_comes_before_the_kernels_are_ready_waits_and_is_told(
    tiny_bundle: Path,
    empty_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ahead, "_START", "import time; time.sleep(0.5)")
    network = load_bundle(tiny_bundle).network
    start = time.monotonic()
    with compiling_ahead(tiny_bundle) as process:
        prepare_fast(Console(), network, process)
        assert process is not None and process.poll() == 0
    assert time.monotonic() - start >= 0.5
    assert "Compiling the fast engine's kernels" in capsys.readouterr().err


def test_the_background_process_ends_with_the_work_it_was_for(
    tiny_bundle: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_START", "import time; time.sleep(60)")
    with pytest.raises(KeyboardInterrupt), compiling_ahead(tiny_bundle) as process:
        raise KeyboardInterrupt
    assert process is not None and process.poll() is not None


def test_a_background_process_that_fails_is_no_error(
    tmp_path: Path, tiny_bundle: Path, empty_cache: Path
) -> None:
    with compiling_ahead(tmp_path / "absent.spk") as process:
        assert process is not None and process.wait() != 0
        prepare_fast(Console(), load_bundle(tiny_bundle).network, process)


@pytest.fixture
def hostile_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder whose modules, when imported, leave a file ``executed``."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in ("numpy", "json", "contextlib", "spikeproof", "pip", "uv", "multiprocessing"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'executed')!r}, 'w')\n")
    monkeypatch.chdir(folder)
    return folder


def test_modules_in_the_current_folder_are_not_executed(
    tiny_bundle: Path, empty_cache: Path, hostile_folder: Path
) -> None:
    with compiling_ahead(tiny_bundle) as process:
        assert process is not None and process.wait() == 0
    assert not (hostile_folder / "executed").exists()
    naive = subprocess.run([sys.executable, "-c", "import numpy"], check=False)
    assert naive.returncode == 0 and (hostile_folder / "executed").exists(), "the trap works"


def test_an_installer_in_the_current_folder_is_not_executed(hostile_folder: Path) -> None:
    found = install._works([sys.executable, "-m", "pip"])
    assert install._works([sys.executable, "-m", "uv"]) == is_installed("uv")
    with contextlib.suppress(InputError):  # refused where there is no pip
        install.install([[sys.executable, "-m", "pip", "--version"]])
    assert found == is_installed("pip")
    assert not (hostile_folder / "executed").exists()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with Python 3.11")
def test_libraries_start_their_processes_without_the_current_folder(hostile_folder: Path) -> None:
    program = Path(sys.executable).with_name("spikeproof")
    started = "from spikeproof.io.child import guard_children; guard_children(); import subprocess"
    code = f"{started}; subprocess.run([{sys.executable!r}, '-c', 'import numpy'], check=True)"
    subprocess.run(child_python(code), check=True)
    subprocess.run([program, "--version"], check=True)
    assert not (hostile_folder / "executed").exists()
