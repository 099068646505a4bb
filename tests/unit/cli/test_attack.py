"""The attack command: figures with intervals, results others can recheck, errors that say how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="twins are compiled")

from spikeproof.attacks import suites
from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.walks import SAPGD
from spikeproof.bundles import load_safe_bundle
from spikeproof.cli.app import run
from spikeproof.engines.floats import run_float
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.io.checkpoint import load_checkpoint

FEW = suites.Suite(
    "test", 1, (suites.Member(SAPGD(0, steps=8), Estimator(0.425, "detached", "assg")),)
)


@pytest.fixture
def data(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """60 images, nine of ten labelled as the network sees them; a suite that takes no time."""
    monkeypatch.setitem(suites.SUITES, "test-1", FEW)
    x = np.random.default_rng(1).integers(0, 256, (4000, 1, 8, 8), dtype=np.uint8)
    y = run_float(load_checkpoint(tiny_checkpoint).network, x).predictions
    order = np.argsort([np.count_nonzero(y[:i] == y[i]) for i in range(len(y))], kind="stable")
    x, y = x[order[:60]], y[order[:60]].copy()
    y[::10] = (y[::10] + 1) % 10
    np.savez(tmp_path / "data.npz", x=x, y=y)
    return tmp_path / "data.npz"


def words(model: Path, data: Path, *more: object) -> list[str]:
    fixed = ["--data", data, "--suite", "test-1", "--epsilon", "8,2", "--json"]
    return ["attack", str(model), *map(str, fixed), *map(str, more)]


def document(capsys: pytest.CaptureFixture[str], given: list[str]) -> Any:
    capsys.readouterr()
    assert run(given) == 0
    return {**json.loads(capsys.readouterr().out), "seconds": 0, "results": ""}


def failure(capsys: pytest.CaptureFixture[str], given: list[str]) -> str:
    capsys.readouterr()
    assert run(given) == 2
    return str(json.loads(capsys.readouterr().out)["error"]["message"])


def test_a_trained_network(
    tiny_checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.npz"
    found = document(capsys, words(tiny_checkpoint, data, "-o", out))
    assert found["suite"] == "test-1" and found["attacked"] == "trained network"
    assert found["clean"]["right"] == 54 and found["samples"] == 60
    two, eight = found["epsilons"]
    assert (two["epsilon"], eight["epsilon"]) == (2, 8)
    assert 54 > two["right"] > eight["right"]
    low, high = eight["interval"]
    assert low < eight["accuracy"] == eight["right"] / 60 < high
    assert sum(eight["broken_by"]) == 54 - eight["right"]
    network = load_checkpoint(tiny_checkpoint).network
    with np.load(out) as held, np.load(data) as given:
        assert str(held["suite"]) == "test-1" and held["epsilons"].tolist() == [2, 8]
        np.testing.assert_array_equal(held["labels"], given["y"])
        for r, radius in enumerate((2, 8)):
            images, by = held["x_adversarial"][r], held["broken_by"][r]
            assert np.abs(images.astype(int) - given["x"]).max() <= radius
            wrong = run_float(network, images).predictions != given["y"]
            np.testing.assert_array_equal(wrong, by != -1)
            assert (by == -2).sum() == 6
    again = document(capsys, words(tiny_checkpoint, data, "-o", out))  # of its kind: replaced
    assert again == found


def test_the_integers_of_a_bundle(
    tiny_bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.npz"
    found = document(capsys, words(tiny_bundle, data, "-o", out))
    assert found["attacked"] == "chip network"
    assert found["clean"]["right"] > found["epsilons"][1]["right"]
    network = load_safe_bundle(tiny_bundle).network
    with np.load(out) as held:
        images, by = held["x_adversarial"][1], held["broken_by"][1]
        wrong = ReferenceEngine().run(network, images).predictions != held["labels"]
    np.testing.assert_array_equal(wrong, by != -1)


def test_it_goes_on_after_a_stop_and_with_other_workers(
    tiny_checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = document(capsys, words(tiny_checkpoint, data))
    journal = tmp_path / "journal"
    given = words(tiny_checkpoint, data, "--journal", journal)
    assert document(capsys, given) == whole
    lines = (journal / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 3  # a header, 60 images in parts of 50
    (journal / "journal.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:100])
    assert document(capsys, given) == whole
    assert "belongs to another run" in failure(capsys, [*given, "--seed", "1"])


def test_what_cannot_be_attacked_says_why(
    tiny_checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(tiny_checkpoint, data)
    assert "Write 8: it means 8/255" in failure(capsys, [*given, "--epsilon", "8/255"])
    assert "write 8, which is 8/255" in failure(capsys, [*given, "--epsilon", "0.03"])
    assert "did you mean 'sp-quick-1'" in failure(capsys, [*given, "--suite", "sp-quick"])
    with np.load(data) as held:
        x, y = held["x"], held["y"]
    np.savez(tmp_path / "bare.npz", x=x)
    bare = words(tiny_checkpoint, tmp_path / "bare.npz")
    assert "has no labels" in failure(capsys, bare)
    np.savez(tmp_path / "mixed.npz", x=x, y=np.roll(y, 1))
    mixed = words(tiny_checkpoint, tmp_path / "mixed.npz")
    assert "not shown to be better than" in failure(capsys, mixed)
    note = tmp_path / "note.npz"
    note.write_text("mine")
    assert "exists and is no attack results" in failure(capsys, [*given, "-o", str(note)])
    assert note.read_text() == "mine"
