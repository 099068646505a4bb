"""Data sets read in slices: every form gives the same samples, nothing is taken on trust."""

from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spikeproof.errors import InputError
from spikeproof.io.data import load_data
from spikeproof.io.slices import open_samples

SHAPE = (1, 4, 5)
X = np.random.default_rng(0).integers(0, 256, (11, *SHAPE), dtype=np.uint8)
Y = np.arange(11)


def write(form: str, folder: Path, x: Any = X) -> Path:
    path = folder / f"data-{form}"
    if form == "folder":
        path.mkdir()
        np.save(path / "x.npy", x)
        np.save(path / "y.npy", Y)
        return path
    with path.open("wb") as file:
        if form == "npy":
            np.save(file, x)
        elif form == "fortran":
            np.savez(file, x=np.asfortranarray(x), y=Y)
        else:
            {"stored": np.savez, "compressed": np.savez_compressed}[form](file, y=Y, x=x)
    return path


@pytest.mark.parametrize("form", ["stored", "compressed", "fortran", "folder", "npy"])
def test_all_forms_give_the_same_samples(form: str, tmp_path: Path) -> None:
    samples = open_samples(write(form, tmp_path), SHAPE)
    assert len(samples) == 11
    np.testing.assert_array_equal(samples.read(3, 8), X[3:8])
    assert samples.read(3, 8).dtype == np.uint8 and type(samples.read(0, 1)) is np.ndarray
    if form == "npy":
        assert samples.labels is None
    else:
        np.testing.assert_array_equal(samples.labels, Y)  # type: ignore[arg-type]
    few = samples.first(4)
    assert len(few) == 4 and (few.labels is None or len(few.labels) == 4)


def test_floats_are_rounded_as_when_loaded_whole(tmp_path: Path) -> None:
    path = write("stored", tmp_path, np.random.default_rng(1).random((11, *SHAPE)))
    whole, _ = load_data(path, SHAPE)
    np.testing.assert_array_equal(open_samples(path, SHAPE).read(0, 11), whole)


def test_spikes(tmp_path: Path) -> None:
    path = write("stored", tmp_path, np.ones((11, 3, *SHAPE), bool))
    assert open_samples(path, SHAPE, steps=3).read(2, 4).shape == (2, 3, *SHAPE)
    with pytest.raises(InputError, match=r"expected \(N, 7, 1, 4, 5\)"):
        open_samples(path, SHAPE, steps=7)
    bad = write("compressed", tmp_path, np.full((11, 3, *SHAPE), 2))
    with pytest.raises(InputError, match="other than 0 and 1"):
        open_samples(bad, SHAPE, steps=3)


def test_the_hash_is_of_the_samples_and_not_of_their_file(tmp_path: Path) -> None:
    forms = {
        open_samples(write(f, tmp_path), SHAPE).content_hash()
        for f in ("stored", "compressed", "folder")
    }
    assert len(forms) == 1
    other = X.copy()
    other[10, 0, 3, 4] ^= 1
    assert open_samples(write("npy", tmp_path, other), SHAPE).content_hash() not in forms
    samples = open_samples(tmp_path / "data-stored", SHAPE)
    assert samples.first(10).content_hash() not in forms


def test_bad_values_late_in_the_file_are_found_when_read(tmp_path: Path) -> None:
    x = np.zeros((11, *SHAPE))
    x[9] = np.nan
    samples = open_samples(write("stored", tmp_path, x), SHAPE)
    samples.read(0, 9)
    with pytest.raises(InputError, match="NaN or infinite"):
        samples.read(8, 11)


def damage(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("form", ["stored", "compressed"])
def test_an_altered_member_is_refused(form: str, tmp_path: Path) -> None:
    path = write(form, tmp_path)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("x.npy")
    damage(path, entry.header_offset + 200)
    with pytest.raises(InputError, match="is not a usable"):
        open_samples(path, SHAPE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"PK\x03\x04 nonsense", "is not a usable"),
        (b"\x93NUMPY\x01\x00\xff\xff", "is not a usable"),
        (None, "cannot be read"),
    ],
)
def test_files_that_are_none(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "d"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_samples(path, SHAPE)


def test_a_compressed_set_is_unpacked_only_if_its_header_fits(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|u1", "fortran_order": False, "shape": (1 << 12, 1, 1, 1)}
        )
        for _ in range(64):
            member.write(bytes(1 << 20))
    with pytest.raises(InputError, match=r"has shape \(4096, 1, 1, 1\)"):
        open_samples(path, (1, 2, 2))
    with pytest.raises(InputError, match="unpacks to 67,108,"):
        open_samples(path, (1, 1, 1))


def test_a_set_for_which_there_is_no_room_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=np.zeros((9, 1, 2, 2), np.uint8))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(InputError, match="10 are free in") as caught:
        open_samples(path, (1, 2, 2))
    assert "TMPDIR" in str(caught.value.hint)


def test_labels_that_could_belong_to_no_such_set_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=np.zeros((2, 1, 2, 2), np.uint8), y=np.zeros(1 << 18, np.int64))
    with pytest.raises(InputError, match="expected 2 labels"):
        open_samples(path, (1, 2, 2))


