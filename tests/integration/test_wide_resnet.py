"""The paper's wide ResNet, narrow: trained, converted, run on every engine, verified."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof import api
from spikeproof.cli.app import run
from spikeproof.engines.floats import run_float
from spikeproof.errors import MissingExtraError
from spikeproof.io.bundle import Bundle
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint

pytestmark = pytest.mark.slow

RECIPE = """
name = "wide"
[data]
held_out = 20
[network]
architecture = "wrn16"
width_divisor = 8
timesteps = 2
threshold = 0.5
[optimiser]
epochs = 1
batch_size = 8
learning_rate = 3e-2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on 200 easy images, whose class is the row that is bright, and convert."""
    pytest.importorskip("torch", reason="training needs torch")
    at = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 200)
    x = rng.integers(0, 60, (200, 28, 28)).astype(np.uint8)
    for image, label in zip(x, y, strict=True):
        image[2 * label + 3 : 2 * label + 5] = 255
    (at / "data").mkdir()
    for stem in ("train", "t10k"):
        for kind, array in (("images-idx3", x), ("labels-idx1", y.astype(np.uint8))):
            head = bytes([0, 0, 8, array.ndim])
            head += b"".join(n.to_bytes(4, "big") for n in array.shape)
            name = f"{stem}-{kind}-ubyte.gz"
            (at / "data" / name).write_bytes(gzip.compress(head + array.tobytes()))
    np.savez(at / "x.npz", x=x[:60, None], y=y[:60])
    (at / "wide.toml").write_text(RECIPE)
    train = ["train", at / "wide.toml", "-o", at, "--data-dir", at / "data", "-q"]
    assert run([*map(str, train)]) == 0
    given = [at / "wide.ckpt", "--calibration", at / "x.npz", "-o", at / "wide.spk", "-q"]
    assert run(["convert", *map(str, given)]) == 0
    return at


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    return load_checkpoint(folder / "wide.ckpt")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    found = api.load(folder / "wide.spk")
    assert isinstance(found, Bundle)
    return found


def images(folder: Path, count: int) -> tuple[Any, Any]:
    with np.load(folder / "x.npz") as held:
        return held["x"][:count], held["y"][:count]


def test_training_moves_the_coefficients_and_conversion_keeps_the_answers(
    folder: Path, checkpoint: Checkpoint, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = [e.coefficient for e in checkpoint.network.edges if e.coefficient != 1]
    assert len(mixed) == 12 and len(set(mixed)) > 6 and all(0.2 < c < 0.8 for c in mixed)
    x, y = images(folder, 60)
    trained = run_float(checkpoint.network, x, trace=True)
    assert (trained.predictions == y).mean() > 0.3, "one epoch is enough for rows"
    rates = {n: t.s.mean() for n, t in trained.traces.items() if t.s is not None}
    assert len(rates) == 13 and all(0.01 < rate < 0.9 for rate in rates.values())
    chip = api.run(bundle, (x, y), engine="numpy")
    assert (chip.predictions == trained.predictions).mean() > 0.9
    sources = {layer.name: [c.source for c in layer.inputs] for layer in bundle.network.layers}
    assert sources["l3"] == ["l1", "l2"] and sources["l5"] == ["l1", "l2", "l4"]
    assert run(["inspect", str(folder / "wide.ckpt")]) == 0
    assert " shortcut1 + " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("engine", "count"),
    [
        ("numpy", 3),
        ("fast", 3),
        ("torch", 3),
        ("onnx", 3),
        pytest.param("lava", 1, marks=pytest.mark.lava),
    ],
)
def test_engines_give_the_references_integers(
    engine: str, count: int, folder: Path, bundle: Bundle
) -> None:
    data = images(folder, count)
    expected = api.run(bundle, data, engine="reference", trace=True)
    try:
        found = api.run(bundle, data, engine=engine, trace=True)
    except MissingExtraError as missing:
        pytest.skip(str(missing))
    np.testing.assert_array_equal(found.logits, expected.logits)
    for name, trace in (expected.traces or {}).items():
        for key in ("u", "v", "s"):
            value = getattr((found.traces or {})[name], key)
            np.testing.assert_array_equal(value, getattr(trace, key), f"{name}.{key}")


def test_it_is_verified(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = [w for k in ("pgd", "fgsm") for w in ("--set", f"perturbations.{k}=[]")]
    given = [folder / "wide.spk", "--against", folder / "wide.ckpt", "--data", folder / "x.npz"]
    given += ["--calibration", folder / "x.npz", "--engine", "fast", "--limit", 12, *few]
    capsys.readouterr()
    code = run(["verify", *map(str, given), "-o", str(folder / "run"), "--json", "-q"])
    assert code in (0, 1, 3)
    checks = {c["id"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    assert {k: checks[k]["verdict"] for k in ("V9", "V13", "V15", "V16")} == {
        "V9": "pass",
        "V13": "pass",
        "V15": "pass",
        "V16": "pass",
    }
    assert "fail" not in {checks[k]["verdict"] for k in ("V1", "V2")}


def test_a_net_file_refuses_it_and_names_what_holds_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    target = folder / "wide.net"
    assert run(["export", str(folder / "wide.spk"), "--format", "net", "-o", str(target)]) == 2
    told = capsys.readouterr().err
    assert "l3: it reads l1, l2" in told and "Export to onnx" in told and "--profile" not in told
    assert not target.exists()
    assert run(["export", str(folder / "wide.spk"), "-o", str(folder / "wide.onnx"), "-q"]) == 0
