"""Data files: right forms are read exactly, wrong ones are refused by name."""

import io
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikeproof.errors import InputError
from spikeproof.io.data import load_data, save_arrays

SHAPE = (1, 4, 4)


def test_uint8_and_floats_agree_on_the_grid(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, *SHAPE)).astype(np.uint8)
    save_arrays(tmp_path / "a.npz", {"x": x, "y": np.arange(5)})
    np.savez(tmp_path / "b.npz", x=x.astype(np.float32) / 255)
    a, labels = load_data(tmp_path / "a.npz", SHAPE)
    b, none = load_data(tmp_path / "b.npz", SHAPE)
    np.testing.assert_array_equal(a, b)
    assert labels is not None and labels.tolist() == [0, 1, 2, 3, 4] and none is None


def test_same_arrays_same_bytes(tmp_path: Path) -> None:
    arrays = {"x": np.zeros((2, *SHAPE), np.uint8), "y": np.arange(2)}
    save_arrays(tmp_path / "a.npz", arrays)
    save_arrays(tmp_path / "b.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((1, *SHAPE), np.uint8)}, "holds 'images', expected an array 'x'"),
        ({"x": np.zeros((1, 1, 3, 4), np.uint8)}, "shape"),
        ({"x": np.zeros((0, *SHAPE), np.uint8)}, "shape"),
        ({"x": np.zeros((1, *SHAPE), np.int32)}, "int32"),
        ({"x": np.full((1, *SHAPE), 1.5)}, "16 of 16 values"),
        ({"x": np.full((1, *SHAPE), np.nan)}, "has 16 of 16 values that are NaN or infinite\n"),
        ({"x": np.zeros((2, *SHAPE), np.uint8), "y": np.zeros(3, int)}, "2 labels"),
        ({"x": np.zeros((1, *SHAPE), np.uint8), "y": np.array([-1])}, "labels"),
        ({"x": np.array([{"a": 1}], dtype=object)}, "objects are refused"),
    ],
)
def test_wrong_forms_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=words):
        load_data(tmp_path / "a.npz", SHAPE)


def told(tmp_path: Path, arrays: dict[str, np.ndarray]) -> InputError:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError) as caught:
        load_data(tmp_path / "a.npz", SHAPE)
    return caught.value


@pytest.mark.parametrize(
    ("y", "what", "hint"),
    [
        (np.ones(3, "f4"), "has type float32, expected integers", "y.astype(numpy.int64)"),
        (np.ones(3, bool), "has type bool, expected integers", "y.astype(numpy.int64)"),
        (np.full(3, 0.5), "has type float64, expected integers", "would cut fractions"),
        (np.full(3, np.nan), "has type float64, expected integers", "would cut fractions"),
        (np.array(["cat", "dog", "cat"]), "has type <U3, expected integers", "names.index(name)"),
        (np.eye(3, 10), "has shape (3, 10), expected 3 labels", "y.argmax(axis=1)"),
        (np.ones((3, 1), int), "has shape (3, 1), expected 3 labels", "y[:, 0]"),
        (np.ones(2, int), "has shape (2,), expected 3 labels", "in the same order"),
        (np.array([1, 2, -7]), "holds -7 at index 2 (1 such)", "counted from 0"),
        (np.array([1, 1 << 40, 0]), f"holds {1 << 40} at index 1 (1 such)", "counted from 0"),
    ],
)
def test_wrong_labels_are_told_apart_each_with_the_way_to_right_ones(
    y: np.ndarray, what: str, hint: str, tmp_path: Path
) -> None:
    error = told(tmp_path, {"x": np.zeros((3, *SHAPE), np.uint8), "y": y})
    assert error.what.startswith(what)
    assert hint in str(error.hint)


