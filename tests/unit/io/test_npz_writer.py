"""A large npz written in pieces is the npz that would have been written at once."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.errors import InputError
from spikeproof.io.npz_writer import NpzWriter

ARRAYS: dict[str, Any] = {
    "a/v": np.arange(60, dtype=np.int32).reshape(10, 2, 3),
    "a/s": (np.arange(10) % 2).astype(np.uint8),
}
MEMBERS = {name: (array.dtype, array.shape) for name, array in ARRAYS.items()}


def write(target: Path, starts: list[int], step: int) -> None:
    writer = NpzWriter(target.with_suffix(".parts"), MEMBERS, target)
    for start in starts:
        writer.write(start, {n: a[start : start + step] for n, a in ARRAYS.items()})
        found = writer.read(start, min(start + step, 10))
        np.testing.assert_array_equal(found["a/v"], ARRAYS["a/v"][start : start + step])
    writer.assemble()


def test_pieces_in_any_order_and_size_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one.npz", [0], 10)
    write(tmp_path / "many.npz", [8, 0, 4, 6, 2], 2)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "many.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["many.npz", "one.npz"]
    with np.load(tmp_path / "many.npz") as found:
        assert sorted(found.files) == sorted(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_a_missing_piece_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 320 of 368 bytes"):
        write(tmp_path / "a.npz", [0, 2, 4, 6], 2)
    assert not (tmp_path / "a.npz").exists()


@pytest.mark.parametrize(
    "arrays",
    [
        {"a/v": ARRAYS["a/v"]},
        {**ARRAYS, "a/v": ARRAYS["a/v"].astype(np.int64)},
        {**ARRAYS, "a/v": ARRAYS["a/v"][:, :1]},
        {n: np.concatenate([a, a]) for n, a in ARRAYS.items()},
    ],
    ids=["name", "type", "shape", "length"],
)
def test_other_arrays_than_announced_are_refused(arrays: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found"):
        NpzWriter(tmp_path / "p", MEMBERS, tmp_path / "a.npz").write(0, arrays)


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.npz"
    target.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write(target, [0], 10)
    assert target.read_bytes() == b"old"


def test_what_a_longer_run_left_behind_does_not_stop_a_shorter_one(tmp_path: Path) -> None:
    folder = tmp_path / "left"
    longer = {name: (d, (40, *shape[1:])) for name, (d, shape) in MEMBERS.items()}
    NpzWriter(folder, longer, tmp_path / "a.npz").write(
        30, {n: np.concatenate([a]) for n, a in ARRAYS.items()}
    )
    writer = NpzWriter(folder, MEMBERS, tmp_path / "a.npz")
    writer.write(0, ARRAYS)
    writer.assemble()
    with np.load(tmp_path / "a.npz") as found:
        np.testing.assert_array_equal(found["a/v"], ARRAYS["a/v"])


def test_links_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "0.npy").symlink_to(victim)
    with pytest.raises(InputError, match=r"a\.npz: cannot be written: Too many levels"):
        NpzWriter(tmp_path / "parts", MEMBERS, tmp_path / "a.npz")
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("folder", [".a.npz.part", "results/trace"])
def test_a_full_disk_names_the_file_that_was_asked_for(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder where arrays wait is named if the user gave it, and not one of our own."""
    target = tmp_path / "a.npz"
    writer = NpzWriter(tmp_path / folder, MEMBERS, target)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError) as found:
        writer.write(0, ARRAYS)
    told = str(found.value)
    assert told.startswith(f"{target}: ")
    assert "No space left on device" in told
    assert (folder in told) == (folder == "results/trace")
