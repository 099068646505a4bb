"""Damaged and hostile files through the command line: exit code 2, the reason, and no artefact."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.bundles import write_bundle
from spikeproof.cli.app import run
from spikeproof.engines.self_test import make_bundle
from spikeproof.errors import RangeError
from spikeproof.io import checkpoint as checkpoint_io
from spikeproof.io import container
from spikeproof.io.bundle import load_bundle, save_bundle
from spikeproof.io.checkpoint import load_checkpoint, save_checkpoint
from spikeproof.ir.chip import ChipLayer, ChipNetwork, Connection, DenseSynapse, LifNeuron
from spikeproof.ir.floats import AvgPool2d, FloatNetwork, Lif
from spikeproof.ir.serial import network_to_parts

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Run a command that must fail with code 2, leave no new file, and return its message."""

    def check(*args: object, code: int = 2) -> str:
        capsys.readouterr()
        before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
        assert run(list(map(str, args))) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ") or "\nerror: " in err
        assert "Traceback" not in err
        assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
        return err

    return check


def write_unchecked(path: Path, network: FloatNetwork) -> Path:
    """Write a checkpoint as a faulty program might: sealed properly, nothing checked."""
    document, tensors = network_to_parts(network)
    sealed = {"network": document, "training": {}}
    container.write(path, checkpoint_io.KIND, checkpoint_io.SCHEMA, sealed, tensors)
    return path


def with_node(network: FloatNetwork, name: str, **changes: Any) -> FloatNetwork:
    """Return the network with some fields of one node replaced."""
    nodes = tuple(dataclasses.replace(n, **changes) if n.name == name else n for n in network.nodes)
    return dataclasses.replace(network, nodes=nodes)


# --- checkpoints -------------------------------------------------------------------------------


def test_missing_empty_and_truncated_checkpoints(
    tiny_checkpoint: Path, tiny_images: Path, refused: Refused, tmp_path: Path
) -> None:
    assert "cannot be read" in refused("convert", tmp_path / "none.ckpt", "-o", tmp_path / "o.spk")
    data = tiny_checkpoint.read_bytes()
    for length in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        tiny_checkpoint.write_bytes(data[:length])
        message = refused(
            "convert", tiny_checkpoint, "--calibration", tiny_images, "-o", tmp_path / "o.spk"
        )
        assert "tiny.ckpt" in message


def test_a_folder_is_not_a_checkpoint(refused: Refused, tmp_path: Path) -> None:
    assert "cannot be read" in refused("convert", tmp_path, "-o", tmp_path / "o.spk")


@pytest.mark.parametrize("command", ["inspect", "run"])
def test_a_sample_of_single_changed_bytes_is_refused(
    command: str, tiny_bundle: Path, refused: Refused
) -> None:
    data = tiny_bundle.read_bytes()
    extra = [] if command == "inspect" else ["--self-test"]
    for position in np.random.default_rng(3).choice(len(data), 60, replace=False):
        changed = bytearray(data)
        changed[position] ^= 1 << (int(position) % 8)
        tiny_bundle.write_bytes(bytes(changed))
        assert "tiny.spk" in refused(command, tiny_bundle, *extra)


def test_wrong_tensor_shapes_are_named_with_their_layer(
    tiny_network: FloatNetwork, refused: Refused, tmp_path: Path
) -> None:
    bad = with_node(tiny_network, "f2", weight=np.zeros((12, 63), np.float32))
    bad = with_node(bad, "b1", gamma=np.ones(5, np.float32))
    message = refused("inspect", write_unchecked(tmp_path / "bad.ckpt", bad))
    assert "f2" in message
    assert "b1" in message
    assert "63" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(
    value: float, tiny_network: FloatNetwork, refused: Refused, tmp_path: Path
) -> None:
    weight = tiny_network.nodes[4].weight.copy()  # type: ignore[union-attr]
    weight[3, 5] = value
    path = write_unchecked(tmp_path / "bad.ckpt", with_node(tiny_network, "f2", weight=weight))
    message = refused("convert", path, "-o", tmp_path / "o.spk")
    assert "f2" in message
    assert "NaN or infinite" in message


def test_every_layer_that_cannot_be_mapped_is_listed_with_reason_and_way_out(
    tiny_network: FloatNetwork, tiny_images: Path, refused: Refused, tmp_path: Path
) -> None:
    bad = with_node(tiny_network, "l1", gain=np.array([1, 0.5, -0.1, 1], np.float32))
    bad = with_node(bad, "l2", gain=np.array([1, 0, 0.5, 1], np.float32))
    path = write_unchecked(tmp_path / "bad.ckpt", bad)
    message = refused("convert", path, "--calibration", tiny_images, "-o", tmp_path / "o.spk")
    assert "l1" in message
    assert "l2" in message
    assert "gain" in message