def test_the_advice_on_labels_works(tmp_path: Path) -> None:
    x, names = np.zeros((3, *SHAPE), np.uint8), ["dog", "cat"]
    y = np.array(["cat", "dog", "cat"])
    for mended in (
        [names.index(name) for name in y],
        np.eye(2)[[1, 0, 1]].argmax(axis=1),
        np.array([1.0, 0, 1]).astype(np.int64),
    ):
        np.savez(tmp_path / "a.npz", x=x, y=mended)
        labels = load_data(tmp_path / "a.npz", SHAPE)[1]
        assert labels is not None and labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("values", "what", "hints"),
    [
        ([np.nan, np.inf, 0.5], "has 2 of 16 values that are NaN or infinite", ["isfinite"]),
        ([200, 3, 0.5], "has 2 of 16 values that are outside 0..1", ["Divide 0..255"]),
        ([-0.4, 3, 0.5], "has 2 of 16 values that are outside 0..1", ["normalisation"]),
        (
            [np.nan, 3, 0.5],
            "has 1 of 16 values that is NaN or infinite and 1 of 16 values that is outside 0..1",
            ["isfinite", "Divide 0..255"],
        ),
    ],
)
def test_values_that_are_no_numbers_are_counted_apart_from_those_out_of_range(
    values: list[float], what: str, hints: list[str], tmp_path: Path
) -> None:
    x = np.zeros((1, *SHAPE), np.float32)
    x.flat[: len(values)] = values
    error = told(tmp_path, {"x": x})
    assert error.what.partition(" (values from ")[0] == what
    every = ["isfinite", "Divide 0..255", "normalisation"]
    assert [h for h in every if h in str(error.hint)] == hints


RGB = np.random.default_rng(3).integers(0, 256, (5, 3, 4, 6)).astype(np.uint8)
GREY = RGB[:, :1]


@pytest.mark.parametrize(
    ("right", "given"),
    [
        (RGB, RGB.transpose(0, 2, 3, 1)),
        (RGB, RGB.transpose(1, 2, 3, 0)),
        (RGB, RGB.transpose(2, 3, 1, 0)),
        (RGB, RGB.reshape(5, -1)),
        (RGB[:1], RGB[0]),
        (RGB[:1], RGB[0].transpose(1, 2, 0)),
        (RGB[:1], RGB[0].ravel()),
        (GREY, GREY[:, 0]),
        (GREY, GREY.transpose(0, 2, 3, 1)),
        (GREY[:1], GREY[0, 0]),
        (GREY, GREY.astype(np.int64)),
        (GREY, GREY.astype(np.uint16)),
        (GREY, GREY.astype(np.uint16) << 8),
        (np.uint8(255) * (GREY >> 7), GREY > 127),
        (np.uint8(255) * (GREY >> 7), (GREY >> 7).astype(np.int32)),
    ],
)
def test_the_advice_on_shape_and_type_works(
    right: np.ndarray, given: np.ndarray, tmp_path: Path
) -> None:
    """The expression in the hint, run as it stands, gives the images that were meant."""
    np.savez(tmp_path / "a.npz", x=given)
    with pytest.raises(InputError) as caught:
        load_data(tmp_path / "a.npz", right.shape[1:])
    seen = str(given.shape) if given.dtype == np.uint8 else str(given.dtype)
    assert seen in caught.value.what
    told = re.search(r"(\(x >> 8\)|x)[.\[].*?(?= [a-z]|; |$)", str(caught.value.hint))
    assert told is not None
    mended = eval(told[0], {"x": given, "numpy": np})
    np.savez(tmp_path / "b.npz", x=mended)
    np.testing.assert_array_equal(load_data(tmp_path / "b.npz", right.shape[1:])[0], right)


@pytest.mark.parametrize(
    ("x", "what", "hint"),
    [
        (RGB, "has shape (5, 3, 4, 6), expected (N, 1, 4, 6)", "3 channels, the network takes 1"),
        (RGB.transpose(0, 2, 3, 1), "has shape (5, 4, 6, 3)", "3 channels, the network takes 1"),
        (GREY[..., :5], "has shape (5, 1, 4, 5)", "4 x 5 pixels, the network takes 4 x 6"),
        (GREY[:0], "has shape (0, 1, 4, 6)", "no samples"),
        (
            GREY[:, None],
            "has shape (5, 1, 1, 4, 6)",
            "like 1 step of spikes; this network takes",
        ),
        (np.zeros((2, 2)), "has shape (2, 2)", "samples, channels 1, height 4, width 6"),
        (GREY.astype("i2") - 9, f"values from {int(GREY.min()) - 9} to ", "undo the shift"),
        (GREY.astype("i4") << 12, "has type int32 (values", "floats in 0..1"),
        (GREY.astype(complex), "has type complex128, expected", "Pixels are numbers"),
        (GREY.astype(str), "has type <U3, expected", "Pixels are numbers"),
        (GREY.astype("f4"), f"values from {GREY.min()} to {GREY.max()}", "Divide 0..255"),
        (GREY * 1e3, f"to {GREY.max()}", "Divide by the value that is white"),
    ],
)
def test_what_cannot_be_put_right_by_one_call_is_said(
    x: np.ndarray, what: str, hint: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", x=x)
    with pytest.raises(InputError) as caught:
        load_data(tmp_path / "a.npz", GREY.shape[1:])
    assert what in caught.value.what and hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("x", "hint"),
    [
        (np.zeros((3, 2, 1, 4, 6)), "x.swapaxes(0, 1)"),
        (np.zeros((2, 1, 4, 6)), "look like images: this network takes spikes, 0 or 1, over 3"),
        (np.zeros((2, 8, 1, 4, 6)), "holds 8 steps; the network takes 3"),
        (np.zeros((3, 1, 4, 6))[:, 0], "samples, steps 3, channels 1, height 4, width 6"),
    ],
)
def test_spikes_of_another_shape_are_explained(x: np.ndarray, hint: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=x)
    with pytest.raises(InputError) as caught:
        load_data(tmp_path / "a.npz", (1, 4, 6), steps=3)
    assert hint in str(caught.value.hint)


