"""Full disks, Ctrl-C and kill -9: no half-written artefact, and the same command goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.io.bundle import load_bundle
from spikeproof.io.files import TEMPORARY, is_left_behind
from spikeproof.io.record import TrainingRecord

Cli = Callable[..., Any]


# --- full disk ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 KiB, where this machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("this machine allows no mounts")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(
    small_disk: Path, tiny_checkpoint: Path, tiny_images: Path, cli: Cli
) -> None:
    done = cli("convert", tiny_checkpoint, "--calibration", tiny_images, "-o", small_disk / "o.spk")
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "no partial file" in done.stderr
    assert list(small_disk.iterdir()) == []


def test_a_journal_on_a_full_disk_goes_on_once_there_is_room(
    small_disk: Path, tiny_bundle: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["run", str(tiny_bundle), "--data", str(tiny_images), "--batch", "1", "--json"]
    assert run(args) == 0
    alone = json.loads(capsys.readouterr().out)
    args += ["--journal", str(small_disk / "j")]
    assert run(args) == 2
    printed = capsys.readouterr()
    assert "No space left" in printed.err and "Results so far are safe" in printed.err
    kept = (small_disk / "j" / "journal.jsonl").read_bytes()
    assert kept.endswith(b"\n") and 1 < kept.count(b"\n") < 25
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    assert run(args) == 0
    printed = capsys.readouterr()
    assert f"{kept.count(10) - 1} of 24 batches were taken from" in printed.err
    assert {**json.loads(printed.out), "seconds": 0} == {**alone, "seconds": 0}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_error_of_the_disk_keeps_the_old_bundle(
    step: str,
    tiny_checkpoint: Path,
    tiny_bundle: Path,
    tiny_images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = tiny_bundle.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"os.{step}", full)
    if step == "replace":  # Python 3.10's Path keeps a reference of its own
        monkeypatch.setattr(Path, "replace", full)
    code = run(
        [
            "convert",
            str(tiny_checkpoint),
            "--calibration",
            str(tiny_images),
            "-o",
            str(tiny_bundle),
            "--weight-bits",
            "6",
        ]
    )
    assert code == 2
    assert "No space left" in capsys.readouterr().err
    assert tiny_bundle.read_bytes() == old
    assert temporary_files(tiny_bundle.parent) == []


def test_a_folder_that_cannot_be_made(
    tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    code = run(
        [
            "convert",
            str(tiny_checkpoint),
            "--calibration",
            str(tiny_images),
            "-o",
            str(tmp_path / "file" / "o.spk"),
        ]
    )
    assert code == 2
    assert "is not a folder" in capsys.readouterr().err


# --- signals -----------------------------------------------------------------------------------

# The command itself, slowed at a point the test chooses, so that a signal surely hits its middle.
SLOWED = """
import faulthandler, sys, time
from pathlib import Path
from spikeproof.cli.app import run
import spikeproof.{module} as module

original = module.{name}

def slow(*args, **kwargs):
    result = original(*args, **kwargs)
    Path(sys.argv[1]).touch()
    faulthandler.dump_traceback_later(100)  # where it hangs, should it
    for _ in range(60000):  # a second thread is ended between two lines of Python
        time.sleep(0.01)
    return result

module.{name} = slow
sys.exit(run(sys.argv[2:]))
"""


def interrupt(
    module: str, name: str, args: list[object], mark: Path, sent: signal.Signals
) -> tuple[int, str, str]:
    """Run a command, send it a signal once it has passed a point, return code, out, err."""
    program = SLOWED.format(module=module, name=name)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(mark), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=mark.parent,
    )
    deadline = time.monotonic() + 120
    try:
        while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert mark.exists(), process.communicate(timeout=5)
        process.send_signal(sent)
        out, err = process.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"it did not end: {process.communicate()[1]}")
    finally:
        process.kill()
    return process.returncode, out, err


def temporary_files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.endswith(TEMPORARY)]


STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


EARLY = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == sys.argv[-1]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from spikeproof.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["spikeproof.cli.app", "spikeproof.cli.commands"])
def test_ctrl_c_while_the_command_line_is_imported_ends_with_one_line(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY, "demo", "--json", module],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "interrupted" in done.stderr
    assert json.loads(done.stdout)["error"]["exit_code"] == 2


TWICE = """
import atexit, os, signal, sys
from spikeproof.cli import app, show

def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)

def seen(*streams, real=app._was_seen):
    interrupt()
    return real(*streams)

