"""A file of another kind is called what it is, with the way to go, by convert and inspect."""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.io import container
from spikeproof.io.foreign import foreign_kind


def torch_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        archive.writestr("model/version", b"3\n")
    return buffer.getvalue()


def torch_module() -> bytes:
    """What ``torch.save(model)`` writes: a pickle that asks for the module's class."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02ctorch.nn.modules.container\nSequential\n.")
        archive.writestr("model/version", b"3\n")
    return buffer.getvalue()


def exported_program() -> bytes:
    """What ``torch.export.save`` writes: a graph as JSON among tensors and a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("archive_format", "models/model.json", "data/sample_inputs/model.pt"):
            archive.writestr(f"net/{name}", b"")
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3, np.uint8))
    return buffer.getvalue()


def onnx_model() -> bytes:
    helper = pytest.importorskip("onnx", reason="onnx is not installed").helper
    model = helper.make_model(helper.make_graph([], "g", [], []), producer_name="pytorch")
    data: bytes = model.SerializeToString()
    return data


def hdf5(key: str) -> bytes:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file[key] = 1
    return buffer.getvalue()


def foreign_safetensors() -> bytes:
    from safetensors.numpy import save

    return save({"weight": np.zeros((2, 2), np.float32)})


CASES = {
    "new torch": ("net.pth", torch_zip, "is a PyTorch file"),
    "torch module": ("net.pth", torch_module, "is a whole pickled PyTorch module"),
    "exported": ("net.bin", exported_program, "is a program written by torch.export"),
    "torch called otherwise": ("net.ckpt", torch_zip, "is a PyTorch file"),
    "pickle called torch": ("net.pt", lambda: pickle.dumps({"w": 1}, 2), "is a Python pickle"),
    "pickle": ("net.bin", lambda: pickle.dumps({"w": 1}, 4), "is a Python pickle"),
    "onnx": ("net.onnx", onnx_model, "is an ONNX model"),
    "onnx called otherwise": ("net.bin", onnx_model, "is an ONNX model"),
    "nir": ("net.nir", lambda: hdf5("node/nodes/a"), "is a NIR graph"),
    "nir called otherwise": ("net.h5", lambda: hdf5("node/nodes/a"), "is a NIR graph"),
    "npz": ("x.npz", npz, "is a NumPy file"),
    "safetensors": ("net.safetensors", foreign_safetensors, "is a safetensors file that spike"),
    "tflite": ("net.tflite", lambda: bytes(4) + b"TFL3" + bytes(40), "is a TensorFlow Lite model"),
    "gzip": ("net.spk", lambda: b"\x1f\x8b" + bytes(40), "is a gzip archive"),
    "picture": ("net.ckpt", lambda: b"\x89PNG\r\n\x1a\n" + bytes(40), "is a picture"),
    "text": ("net.txt", lambda: "weights: 1 ü\n".encode() * 500, "is a text file"),
    "json": ("net.json", lambda: b'{"a": 1}', "is a JSON file"),
    "program": ("net.py", lambda: b"import torch\n", "is a Python program"),
    "text called otherwise": ("net.ckpt", lambda: b"hello, this is no network\n", "is a text file"),
    "empty": ("net.txt", bytes, "is an empty file"),
    "report": (
        "r.json",
        lambda: b'{"schema":2,"checks":[],"verdict":"pass","provenance":{"spikeproof":"1"}}',
        "is a report of spikeproof",
    ),
    "journal": ("j.jsonl", lambda: b'{"format":"spikeproof journal"}\n', "is a journal of spike"),
    "suffix only": ("net.onnx", lambda: bytes(100), "is an ONNX model"),
    "unknown": ("net.spk", lambda: bytes(100), "is no spikeproof file, or a truncated one"),
}