def test_objects_and_promises_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="objects"):
        open_samples(tmp_path / "o.npy", SHAPE)
    raw = (write("npy", tmp_path)).read_bytes()
    (tmp_path / "short.npy").write_bytes(raw[:-1])
    with pytest.raises(InputError, match="is not a usable"):
        open_samples(tmp_path / "short.npy", SHAPE)
    with pytest.raises(InputError, match="has shape"):
        open_samples(write("stored", tmp_path, np.zeros((0, *SHAPE))), SHAPE)


def test_pipes_single_numbers_and_labels_that_would_wrap_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "pipes"
    folder.mkdir()
    os.mkfifo(folder / "x.npy")
    with pytest.raises(InputError, match="pipe or a device"):
        open_samples(folder, SHAPE)
    np.save(tmp_path / "one.npy", np.uint8(3))
    with pytest.raises(InputError, match="single number"):
        open_samples(tmp_path / "one.npy", SHAPE)
    np.savez(tmp_path / "y.npz", x=X, y=np.full(11, 2**64 - 1, np.uint64))
    with pytest.raises(InputError, match="labels >= 0"):
        open_samples(tmp_path / "y.npz", SHAPE)


def test_labels_too_large_to_be_any_are_told_by_their_header(tmp_path: Path) -> None:
    x = np.zeros((2000, 1, 2, 2), np.uint8)
    for y, hint in ((np.zeros((2000, 300)), "argmax"), (np.full(2000, "n" * 300), "names.index")):
        np.savez(tmp_path / "y.npz", x=x, y=y)
        with pytest.raises(InputError, match="y: has ") as caught:
            open_samples(tmp_path / "y.npz", (1, 2, 2))
        assert hint in str(caught.value.hint)


def test_a_value_out_of_range_is_counted_in_the_samples_that_were_read(tmp_path: Path) -> None:
    """Opening looks at the first image only, and says so."""
    x = np.zeros((4, 1, 2, 2))
    x[0] = -1
    np.savez(tmp_path / "first.npz", x=x)
    with pytest.raises(InputError, match="has 4 of 4 values of the first sample that are outside"):
        open_samples(tmp_path / "first.npz", (1, 2, 2))
    np.savez(tmp_path / "last.npz", x=x[::-1])
    samples = open_samples(tmp_path / "last.npz", (1, 2, 2))
    with pytest.raises(InputError, match="has 4 of 8 values of samples 3 to 4 that"):
        samples.read(2, 4)
    with pytest.raises(InputError, match="has 4 of 16 values that"):
        samples.read(0, 4)


def test_a_file_without_x_is_named_for_what_it_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{f"a{i}": np.zeros(1) for i in range(10)})
    with pytest.raises(
        InputError, match=r"holds 'a0', 'a1', .*'a7' and 2 more, expected"
    ) as caught:
        open_samples(tmp_path / "a.npz", (1, 2, 2))
    assert "x=images" in str(caught.value.hint)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_an_idx_file_is_named_and_the_way_to_go_works(
    folder: bool, packed: bool, tmp_path: Path
) -> None:
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    raw = b"\0\0\x08\x03" + np.array(images.shape, ">u4").tobytes() + images.tobytes()
    path = tmp_path / ("t-images-idx3-ubyte.gz" if packed else "t-images-idx3-ubyte")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(InputError, match="IDX file") as caught:
        open_samples(tmp_path if folder else path, (1, 3, 4))
    assert "x=read_idx(images)[:, None]" in str(caught.value.hint)
    assert "read_idx from spikeproof_models.datasets" in str(caught.value.hint)

    from spikeproof_models.datasets import read_idx

    np.savez(tmp_path / "d.npz", x=read_idx(path)[:, None])
    assert (open_samples(tmp_path / "d.npz", (1, 3, 4)).read(0, 2)[:, 0] == images).all()


def test_a_folder_without_arrays_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder without x\.npy"):
        open_samples(tmp_path, SHAPE)


@pytest.mark.parametrize(
    ("found", "expected", "way"),
    [
        ((5, 3, 4), (1, 3, 4), "x[:, None]"),
        ((5, 3, 4, 2), (2, 3, 4), "x.transpose(0, 3, 1, 2)"),
        ((5, 24), (2, 3, 4), "x.reshape(-1, 2, 3, 4)"),
        ((2, 3, 4), (2, 3, 4), "x[None]"),
        ((5, 7, 7, 7), (2, 3, 4), "samples, channels 2, height 3, width 4"),
        ((0, 24), (2, 3, 4), "no samples"),
    ],
)
def test_the_hint_for_another_shape_leads_to_the_right_one(
    found: tuple[int, ...], expected: tuple[int, ...], way: str, tmp_path: Path
) -> None:
    x = np.zeros(found, np.uint8)
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match="has shape") as caught:
        open_samples(tmp_path / "x.npy", expected)
    assert way in str(caught.value.hint)
    if not way.startswith("x"):
        return
    np.save(tmp_path / "x.npy", eval(way, {"x": x}))
    open_samples(tmp_path / "x.npy", expected)