def test_pooling_after_spikes_is_folded_into_the_weights_behind_it(
    tiny_network: FloatNetwork, tiny_images: Path, tmp_path: Path
) -> None:
    nodes = (*tiny_network.nodes[:3], AvgPool2d("pool", (3, 3), (3, 3)), *tiny_network.nodes[3:])
    small = dataclasses.replace(tiny_network, nodes=nodes)
    small = with_node(small, "f2", weight=np.full((12, 4), 0.3, np.float32))
    path = write_unchecked(tmp_path / "pool.ckpt", small)
    code = run(
        ["convert", str(path), "--calibration", str(tiny_images), "-o", str(tmp_path / "o.spk")]
    )
    assert code == 0
    layers = load_bundle(tmp_path / "o.spk").network.layers
    assert [layer.name for layer in layers] == ["l1", "l2", "out"]
    assert layers[0].shape == (4, 4, 4) and isinstance(layers[1].synapse, DenseSynapse)
    weight = layers[1].synapse.weight.reshape(12, 4, 4, 4)
    assert (weight[:, :, :3, :3] > 0).all(), "each window is its mean, times a weight above 0"
    assert not weight[:, :, 3].any() and not weight[:, :, :, 3].any(), "no window reaches there"


def test_a_network_that_would_leave_24_bits_is_refused(
    tiny_network: FloatNetwork, tiny_images: Path, refused: Refused, tmp_path: Path
) -> None:
    path = write_unchecked(tmp_path / "t.ckpt", tiny_network)
    message = refused(
        "convert",
        path,
        "--calibration",
        tiny_images,
        "--scale",
        "l2=100000000",
        "-o",
        tmp_path / "o.spk",
    )
    assert "l2" in message


def test_a_threshold_or_leak_out_of_range_is_refused(
    tiny_network: FloatNetwork, refused: Refused, tmp_path: Path
) -> None:
    for changes in ({"leak": 1.5}, {"leak": -0.1}, {"threshold": -1.0}):
        path = write_unchecked(tmp_path / "bad.ckpt", with_node(tiny_network, "l1", **changes))
        assert "l1" in refused("inspect", path)


def test_a_network_without_readout_is_refused(
    tiny_network: FloatNetwork, refused: Refused, tmp_path: Path
) -> None:
    bad = dataclasses.replace(tiny_network, nodes=(*tiny_network.nodes[:-1], Lif("l3", 0.9, 1.0)))
    assert "Readout" in refused("inspect", write_unchecked(tmp_path / "bad.ckpt", bad))


# --- bundles -----------------------------------------------------------------------------------


def test_a_bundle_of_another_schema_says_which_release_reads_it(
    tiny_bundle: Path, refused: Refused
) -> None:
    document, tensors = container.read(tiny_bundle, "bundle", 1)
    tiny_bundle.write_bytes(container.pack("bundle", 2, document, tensors))
    message = refused("run", tiny_bundle, "--self-test")
    assert "schema version 2" in message
    assert "version 1" in message


def test_checkpoint_and_bundle_are_not_mixed_up(
    tiny_checkpoint: Path, tiny_bundle: Path, tiny_images: Path, refused: Refused, tmp_path: Path
) -> None:
    assert "'checkpoint'" in refused("run", tiny_checkpoint, "--data", tiny_images)
    assert "is a bundle (already converted)" in refused(
        "convert", tiny_bundle, "-o", tmp_path / "o.spk"
    )


def test_a_resealed_bundle_with_illegal_integers_is_refused(
    tiny_bundle: Path, refused: Refused
) -> None:
    document, tensors = container.read(tiny_bundle, "bundle", 1)
    name = next(n for n in sorted(tensors) if "weight" in n and "l2" in n)
    tensors[name] = tensors[name] + 10_000
    tiny_bundle.write_bytes(container.pack("bundle", 1, document, tensors))
    message = refused("run", tiny_bundle, "--self-test")
    assert "l2" in message
    assert "256" in message


def overflowing_network() -> ChipNetwork:
    """A legal network whose membrane leaves 24 bits for a bright image, and only then."""
    synapse = DenseSynapse(np.full((2, 64), 60, np.int16))
    neuron = LifNeuron(131_071, 0, np.zeros(1, np.int32))
    return ChipNetwork(
        "bright", (1, 8, 8), 4, (ChipLayer("l1", (Connection(synapse),), neuron, (2,)),)
    )


@pytest.mark.parametrize("command", ["run", "self-test", "verify"])
def test_a_bundle_that_could_overflow_is_not_run(
    command: str, tiny_checkpoint: Path, tiny_images: Path, refused: Refused, tmp_path: Path
) -> None:
    path = tmp_path / "bright.spk"
    dark = np.zeros((1, 1, 8, 8), np.uint8)
    save_bundle(path, make_bundle(overflowing_network(), {}, dark))
    args = {
        "run": ["run", path, "--data", tiny_images],
        "self-test": ["run", path, "--self-test"],
        "verify": ["verify", path, "--against", tiny_checkpoint, "-o", tmp_path / "out"],
    }[command]
    message = refused(*args)
    assert "l1: v could reach" in message
    assert "scale" in message