@pytest.mark.parametrize("command", ["convert", "inspect"])
@pytest.mark.parametrize("name", CASES)
def test_a_foreign_file_is_named_for_what_it_is(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content, expected = CASES[name]
    path = tmp_path / file
    path.write_bytes(content())
    assert run([command, str(path)]) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert expected in text
    assert "layer" not in text, "no word of what it might lack if it were something else"
    assert "->" in text


RECIPE = b'name = "mine"\n[network]\narchitecture = "mlp"\n'


@pytest.mark.parametrize("given", [["convert"], ["run", "--self-test"], ["verify"]])
def test_a_recipe_is_to_be_trained_first(
    given: list[str], tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(RECIPE)
    more = ["--against", str(tiny_checkpoint)] if given == ["verify"] else []
    assert run([given[0], str(path), *given[1:], *more]) == 2
    error = capsys.readouterr().err
    assert "is a recipe" in error and f"spikeproof train {path}" in error
    path.write_text("seed = 3\n")
    assert run([given[0], str(path), *given[1:], *more]) == 2
    assert "is a TOML file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["text", "json", "program", "picture", "unknown", "report"])
def test_what_was_never_ours_need_not_be_copied_again(
    name: str, tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, content, _ = CASES[name]
    path = tmp_path / file
    path.write_bytes(content())
    for given in (["convert", str(path)], ["run", str(path), "--self-test"]):
        assert run(given) == 2
        assert "again" not in capsys.readouterr().err
    path.write_bytes(tiny_checkpoint.read_bytes()[:500])
    assert run(["convert", str(path)]) == 2
    error = capsys.readouterr().err
    assert "is a damaged or truncated spikeproof file" in error and "Copy or create it" in error


def test_a_bundle_needs_no_conversion_wherever_it_would_go(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tiny_bundle.parent)
    assert run(["convert", tiny_bundle.name]) == 2
    error = capsys.readouterr().err
    assert "is a bundle (already converted); convert takes a checkpoint" in error
    assert "overwritten" not in error
    assert f"spikeproof run {tiny_bundle.name} --self-test" in error


@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_an_empty_name_is_called_empty(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, ""]) == 2
    error = capsys.readouterr().err
    assert ": is empty" in error and "->" in error


def test_errors_of_inspect_say_what_to_do(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = bytearray(tiny_checkpoint.read_bytes())
    changed[-3] ^= 1
    (tmp_path / "changed.ckpt").write_bytes(changed)
    container.write(tmp_path / "x.state", "training-state", 1, {}, {})
    hints = {"changed.ckpt": "Copy or create it again", "x.state": "its checkpoint is NAME.ckpt"}
    with contextlib.suppress(ImportError):
        import h5py

        with h5py.File(tmp_path / "x.h5", "w") as file:
            file["a"] = 1
        hints["x.h5"] = "export it again"
    for name, hint in hints.items():
        assert run(["inspect", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert "\n  -> " in error and hint in error


@pytest.mark.parametrize("command", [["convert"], ["convert", "--timesteps", "20"], ["inspect"]])
def test_a_missing_file_is_missing_whatever_the_options(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, str(tmp_path / "missing.net")]) == 2
    error = capsys.readouterr().err
    assert "missing.net: cannot be read: No such file or directory" in error
    assert "--timesteps" not in error


def saved(kind: str, name: str, folder: Path, **options: object) -> Path:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    state = {"epoch": 3, "model": model.state_dict()}
    contents = {
        "state dict": model.state_dict(),
        "nested state dict": state,
        "parameters": dict(model.named_parameters()),
        "module": model,
        "arguments": state | {"args": argparse.Namespace(lr=0.1)},
        "numpy": state | {"best": np.float64(0.5)},
    }
    torch.save(contents[kind], folder / name, **options)
    return folder / name


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "net.ckpt", "net.bin"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("state dict", "a PyTorch file"),
        ("nested state dict", "a PyTorch file"),
        ("parameters", "a PyTorch file"),
        ("module", "a whole pickled PyTorch module"),
        ("arguments", "a PyTorch file that holds more than tensors (argparse.Namespace)"),
        ("numpy", "a PyTorch file that holds more than tensors (numpy"),
    ],
)
def test_what_torch_writes_is_told_apart_and_the_advice_works(
    kind: str, what: str, zipped: bool, name: str, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    path = saved(kind, name, tmp_path, _use_new_zipfile_serialization=zipped)
    found = foreign_kind(path.read_bytes(), path.name)
    assert found is not None and found[0].startswith(what)
    assert ("before PyTorch 1.6" in found[0]) is not zipped
    if what == "a PyTorch file":
        assert "Read them with torch.load(..., weights_only=True)" in found[1]
        assert torch.load(path, weights_only=True)
    else:
        assert "Where it was trained, write its tensors alone" in found[1]
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)


def test_a_module_pickled_by_a_later_protocol_is_told_apart(tmp_path: Path) -> None:
    path = saved("module", "net.pth", tmp_path, pickle_protocol=4)
    found = foreign_kind(path.read_bytes(), path.name)
    assert found is not None and found[0] == "a whole pickled PyTorch module"


def test_a_cut_old_torch_file_is_damaged(tmp_path: Path) -> None:
    path = saved("module", "net.pth", tmp_path, _use_new_zipfile_serialization=False)
    found = foreign_kind(path.read_bytes()[:200], path.name)
    assert found is not None and found[0].startswith("a damaged file")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("command", ["convert", "inspect"])
def test_nothing_in_a_torch_file_is_run(command: str, zipped: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.save(
        Trap(tmp_path / "sprung"), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped
    )
    assert run([command, str(tmp_path / "net.pth")]) == 2
    assert not (tmp_path / "sprung").exists()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_program_is_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model = torch.nn.Linear(2, 2)
    torch.jit.script(model).save(str(tmp_path / "net.pt"))
    found = foreign_kind((tmp_path / "net.pt").read_bytes(), "net.pt")
    assert found is not None and found[0] == "a TorchScript program"


def test_an_onnx_model_is_not_to_be_rebuilt_by_hand() -> None:
    found = foreign_kind(b"", "net.onnx")
    assert found is not None and "FloatNetwork" not in found[1]


def test_the_way_to_go_exists() -> None:
    from spikeproof.io.checkpoint import save_checkpoint
    from spikeproof.ir.floats import FloatNetwork

    found = foreign_kind(torch_zip(), "net.pth")
    assert found is not None
    for thing in (save_checkpoint, FloatNetwork):
        assert f"{thing.__module__}.{thing.__name__}" in found[1]