show.show_file, app._was_seen = interrupt, seen
atexit.register(interrupt)
sys.argv = ["spikeproof", "inspect", "x.ckpt"]
from spikeproof.__main__ import main
main()
"""


def test_ctrl_c_again_while_it_ends_changes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "interrupted" in done.stderr


@pytest.mark.parametrize("sent", STOPPING)
def test_ctrl_c_and_its_like_during_convert(
    sent: signal.Signals, tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path
) -> None:
    target = tmp_path / "o.spk"
    args: list[object] = [
        "convert",
        tiny_checkpoint,
        "--calibration",
        tiny_images,
        "-o",
        target,
        "--json",
    ]
    code, out, err = interrupt("convert.pipeline", "quantise_network", args, tmp_path / "m", sent)
    assert code == 2
    assert "nothing half-written" in err
    assert json.loads(out)["error"]["exit_code"] == 2
    assert not target.exists()
    assert temporary_files(tmp_path) == []


@pytest.mark.parametrize("sent", [*STOPPING, signal.SIGKILL])
def test_a_stopped_export_leaves_no_file_or_one_that_is_known_as_left_behind(
    sent: signal.Signals, tiny_bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    target = tmp_path / "o.onnx"
    code, _, _ = interrupt(
        "formats.onnx.check",
        "check_model",
        ["export", tiny_bundle, "-o", target],
        tmp_path / "m",
        sent,
    )
    assert not target.exists()
    left = temporary_files(tmp_path)
    if sent != signal.SIGKILL:
        assert (code, left) == (2, [])
        return
    assert code == -signal.SIGKILL
    assert [is_left_behind(path) for path in left] == [True]


@pytest.mark.parametrize("name", ["quantise_network", "convert_network"])
def test_kill_during_convert_leaves_no_bundle_and_a_second_run_works(
    name: str, tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path
) -> None:
    target = tmp_path / "o.spk"
    args: list[object] = ["convert", tiny_checkpoint, "--calibration", tiny_images, "-o", target]
    code, _, _ = interrupt("convert.pipeline", name, args, tmp_path / "m", signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not target.exists()
    assert run(list(map(str, args))) == 0
    assert load_bundle(target).network.name == "tiny"


# --- verification goes on where it was ---------------------------------------------------------

SETTINGS = """
lava_samples = 20

[samples]
accuracy = 24
gaussian = 8
fgsm = 8
pgd = 8
stages = 8
boundary = 8

[perturbations]
gaussian = [8]
fgsm = [8]
pgd = []
"""


@pytest.fixture
def verification(
    tiny_bundle: Path, tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path
) -> list[object]:
    """A verification small enough for a test, on the fast engine."""
    pytest.importorskip("torch")
    config = tmp_path / "small.toml"
    config.write_text(SETTINGS)
    return [
        "verify",
        tiny_bundle,
        "--against",
        tiny_checkpoint,
        "--data",
        tiny_images,
        "--config",
        config,
        "--engine",
        "fast",
        "-o",
        tmp_path / "run",
        "--json",
    ]


def stable(document: str) -> dict[str, Any]:
    """Return the report without what may differ between two runs."""
    report: dict[str, Any] = json.loads(document)
    report.pop("timing")
    report["provenance"].pop("command")
    return report


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize(("stopped_in", "before"), [("craft_chunk", 0), ("measure_batch", 8)])
def test_a_stopped_verification_goes_on_and_gives_the_same_report(
    stopped_in: str,
    before: int,
    sent: signal.Signals,
    verification: list[object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    code, _, _ = interrupt("verify.work", stopped_in, verification, tmp_path / "m", sent)
    assert code == (2 if sent == signal.SIGINT else -sent)
    assert not (folder / "report.json").exists()
    assert not (folder / "report.html").exists()
    done = (folder / "journal.jsonl").read_bytes()
    assert done.count(b"\n") > before, "work that was finished before the signal is kept"
    capsys.readouterr()

    code = run(list(map(str, verification)))
    assert code == 3, "24 images with random labels show little"
    printed = capsys.readouterr().out
    taken = json.loads(printed)["timing"]["items_from_earlier_attempt"]
    assert taken == done.count(b"\n") - 1, "finished work was not repeated"
    resumed = stable(printed)
    assert (folder / "journal.jsonl").read_bytes().startswith(done), "the journal only grows"
    assert (folder / "report.html").stat().st_size < 2 << 20

    shutil.rmtree(folder)
    assert run(list(map(str, verification))) == code
    assert stable(capsys.readouterr().out) == resumed


def test_verify_refuses_a_checkpoint_the_bundle_was_not_made_from(
    verification: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

    other = tmp_path / "other.ckpt"
    network = load_checkpoint(Path(str(verification[3]))).network
    save_checkpoint(other, Checkpoint(network, TrainingRecord(torch="another")))
    args = [str(other) if a == verification[3] else str(a) for a in verification]
    assert run(args) == 2
    assert "made from checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "run" / "report.json").exists()


def test_verify_needs_labels(
    verification: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "unlabelled.npz"
    np.savez(images, x=np.zeros((4, 1, 8, 8), np.uint8))
    args = [str(images) if str(a).endswith("images.npz") else str(a) for a in verification]
    assert run(args) == 2
    assert "labels" in capsys.readouterr().err


def test_verify_shows_its_plan_and_refuses_unknown_settings(
    verification: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = list(map(str, verification))
    assert run([*args, "--dry-run"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["engine"] == "fast"
    assert plan["samples"]["pgd"] == 8
    assert not (tmp_path / "run").exists()
    (tmp_path / "small.toml").write_text("lava_sample = 3\n")
    assert run(args) == 2
    assert "lava_samples" in capsys.readouterr().err
