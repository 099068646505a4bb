"""Shipped images are for networks trained on them; any other needs images of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.convert.images import load_images
from spikeproof.errors import BundleError, InputError
from spikeproof.io.bundle import load_bundle
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spikeproof.io.data import save_arrays
from spikeproof.io.known import DataRecord, known_sets
from spikeproof.io.record import TrainingRecord, read_record
from spikeproof.io.trained import trained_on
from spikeproof.io.zoo import zoo_images, zoo_networks
from spikeproof.ir.floats import Flatten, FloatNetwork, Lif, Linear, Readout
from spikeproof.verify.given import input_warnings, is_calibration
from spikeproof.verify.prepare import find_calibration


def hash_of(dataset: str) -> str:
    return next(k.parts[0].both for k in known_sets() if (k.dataset, k.split) == (dataset, "train"))


def network(seed: int = 0) -> FloatNetwork:
    """Random weights on images like those of MNIST."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Any:
        return rng.normal(0, 0.05, shape).astype(np.float32)

    return FloatNetwork(
        "mine",
        (1, 28, 28),
        4,
        (
            Flatten("flat"),
            Linear("f1", draw(32, 784), None),
            Lif("l1", 1 - 41 / 4096, 1.0),
            Linear("f2", draw(10, 32), None),
            Readout("out"),
        ),
    )


def trained(record: dict[str, Any]) -> Checkpoint:
    return Checkpoint(network(), read_record(TrainingRecord, record, "a test"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mine.ckpt"
    save_checkpoint(path, Checkpoint(network()))
    return path


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({}, "it does not record what it was trained on"),
        ({"training_data_sha256": "0" * 64}, "(SHA-256 0000000000000000…) are no published set"),
        ({"training_data_sha256": hash_of("mnist")}, "it was trained on MNIST"),
        ({"recipe": {"data": {"dataset": "fashion-mnist"}}}, "it does not record"),  # a mere name
    ],
)
def test_a_network_not_trained_on_them_never_gets_the_shipped_images(
    record: dict[str, Any], said: str
) -> None:
    for purpose, option in (("calibration", "--calibration"), ("test", "--data")):
        with pytest.raises(InputError) as error:
            load_images(None, purpose, trained(record), option)
        assert said in str(error.value)
        assert f"Give {option} FILE: npz with images x (N, 1, 28, 28)" in str(error.value)


def test_a_training_record_that_cannot_be_read_is_named() -> None:
    with pytest.raises(BundleError, match=r"training_data_sha256: .*\n.*history: "):
        trained({"training_data_sha256": ["odd"], "history": 3})


def test_a_network_whose_training_data_are_recognised_gets_them() -> None:
    record = {"training_data_sha256": hash_of("fashion-mnist")}
    found = load_images(None, "test", trained(record), "--data")
    assert (found.path, found.record.name) == (zoo_images(), "Fashion-MNIST")


@pytest.mark.parametrize("name", sorted(zoo_networks()))
def test_the_records_of_the_shipped_networks_are_recognised(name: str) -> None:
    known = trained_on(load_checkpoint(zoo_networks()[name]))
    assert known.data is not None
    assert (known.data.name, known.data.split) == ("Fashion-MNIST", "train")
    assert known.accuracy is not None
    assert 0.85 < known.accuracy < 0.95


