"""The run command: every way of running gives the same document; what cannot run says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof import bundles
from spikeproof.cli.app import run
from spikeproof.cli.commands.run import show_predictions
from spikeproof.cli.console import Console


@pytest.fixture
def args(tiny_bundle: Path, tiny_images: Path) -> list[str]:
    return ["run", str(tiny_bundle), "--data", str(tiny_images), "--json"]


def document(capsys: pytest.CaptureFixture[str], words: list[str]) -> Any:
    capsys.readouterr()
    assert run(words) == 0
    return {**json.loads(capsys.readouterr().out), "seconds": 0, "engine": ""}


def test_all_ways_give_the_same_document(
    args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = document(capsys, args)
    assert first["samples"] == 24 and first["accuracy"] is not None
    journal = ["--journal", str(tmp_path / "j")]
    for more in (
        ["--workers", "2"],
        ["--batch", "5"],
        ["--engine", "numpy", "--workers", "2"],
        journal,
        [*journal, "--workers", "2"],
    ):
        assert document(capsys, args + more) == first, more


def test_images_as_npy_and_in_a_folder(
    args: list[str], tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = document(capsys, args)
    with np.load(tiny_images) as arrays:
        for name in "xy":
            np.save(tmp_path / f"{name}.npy", arrays[name])
    assert first.pop("data")["file"] == tiny_images.name
    args[3] = str(tmp_path)
    found = document(capsys, args)
    assert found.pop("data")["file"] == tmp_path.name
    assert found == first
    args[3] = str(tmp_path / "x.npy")
    found = document(capsys, args)
    assert found.pop("data")["labels"] == "absent"
    first["warnings"] = []  # whether predictions are better than chance is not known
    assert found == {**first, "accuracy": None, "labels": None}


def test_the_first_predictions_are_shown_and_all_are_in_the_document(
    args: list[str], tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, args)
    with np.load(tiny_images) as arrays:
        labels = arrays["y"].tolist()
    assert found["labels"] == labels and len(found["predictions"]) == 24
    assert run(args[:-1]) == 0
    lines = "".join(capsys.readouterr()).splitlines()
    head = next(
        i
        for i, row in enumerate(lines)
        if row.split() == ["sample", "prediction", "label", "right"]
    )
    shown = [row.split() for row in lines[head + 2 : head + 12]]
    for i, (predicted, label) in enumerate(zip(found["predictions"][:10], labels, strict=False)):
        right = "yes" if predicted == label else "no"
        assert shown[i] == [str(i), str(predicted), str(label), right]
    assert any("the first 10 of 24" in row for row in lines)


def test_with_json_no_part_of_the_predictions_is_shown_besides(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["predictions"]) == 24
    assert "24 samples on fast" in err
    assert "prediction" not in err and "--json" not in err


def test_predictions_name_the_classes_of_data_that_are_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_predictions(
        Console(),
        {"predictions": [9, 2], "labels": None, "classes": ["T-shirt", "Trouser", "Coat"]},
    )
    rows = [row.split() for row in "".join(capsys.readouterr()).splitlines()]
    assert rows[2:] == [["0", "9"], ["1", "2", "Coat"]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--engine", "numpy", "--batch", "3"], 'batch was 5, is 3; engine was "fast", is "numpy"'),
        (["--limit", "20", "--batch", "5"], "samples was 24, is 20"),
    ],
)
def test_a_journal_of_another_run_is_refused(
    more: list[str],
    message: str,
    args: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args += ["--journal", str(tmp_path / "j")]
    assert run([*args, "--batch", "5"]) == 0
    capsys.readouterr()
    assert run([*args, *more]) == 2
    assert message in capsys.readouterr().err


def test_other_images_are_another_run(
    args: list[str], tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args += ["--journal", str(tmp_path / "j")]
    assert run(args) == 0
    with np.load(tiny_images) as arrays:
        np.savez(tiny_images, x=arrays["x"] ^ 1, y=arrays["y"])
    assert run(args) == 2
    assert "another run: data was" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--cluster", "tcp://127.0.0.1:1", "--workers", "2"], "takes no --workers"),
        (["--workers", "0"], "--workers"),
        (["--batch", "0"], "--batch"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_impossible_options(
    more: list[str], message: str, args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*args, *more]) == 2
    assert message in capsys.readouterr().err


def test_a_broken_file_is_named_before_data_are_asked_for(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk = tmp_path / "junk.spk"
    junk.write_text("no bundle\n")
    for path, told in ((junk, "is a text file"), (tmp_path / "none.spk", "No such file")):
        assert run(["run", str(path)]) == 2
        said = capsys.readouterr().err
        assert f"{path}: " in said and told in said and "--data" not in said
    assert run(["run", str(tiny_bundle)]) == 2
    assert "Add --data X.npz" in capsys.readouterr().err


def test_a_bundle_that_does_not_fit_in_memory(
    args: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: Path) -> Any:
        raise MemoryError

    monkeypatch.setattr(bundles, "load_bundle", load)
    assert run(args) == 2
    assert "does not fit in memory: its file has" in capsys.readouterr().err
