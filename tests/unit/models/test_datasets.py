"""Image sets: whole files are read, damaged ones are named, nothing is guessed."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest

from spikeproof.errors import InputError
from spikeproof.io.known import known_sets
from spikeproof_models.datasets import (
    ImageSet,
    find_fashion_mnist,
    hold_out,
    load_cifar10,
    load_dataset,
    load_fashion_mnist,
    read_idx,
)


def idx_bytes(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


def write_fashion(folder, count=6, compress=True):
    """Write four small IDX files and return the training images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
    labels = rng.integers(0, 10, count).astype(np.uint8)
    for stem in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx_bytes(array)
            path = folder / f"{stem}-{kind}-ubyte{'.gz' if compress else ''}"
            path.write_bytes(gzip.compress(data) if compress else data)
    return images, labels


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_both_folder_layouts_load_plain_and_compressed(tmp_path, compress, below):
    images, labels = write_fashion(tmp_path / below, compress=compress)
    found = load_fashion_mnist("train", tmp_path)
    assert np.array_equal(found.x, images[:, None])
    assert np.array_equal(found.y, labels)


def test_missing_files_say_where_it_looked_and_how_to_get_them(tmp_path):
    with pytest.raises(InputError) as error:
        find_fashion_mnist(tmp_path)
    assert str(tmp_path / "FashionMNIST/raw") in str(error.value)
    assert "apt install dataset-fashion-mnist" in str(error.value)
    assert "`spikeproof doctor --install download`, then train with --download" in str(error.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d[:-1], "holds 11 bytes of data, its header (3, 4) promises 12"),
        (lambda d: d + b"x", "holds 13 bytes"),
        (lambda d: d[:6], "promises"),
        (lambda d: b"\1" + d[1:], "starts with 01 00 08 02"),
        (lambda d: d[:2] + b"\x0d" + d[3:], "expected 00 00 08"),
        (lambda d: b"", "starts with"),
        (lambda d: gzip.compress(d)[:-5], "is not a whole gzip file"),
        (lambda d: gzip.compress(d)[:12] + b"\xff" * 20, "is not a whole gzip file"),
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(tmp_path, damage, message):
    path = tmp_path / "images-ubyte"
    path.write_bytes(damage(idx_bytes(np.zeros((3, 4), np.uint8))))
    with pytest.raises(InputError, match=re.escape(message)) as error:
        read_idx(path)
    assert str(path) in str(error.value)


def test_a_header_that_promises_terabytes_is_refused_without_allocating(tmp_path):
    path = tmp_path / "images-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)
    with pytest.raises(InputError, match="promises"):
        read_idx(path)


def test_labels_that_do_not_fit_the_images_are_refused(tmp_path):
    write_fashion(tmp_path, compress=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(InputError, match="do not fit"):
        load_fashion_mnist("train", tmp_path)


def test_labels_out_of_range_are_refused(tmp_path):
    write_fashion(tmp_path, compress=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(6, 10, np.uint8)))
    with pytest.raises(InputError, match="labels go up to 10"):
        load_fashion_mnist("train", tmp_path)


def test_cifar_binary_batches_load_in_order(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (5, 2, 3072)).astype(np.uint8)
    for i in range(5):
        rows = [bytes([i]) + pixels[i, j].tobytes() for j in range(2)]
        (folder / f"data_batch_{i + 1}.bin").write_bytes(b"".join(rows))
    found = load_dataset("cifar10", "train", tmp_path)
    assert np.array_equal(found.x, pixels.reshape(10, 3, 32, 32))
    assert found.y.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_cifar_problems_are_named(tmp_path):
    with pytest.raises(InputError, match="needs --data-dir"):
        load_cifar10("test")
    with pytest.raises(InputError, match="was not found"):
        load_cifar10("test", tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"12345")
    with pytest.raises(InputError, match="expected a multiple of 3073"):
        load_cifar10("test", tmp_path)