def test_convert_names_the_data_and_warns_about_what_is_odd(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["convert", str(checkpoint), "-o", str(tmp_path / "m.spk")]) == 2
    assert "Give --calibration FILE" in capsys.readouterr().err
    with np.load(zoo_images()) as arrays:
        save_arrays(tmp_path / "one.npz", {"x": arrays["x"][:1], "y": arrays["y"][:1]})
        save_arrays(tmp_path / "odd.npz", {"x": arrays["x"], "y": (arrays["y"] + 1) % 10})
    args = [
        "convert",
        str(checkpoint),
        "-o",
        str(tmp_path / "m.spk"),
        "--no-search",
        "--no-compensate",
        "--json",
        "--calibration",
    ]
    assert run([*args, str(tmp_path / "one.npz")]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert "calibration: one.npz (unrecognised), 1 sample," in err
    assert any("calibrated on one image" in w for w in document["warnings"])
    assert any("not shown to be better than" in w for w in document["warnings"])
    assert "warning: calibrated on one image" in err
    assert document["calibration"]["recognised"] is False

    assert run([*args, str(tmp_path / "odd.npz"), "--calibration-samples", "100"]) == 0
    out, err = capsys.readouterr()
    calibration = json.loads(out)["calibration"]
    assert "Fashion-MNIST test, first 1,000 images (recognised by content)" in err
    assert (calibration["name"], calibration["samples"], calibration["labels"]) == (
        "Fashion-MNIST",
        100,
        "other",
    )
    assert calibration["file"] is None  # equal images give equal bytes, whatever their file
    assert "the labels are not those of Fashion-MNIST" in err


def test_run_names_the_data_and_warns_at_chance(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    black = tmp_path / "black.npz"
    save_arrays(black, {"x": np.zeros((50, 1, 8, 8), np.uint8), "y": np.arange(50) % 10})
    assert run(["run", str(tiny_bundle), "--data", str(black), "--json", "--limit", "40"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert "data: black.npz (unrecognised), 50 samples" in err
    told = " ".join(document["warnings"])
    assert "all 40 images are black" in told and "better than guessing" in told
    assert f"warning: {document['warnings'][0]}" in err
    assert (document["data"]["samples"], document["data"]["held"]) == (40, 50)


def test_verify_asks_for_data_before_it_plans_and_notes_the_calibration_images(
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tiny_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["verify", str(tiny_bundle), "--against", str(tiny_checkpoint), "--dry-run", "--json"]
    assert run(args) == 2
    assert "Give --data FILE" in capsys.readouterr().err
    assert run([*args, "--data", str(tiny_images)]) == 0
    out, err = capsys.readouterr()
    assert "data: images.npz (unrecognised), 24 samples" in err
    record = DataRecord.model_validate(json.loads(out)["data"])
    found = input_warnings(
        load_bundle(tiny_bundle), record, trained_on(Checkpoint(network())), fitted=True
    )
    assert found == ["these are the images the bundle was calibrated on"]
    some = input_warnings(
        load_bundle(tiny_bundle), record, trained_on(Checkpoint(network())), fitted=False
    )
    assert len(some) == 2 and some[0].startswith("not all of the images the bundle was calibrated")
    assert "not known" not in " ".join(some), "it is what the other warning says they are"


def test_data_that_begin_with_the_calibration_images_are_known_to_do_so(
    tiny_bundle: Path, tiny_images: Path
) -> None:
    """They were called the calibration images, and these unknown, in one breath."""
    bundle = load_bundle(tiny_bundle)
    with np.load(tiny_images) as arrays:
        images = arrays["x"]
    found = find_calibration(bundle, images)
    assert found is not None and is_calibration(bundle, found)
    assert find_calibration(bundle, images[::-1]) is None
    assert find_calibration(bundle, images.astype(np.float32)) is None


def test_a_plan_for_more_images_than_there_are_says_how_many_are_used(
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tiny_images: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = ["verify", str(tiny_bundle), "--against", str(tiny_checkpoint), "--dry-run"]
    args += ["--data", str(tiny_images), "--set", "samples.pgd=50000", "--set", "samples.fgsm=24"]
    args += ["--set", "perturbations.pgd=[8]"]
    monkeypatch.setenv("COLUMNS", "80")
    assert run(args) == 0
    out, err = capsys.readouterr()
    assert re.search(r"samples\.pgd +24 \(of 50,000 asked for: all there are\)", out), out
    assert re.search(r"samples\.fgsm +24\n", out), out
    warning = " ".join(err.split())
    assert "warning: there are 24 images, fewer than samples.accuracy" in warning
    assert "samples.pgd" in warning and "more come with --data" in warning
    assert run([*args, "--limit", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    used = json.loads(out)["plan"]["images_used"]
    assert set(used.values()) == {1} and {"pgd", "accuracy", "lava_samples"} <= set(used)
    power = json.loads(out)["plan"]["power"]
    assert set(power) == {"accuracy", "worst_case", "gaussian", "pgd"}
    assert {row["images"] for row in power.values()} == {1}
    assert "there is 1 image, fewer than" in err and "the file holds 24" in err


@pytest.mark.parametrize("form", ["npz", "folder", "npy"])
def test_verify_takes_the_forms_of_data_that_run_takes(
    form: str,
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tiny_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with np.load(tiny_images) as arrays:
        for name in "xy":
            np.save(folder / f"{name}.npy", arrays[name])
    path = {"npz": tiny_images, "folder": folder, "npy": folder / "x.npy"}[form]
    args = ["verify", str(tiny_bundle), "--against", str(tiny_checkpoint), "--data", str(path)]
    code = run([*args, "--engine", "numpy", "-o", str(tmp_path / "run"), "-q"])
    said = "".join(capsys.readouterr())
    if form == "npy":  # pixels alone: read, but there is nothing to judge accuracy by
        assert code == 2
        assert "x.npy: found no labels for 24 images" in said and "x.npy and y.npy" in said
    else:
        assert code == 3, "the labels are random"
        assert (tmp_path / "run" / "report.json").is_file()


def test_black_images_are_called_black_and_not_only_repeated(
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    black = tmp_path / "black.npz"
    np.savez(black, x=np.zeros((24, 1, 8, 8), np.uint8), y=np.arange(24) % 10)
    told = "all 24 images are black (every pixel is 0)"
    # Such images do not fail a sound bundle whose calibration images are not known, either.
    args = [str(tiny_bundle), "--data", str(black), "--json"]
    assert run(["run", *args]) == 0
    out, err = capsys.readouterr()
    assert f"warning: {told}" in err
    assert any(w.startswith(told) for w in json.loads(out)["warnings"])
    against = ["--against", str(tiny_checkpoint), "--engine", "numpy", "-o", str(tmp_path / "run")]
    assert run(["verify", *args, *against]) == 3
    out, err = capsys.readouterr()
    assert told in err and "23 of the 24 images repeat" in err
    assert any(w.startswith(told) for w in json.loads(out)["provenance"]["warnings"])
    place = str(tmp_path / "b.spk")
    assert run(["convert", str(tiny_checkpoint), "--calibration", str(black), "-o", place]) == 0
    assert f"warning: {told}" in capsys.readouterr().err
