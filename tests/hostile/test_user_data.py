"""What a run did not make, it does not remove; what a killed run left, the next one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.io import files
from spikeproof.io.npz_writer import NpzWriter


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def fill(folder: Path) -> dict[str, bytes]:
    """Put files of a user wherever a run may want to write, under names it may want to use."""
    for name in ("trace", "images", "work", "perturbed", "parts", "shared", "journal"):
        (folder / name).mkdir(parents=True)
        for file in ("0.npy", "1.npy", "notes.txt", "x.npz"):
            (folder / name / file).write_bytes(b"mine " + name.encode())
    (folder / "notes.txt").write_bytes(b"mine")
    return everything(folder)


def kept(folder: Path, before: dict[str, bytes]) -> bool:
    after = everything(folder)
    return all(after.get(name) == content for name, content in before.items())


def test_a_trace_beside_a_journal_leaves_a_folder_called_trace_alone(
    tiny_bundle: Path, tiny_images: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "res"
    before = fill(folder)
    args = ["run", str(tiny_bundle), "--data", str(tiny_images), "--engine", "numpy"]
    assert run([*args, "--journal", str(folder), "--trace", str(folder / "out.npz")]) == 0
    assert kept(folder, before)
    assert (folder / "out.npz").is_file()


def test_verification_into_a_folder_with_files_of_others_leaves_them_alone(
    tiny_bundle: Path, tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="verification needs torch")
    folder = tmp_path / "out"
    before = fill(folder)
    code = run(
        [
            "verify",
            str(tiny_bundle),
            "--against",
            str(tiny_checkpoint),
            "--data",
            str(tiny_images),
            "--engine",
            "numpy",
            "-o",
            str(folder),
            "-q",
        ]
    )
    assert code == 3, "24 images with random labels show little"
    assert (folder / "report.json").is_file()
    assert kept(folder, before)


def test_a_fuzz_campaign_leaves_other_files_in_its_folder_alone(tmp_path: Path) -> None:
    before = fill(tmp_path / "fuzz")
    assert run(["fuzz", "--nets", "2", "--engine", "numpy", "-o", str(tmp_path / "fuzz")]) == 0
    assert kept(tmp_path / "fuzz", before)


def test_a_writer_removes_its_own_members_only(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    writer = NpzWriter(folder, {"a": (np.uint8, (2,))}, tmp_path / "w.npz")
    (folder / "of-somebody-else").write_text("mine")
    writer.discard()
    assert [p.name for p in folder.iterdir()] == ["of-somebody-else"]


KILLED = """
import os, signal, sys
from pathlib import Path
from spikeproof.io.files import atomic_file, temporary_folder
with atomic_file(Path(sys.argv[1]), 3) as file, temporary_folder("kernels"):
    file.write(b"abc")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_kill_leaves_is_removed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = tmp_path / "out", tmp_path / "tmp"
    for place in places:
        place.mkdir()
    target = places[0] / "t.npz"
    environment = {**os.environ, "TMPDIR": str(places[1])}
    subprocess.run([sys.executable, "-c", KILLED, str(target)], env=environment, check=False)
    assert all(len(files.left_behind(place)) == 1 for place in places)
    assert not target.exists()

    monkeypatch.setenv("TMPDIR", str(places[1]))
    monkeypatch.setattr("tempfile.tempdir", None)
    files.write_atomic(target, b"whole")
    with files.temporary_folder("kernels"):
        pass
    assert [p.name for p in places[0].iterdir()] == ["t.npz"]
    assert not list(places[1].iterdir())


def test_what_a_running_process_uses_is_never_swept(tmp_path: Path) -> None:
    target = tmp_path / "t.npz"
    with files.atomic_file(target, 1) as mine:
        mine.write(b"1")
        files.write_atomic(target, b"2")
    assert target.read_bytes() == b"1"


def test_doctor_names_what_killed_runs_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "from spikeproof.io.files import temporary_name as t; print(t('spikeproof-lava'))"
    name = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / name).mkdir()
    assert run(["doctor"]) == 0
    said = capsys.readouterr()
    assert name in said.out + said.err