def test_spike_input_holds_zeros_and_ones_only(tmp_path: Path) -> None:
    good = np.random.default_rng(0).integers(0, 2, (2, 3, *SHAPE))
    np.savez(tmp_path / "a.npz", x=good)
    x, _ = load_data(tmp_path / "a.npz", SHAPE, steps=3)
    np.testing.assert_array_equal(x, good)
    np.savez(tmp_path / "b.npz", x=good * 2)
    with pytest.raises(InputError, match="0 and 1"):
        load_data(tmp_path / "b.npz", SHAPE, steps=3)


def test_not_an_npz(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"hello")
    with pytest.raises(InputError, match="not a usable"):
        load_data(tmp_path / "a.npz", SHAPE)
    np.savez(tmp_path / "b.npz", x=np.zeros((50, *SHAPE), np.uint8))
    whole = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a usable"):
        load_data(tmp_path / "c.npz", SHAPE)


def test_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((6250, *SHAPE), np.uint8))
    monkeypatch.setattr("spikeproof.io.data._LIMIT_BYTES", 50_000)
    with pytest.raises(InputError, match="holds 100,000 bytes; the limit is 50,000"):
        load_data(tmp_path / "a.npz", SHAPE)


def npz(path: Path, name: str, content: bytes) -> bytearray:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    return bytearray(path.read_bytes())


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((1, *SHAPE), np.uint8))
    return buffer.getvalue()


def with_header(text: str) -> bytes:
    """Return an npy file with this text as its header."""
    raw = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + bytes(64)


def encrypted(data: bytearray) -> None:
    data[data.find(b"PK\x03\x04") + 6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1


def unknown_compression(data: bytearray) -> None:
    data[data.find(b"PK\x03\x04") + 8] = 99
    data[data.find(b"PK\x01\x02") + 10] = 99


@pytest.mark.parametrize("spoil", [encrypted, unknown_compression])
def test_archives_that_cannot_be_unpacked_are_refused(
    tmp_path: Path, spoil: Callable[[bytearray], None]
) -> None:
    data = npz(tmp_path / "a.npz", "x.npy", npy())
    load_data(tmp_path / "a.npz", SHAPE)
    spoil(data)
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InputError, match="not a usable"):
        load_data(tmp_path / "a.npz", SHAPE)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x", b"hello"),
        ("x.npy", b"hello, this is no array"),
        ("x.npy", with_header("{'descr': (")),
        ("x.npy", with_header("(" * 5000)),
        (
            "x.npy",
            with_header("{'descr':'|u1','fortran_order':False,'shape':(1" + "0" * 30 + ",)}"),
        ),
        ("x.npy", with_header("{'descr':'|u1','fortran_order':False,'shape':(-1,1,4,4)}")),
        ("x.npy", with_header("{'descr':'<u99','fortran_order':False,'shape':(1,1,4,4)}")),
        ("x.npy", with_header("{'descr':[],'fortran_order':False,'shape':(1,1,4,4)}")),
    ],
)
def test_members_that_are_no_arrays_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    npz(tmp_path / "a.npz", name, content)
    with pytest.raises(InputError, match=r"a\.npz"):
        load_data(tmp_path / "a.npz", SHAPE)


@pytest.mark.parametrize("kind", ["<M8[s]", "S1", "U1", [("a", "<i4")], "<c8"])
def test_spikes_of_an_odd_type_are_refused(tmp_path: Path, kind: object) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((1, 2, *SHAPE), kind))  # type: ignore[call-overload]
    with pytest.raises(InputError, match="0 and 1"):
        load_data(tmp_path / "a.npz", SHAPE, steps=2)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf"{name}: is an empty file\n.*Copy or create it again"):
        load_data(tmp_path / name, SHAPE)