def test_a_bundle_that_could_overflow_is_not_written(tmp_path: Path) -> None:
    bundle = make_bundle(overflowing_network(), {}, np.zeros((1, 1, 8, 8), np.uint8))
    with pytest.raises(RangeError, match="l1"):
        write_bundle(tmp_path / "new" / "bright.spk", bundle)
    assert not list(tmp_path.iterdir())


def test_a_self_test_without_the_hidden_layers_is_refused(
    tiny_bundle: Path, refused: Refused
) -> None:
    document, tensors = container.read(tiny_bundle, "bundle", 1)
    kept = {k: a for k, a in tensors.items() if not k.startswith("expected/l")}
    tiny_bundle.write_bytes(container.pack("bundle", 1, document, kept))
    message = refused("run", tiny_bundle, "--self-test")
    assert "expected l1/s: found nothing" in message
    assert "expected l2/s: found nothing" in message


@pytest.mark.parametrize("number", ["NaN", "1e999", "[" * 700 + "]" * 700])
def test_a_description_that_json_cannot_hold_is_refused(
    number: str, refused: Refused, tmp_path: Path
) -> None:
    text = '{"kind":"bundle","schema":1,"document":{"a":' + number + '},"tensors":{},"hash":"x"}'
    header = json.dumps({"__metadata__": {"spikeproof": text}}).encode()
    path = tmp_path / "odd.spk"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    for args in (["inspect", path], ["run", path, "--self-test"]):
        assert "odd.spk" in refused(*args)


def test_a_pipe_is_refused_at_once(tiny_bundle: Path, refused: Refused, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert "pipe" in refused("run", tiny_bundle, "--data", tmp_path / "pipe.npz")
    assert "device" in refused("inspect", "/dev/zero")


# --- data files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"y": np.zeros(3, int)}, "'x'"),
        ({"x": np.zeros((3, 1, 8, 9), np.uint8)}, "shape"),
        ({"x": np.zeros((1, 8, 8), np.uint8)}, "shape"),
        ({"x": np.zeros((0, 1, 8, 8), np.uint8)}, "shape"),
        ({"x": np.zeros((3, 1, 8, 8), np.int64)}, "int64"),
        ({"x": np.full((3, 1, 8, 8), 255.0)}, "0..1"),
        ({"x": np.full((3, 1, 8, 8), np.nan)}, "NaN"),
        ({"x": np.full((3, 1, 8, 8), "a")}, "type"),
        ({"x": np.zeros((3, 1, 8, 8), np.uint8), "y": np.zeros(2, int)}, "labels"),
        ({"x": np.zeros((3, 1, 8, 8), np.uint8), "y": np.zeros(3)}, "labels"),
    ],
)
def test_wrong_data_files(
    arrays: dict[str, Any], words: str, tiny_bundle: Path, refused: Refused, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    message = refused("run", tiny_bundle, "--data", path, "--trace", tmp_path / "t.npz")
    assert "wrong.npz" in message
    assert words in message


class Bomb:
    """An object whose unpickling leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickled_array_is_never_executed(
    tiny_bundle: Path, refused: Refused, tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    x = np.empty((1, 1, 8, 8), object)
    x[...] = Bomb(mark)
    np.savez(tmp_path / "bomb.npz", x=x)
    assert "objects" in refused("run", tiny_bundle, "--data", tmp_path / "bomb.npz")
    assert not mark.exists()


def npy(shape: tuple[int, ...], body: bytes) -> bytes:
    """Return an npy file whose header promises ``shape`` bytes, whatever the body holds."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


@pytest.mark.parametrize("samples", [10**7, 10**13, 10**18])
def test_a_header_that_promises_more_than_the_file_holds_costs_no_memory(
    samples: int, tiny_bundle: Path, refused: Refused, tmp_path: Path
) -> None:
    path = tmp_path / "liar.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy((samples, 1, 8, 8), b"\0" * 64))
    assert "liar.npz" in refused("run", tiny_bundle, "--data", path)


@pytest.mark.parametrize("name", ["x", "x.npy"])
def test_an_archive_of_something_else_is_refused(
    name: str, tiny_bundle: Path, refused: Refused, tmp_path: Path
) -> None:
    path = tmp_path / "other.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"hello")
    assert "not a usable" in refused("run", tiny_bundle, "--data", path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nonsense", b"\x93NUMPY" + b"\0" * 100])
def test_files_that_are_not_archives(
    content: bytes, tiny_bundle: Path, refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "odd.npz").write_bytes(content)
    assert "odd.npz" in refused("run", tiny_bundle, "--data", tmp_path / "odd.npz")


def test_nothing_a_refusal_leaves_behind_harms_the_good_files(
    tiny_checkpoint: Path, tiny_bundle: Path
) -> None:
    assert load_checkpoint(tiny_checkpoint).network.name == "tiny"
    assert load_bundle(tiny_bundle).network.name == "tiny"
    save_checkpoint(tiny_checkpoint, load_checkpoint(tiny_checkpoint))
