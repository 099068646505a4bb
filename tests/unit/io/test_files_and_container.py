"""Files are whole or absent; containers notice every changed byte."""

import errno
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from residual import residual

from spikeproof.errors import BundleError, InputError
from spikeproof.io import container, files
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spikeproof.io.files import (
    TEMPORARY,
    canonical_json,
    held,
    is_left_behind,
    open_locked,
    read_bytes,
    temporary_beside,
    temporary_folder,
    temporary_name,
    write_atomic,
)

TENSORS = {"b": np.arange(6, dtype=np.int16).reshape(2, 3), "a": np.ones(3, np.float32)}
DOCUMENT = {"z": 1, "a": [1, 2.5, "x"]}


def packed() -> bytes:
    return container.pack("thing", 1, DOCUMENT, TENSORS)


def test_bytes_do_not_depend_on_insertion_order() -> None:
    reordered = dict(reversed(TENSORS.items()))
    assert container.pack("thing", 1, dict(reversed(DOCUMENT.items())), reordered) == packed()


def test_round_trip() -> None:
    document, tensors = container.unpack(packed(), "thing", 1, "f")
    assert document == DOCUMENT
    assert {k: (v.dtype, v.tolist()) for k, v in tensors.items()} == {
        k: (v.dtype, v.tolist()) for k, v in TENSORS.items()
    }


def test_every_changed_byte_is_noticed() -> None:
    data = packed()
    for i in range(len(data)):
        changed = bytearray(data)
        changed[i] ^= 1 << random.Random(i).randrange(8)
        with pytest.raises(BundleError):
            container.unpack(bytes(changed), "thing", 1, "f")


def test_every_truncation_and_extension_is_noticed() -> None:
    data = packed()
    for size in range(len(data)):
        with pytest.raises(BundleError):
            container.unpack(data[:size], "thing", 1, "f")
    with pytest.raises(BundleError):
        container.unpack(data + b"\0", "thing", 1, "f")


def test_changed_tensor_is_named() -> None:
    data = bytearray(packed())
    data[-1] ^= 1  # tensors are stored last, "b" (int16) after "a" (float32)
    with pytest.raises(BundleError, match="tensor b"):
        container.unpack(bytes(data), "thing", 1, "f")


def test_other_schema_and_other_kind_say_so() -> None:
    with pytest.raises(BundleError, match="schema version 2"):
        container.unpack(container.pack("thing", 2, {}, TENSORS), "thing", 1, "f")
    with pytest.raises(BundleError, match="'thing' file, expected a 'bundle'"):
        container.unpack(packed(), "bundle", 1, "f")


def test_deeply_nested_header_is_refused() -> None:
    header = b'{"__metadata__":' + b"[" * 100_000
    data = len(header).to_bytes(8, "little") + header
    with pytest.raises(BundleError, match="no spikeproof file"):
        container.unpack(data, "thing", 1, "f")


def test_not_finite_numbers_cannot_be_written() -> None:
    with pytest.raises(ValueError):
        canonical_json({"x": float("nan")})


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.spk"
    write_atomic(target, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_atomic(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.spk"]


def test_two_writers_of_one_file_never_share_a_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "a.onnx"
    with temporary_beside(target) as first, temporary_beside(target) as second:
        assert first != second and first.parent == tmp_path
        write_atomic(first, "1")
        write_atomic(second, "2")
        first.replace(target)
    assert target.read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


def test_a_temporary_file_says_whether_its_process_is_gone(tmp_path: Path) -> None:
    program = "from spikeproof.io.files import temporary_name; print(temporary_name('.x'), end='')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    ours = temporary_name(".x")
    assert is_left_behind(tmp_path / done.stdout)
    assert not is_left_behind(tmp_path / ours)
    pid = f"-{os.getpid()}-"
    assert pid in ours
    again = re.sub(f"{pid}\\d+", f"{pid}1", ours)  # an earlier process with our number
    assert is_left_behind(tmp_path / again)
    elsewhere = re.sub(r"\.[0-9a-f]{8}-", ".00000000-", done.stdout)
    assert not is_left_behind(tmp_path / elsewhere)
    for name in (
        "x.npz",
        f".x{TEMPORARY}",
        done.stdout + ".txt",
        re.sub(r"-\d+-", f"-{10**30}-", done.stdout),
    ):
        assert not is_left_behind(tmp_path / name)


@pytest.mark.parametrize("stem", ["x" * 255, "ü" * 120, "\udcff" * 80])
def test_a_name_of_any_length_can_be_written(stem: str, tmp_path: Path) -> None:
    write_atomic(tmp_path / stem, "data")
    assert (tmp_path / stem).read_text() == "data"


def test_files_get_the_rights_this_user_gives_to_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_temporary_folder_is_private_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), temporary_folder("test") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700 and folder.name.startswith("spikeproof-test")
        (folder / "inner").mkdir()
        (folder / "inner" / "file").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        write_atomic(tmp_path / "no" / "a", "x")
    with pytest.raises(InputError, match="cannot be read"):
        read_bytes(tmp_path / "absent")
    with pytest.raises(InputError, match="limit"):
        write_atomic(tmp_path / "big", "12345")
        read_bytes(tmp_path / "big", limit=4)


def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for endless in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="a pipe or a device"):
            read_bytes(endless)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"abc")
    assert read_bytes(tmp_path / "link", limit=3) == b"abc"