def test_held_out_images_are_disjoint_complete_and_seeded():
    x = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    images = ImageSet(x, np.zeros(20, np.int64))
    rest, held = hold_out(images, 5, seed=1)
    assert sorted([*rest.x.flat, *held.x.flat]) == list(range(20))
    assert len(held) == 5
    again = hold_out(images, 5, seed=1)[1]
    assert np.array_equal(held.x, again.x)
    assert not np.array_equal(held.x, hold_out(images, 5, seed=2)[1].x)


@pytest.mark.parametrize(("given", "hint"), [(20, "to 2 (1 to 19 work)"), (2, "to 1 (1 to 1 ")])
def test_too_few_images_to_hold_some_out_name_the_setting_and_what_works(given, hint):
    images = ImageSet(np.zeros((given, 1, 1, 1), np.uint8), np.zeros(given, np.int64))
    with pytest.raises(InputError, match=f"data.held_out is {given}, and there are {given} ") as no:
        hold_out(images, given, seed=1)
    assert f"Set data.held_out {hint}" in str(no.value)
    number = int(str(no.value).split("data.held_out to ")[1].split()[0])
    rest, held = hold_out(images, number, seed=1)
    assert len(rest) + len(held) == given


def test_a_single_image_cannot_be_held_out_and_the_message_says_so():
    images = ImageSet(np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int64))
    with pytest.raises(InputError, match="Give at least 2 images"):
        hold_out(images, 1, seed=1)


def test_the_content_hash_sees_pixels_labels_and_shape():
    x, y = np.zeros((4, 1, 2, 2), np.uint8), np.zeros(4, np.int64)
    hashes = {
        ImageSet(x, y).content_hash(),
        ImageSet(x.reshape(4, 2, 2, 1), y).content_hash(),
        ImageSet(x + np.uint8(1), y).content_hash(),
        ImageSet(x, y + 1).content_hash(),
    }
    assert len(hashes) == 4


def test_files_of_another_data_set_are_refused_by_their_content(tmp_path, monkeypatch):
    mnist = next(k for k in known_sets() if (k.dataset, k.split) == ("mnist", "train"))
    write_fashion(tmp_path)
    monkeypatch.setattr("spikeproof_models.datasets.training_set", lambda _: mnist)
    with pytest.raises(InputError, match="the files hold MNIST train") as error:
        load_dataset("fashion-mnist", "train", tmp_path)
    assert 'dataset = "mnist"' in str(error.value)
    assert len(load_dataset("mnist", "train", tmp_path)) == 6


def test_mnist_needs_a_folder_with_its_files(tmp_path):
    for folder in (None, tmp_path):
        with pytest.raises(InputError, match="four IDX files of MNIST"):
            load_dataset("mnist", "test", folder)


def test_images_that_are_no_published_set_are_accepted_under_any_name(tmp_path):
    images, _ = write_fashion(tmp_path)
    assert np.array_equal(load_dataset("mnist", "train", tmp_path).x, images[:, None])
    assert np.array_equal(load_dataset("fashion-mnist", "train", tmp_path).x, images[:, None])


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist", "cifar10"])
def test_what_a_data_folder_lacks_is_named(tmp_path, dataset):
    names = ["data_batch_1.bin", "data_batch_2.bin"]
    if dataset != "cifar10":
        names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
    (tmp_path / names[0]).write_bytes(b"x")
    with pytest.raises(InputError, match="there is no .*" + names[1]) as caught:
        load_dataset(dataset, "train", tmp_path)
    assert names[0] not in str(caught.value).partition("\n")[0]
    with pytest.raises(InputError, match="no such folder"):
        load_dataset(dataset, "train", tmp_path / "none")
    with pytest.raises(InputError, match="is a file; a folder"):
        load_dataset(dataset, "train", tmp_path / names[0])


def test_a_label_out_of_range_is_named_with_its_file_and_index(tmp_path):
    labels = np.array([1, 2, 11, 3], np.uint8)
    for stem in ("train", "t10k"):
        pixels = idx_bytes(np.zeros((4, 28, 28), np.uint8))
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(pixels)
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    with pytest.raises(InputError, match=r"go up to 11 \(first at index 2\)") as caught:
        load_dataset("mnist", "train", tmp_path)
    assert "train-labels-idx1-ubyte" in str(caught.value) and "Get the labels" in str(caught.value)