def with_header(data: bytes, header: str) -> bytes:
    """Replace the header of a container, padded to 8 bytes as safetensors demands."""
    raw = header.encode()
    raw += b" " * (-len(raw) % 8)
    start = 8 + int.from_bytes(data[:8], "little")
    return len(raw).to_bytes(8, "little") + raw + data[start:]


def header_of(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def spaced(data: bytes) -> bytes:
    return with_header(data, json.dumps(header_of(data), indent=1))


def reordered(data: bytes) -> bytes:
    return with_header(data, json.dumps(dict(reversed(header_of(data).items()))))


def spaced_description(data: bytes) -> bytes:
    header = header_of(data)
    sealed = json.loads(header["__metadata__"]["spikeproof"])
    return with_header(
        data,
        json.dumps(
            {**header, "__metadata__": {"spikeproof": json.dumps(sealed)}}, separators=(",", ":")
        ),
    )


def second_description(data: bytes) -> bytes:
    header = header_of(data)
    header["__metadata__"]["extra"] = "x"
    return with_header(data, json.dumps(header, separators=(",", ":")))


@pytest.mark.parametrize("change", [spaced, reordered, spaced_description, second_description])
def test_same_content_in_other_bytes_is_noticed(change: Callable[[bytes], bytes]) -> None:
    changed = change(packed())
    assert changed != packed()
    with pytest.raises(BundleError, match="its bytes are not canonical"):
        container.unpack(changed, "thing", 1, "f")


DEEP = "[" * 700 + "]" * 700


@pytest.mark.parametrize(
    "sealed",
    [
        '{"kind":"thing","schema":1,"document":{"a":NaN},"tensors":{},"hash":"x"}',
        '{"kind":"thing","schema":1,"document":{"a":-Infinity},"tensors":{},"hash":"x"}',
        '{"kind":"thing","schema":1,"document":{"a":1e999},"tensors":{},"hash":"x"}',
        '{"kind":"thing","schema":1,"document":[],"tensors":{},"hash":"x"}',
        '{"kind":"thing","schema":1,"document":{},"tensors":5,"hash":[]}',
        '{"kind":[],"schema":{},"document":{},"tensors":{},"hash":"x"}',
        '{"kind":"thing","schema":1,"document":{"a":1' + "0" * 5000 + '},"tensors":{},"hash":"x"}',
        '{"kind":"thing","schema":1,"document":{"a":' + DEEP + '},"tensors":{},"hash":"x"}',
        '["kind"]',
        "5",
    ],
)
def test_hostile_descriptions_are_refused(sealed: str) -> None:
    data = with_header(packed(), json.dumps({"__metadata__": {"spikeproof": sealed}}))
    whole = data[: 8 + int.from_bytes(data[:8], "little")]  # no tensors follow
    with pytest.raises(BundleError):
        container.unpack(whole, "thing", 1, "f")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]},
        {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        "text",
    ],
)
def test_hostile_tensor_entries_are_refused(entry: object) -> None:
    sealed = container.pack("thing", 1, {}, {})
    header = json.dumps({**header_of(sealed), "a": entry})
    with pytest.raises(BundleError):
        container.unpack(with_header(sealed, header) + bytes(4), "thing", 1, "f")


def test_machines_of_one_name_are_told_apart_by_their_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from spikeproof.io import files

    here = files._machine.__wrapped__()
    assert here == files._machine.__wrapped__()
    monkeypatch.setattr(files.Path, "read_text", lambda self, encoding: "another start\n")
    assert files._machine.__wrapped__() != here


def test_a_held_file_is_refused_to_others_and_leaves_no_lock(tmp_path: Path) -> None:
    path, lock = tmp_path / "a.state", tmp_path / ".a.state.lock"
    lock.write_text("left by a killed process")  # locks nothing
    with held(path):
        assert lock.exists()
        with pytest.raises(InputError, match=r"a\.state: is in use by another process"), held(path):
            pass
        with held(tmp_path / "b.state"):
            pass
    assert list(tmp_path.iterdir()) == []
    with held(path):
        pass


def test_a_lock_that_was_removed_before_it_was_had_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had it removed it between our opening and our locking."""
    path, lock, opened = tmp_path / "a.state", tmp_path / ".a.state.lock", []

    def late(name: Path, shown: Path | None = None) -> int:
        opened.append(open_locked(name, shown))
        if len(opened) == 1:
            lock.unlink()
        return opened[-1]

    monkeypatch.setattr(files, "open_locked", late)
    with held(path):
        assert len(opened) == 2 and lock.exists()


def test_a_network_is_saved_with_the_record_of_its_training_or_without(tmp_path: Path) -> None:
    """The hint for foreign files names a network; that was an AttributeError."""
    save_checkpoint(tmp_path / "alone.ckpt", residual())
    save_checkpoint(str(tmp_path / "held.ckpt"), Checkpoint(residual()))
    assert (tmp_path / "alone.ckpt").read_bytes() == (tmp_path / "held.ckpt").read_bytes()
    assert load_checkpoint(tmp_path / "alone.ckpt").network.name == residual().name
