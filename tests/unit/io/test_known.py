"""Data sets are recognised by what is in them, never by their name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from spikeproof.io.data import load_data, save_arrays
from spikeproof.io.known import describe, known_sets, training_set
from spikeproof.io.slices import open_samples
from spikeproof.io.zoo import zoo_calibration, zoo_images

SHAPE = (1, 28, 28)


def test_the_shipped_test_images_are_recognised_with_their_classes() -> None:
    x, y = load_data(zoo_images(), SHAPE)
    found = describe(x, y, file="whatever.npz")
    assert (found.recognised, found.name, found.split) == (True, "Fashion-MNIST", "test")
    assert (found.what, found.samples, found.labels) == ("first 1,000 images", 1000, "official")
    assert found.classes[0] == "T-shirt/top"
    assert len(found.classes) == 10
    assert found.text() == "Fashion-MNIST test, first 1,000 images (recognised by content)"
    assert found.used(200).text().endswith("; of these the first 200")


def test_the_shipped_calibration_images_are_recognised_as_training_images() -> None:
    found = describe(*load_data(zoo_calibration(), SHAPE))
    assert (found.name, found.split) == ("Fashion-MNIST", "train")
    assert found.what == "512 images drawn for calibration"


@pytest.mark.parametrize("count", [100, 256, 500])
def test_first_images_in_round_numbers_are_recognised_too(count: int) -> None:
    x, y = load_data(zoo_images(), SHAPE)
    found = describe(x[:count], y[:count] if y is not None else None)
    assert (found.name, found.what) == ("Fashion-MNIST", f"first {count} images")
    assert found.labels == "official"


def test_floats_and_other_files_with_the_same_pixels_are_the_same_images(tmp_path: Path) -> None:
    x, y = load_data(zoo_images(), SHAPE)
    assert y is not None
    save_arrays(tmp_path / "mine.npz", {"x": (x / 255).astype(np.float32), "y": y})
    assert describe(*load_data(tmp_path / "mine.npz", SHAPE)).name == "Fashion-MNIST"
    assert open_samples(tmp_path / "mine.npz", SHAPE).describe().name == "Fashion-MNIST"


def test_labels_that_are_not_those_of_the_set_are_noticed() -> None:
    x, y = load_data(zoo_images(), SHAPE)
    assert y is not None
    shifted = describe(x, (y + 1) % 10)
    assert shifted.labels == "other"
    assert "labels are NOT those of this set" in shifted.text()
    assert describe(x, None).labels == "absent"


def test_one_changed_pixel_makes_them_unrecognised_data_with_name_and_hash() -> None:
    x, y = load_data(zoo_images(), SHAPE)
    x = x.copy()
    x[7, 0, 3, 3] ^= 1
    found = describe(x, y, file="own\x1b[2J.npz")
    assert not found.recognised
    assert found.name is None
    digest = hashlib.sha256(b"[1000, 1, 28, 28]" + x.tobytes()).hexdigest()
    assert found.sha256 == digest
    assert digest[:16] in found.text()
    assert "own\N{REPLACEMENT CHARACTER}[2J.npz (unrecognised), 1,000 samples" in found.text()
    assert ", images SHA-256 " in found.text(), "labels are not in it"


def test_a_training_hash_names_its_set() -> None:
    recorded = "e08710e1e48612bc0bb82304d09b38878ca361faa065b97ea21ec9307f339237"
    known = training_set(recorded)
    assert known is not None
    assert (known.dataset, known.split) == ("fashion-mnist", "train")
    assert training_set("0" * 64) is None
    assert training_set(None) is None


def test_the_table_holds_both_splits_of_both_sets_and_nothing_twice() -> None:
    found = known_sets()
    assert {(k.name, k.split) for k in found} == {
        (name, split) for name in ("MNIST", "Fashion-MNIST") for split in ("train", "test")
    }
    hashes = [part.images for known in found for part in known.parts]
    assert len(hashes) == len(set(hashes))
    for known in found:
        assert known.parts[0].samples == max(part.samples for part in known.parts)
        assert len(known.classes) == 10


def test_spikes_and_empty_names_are_described_too(tmp_path: Path) -> None:
    spikes = (np.random.default_rng(0).random((3, 5, 1, 4, 4)) < 0.3).astype(np.uint8)
    save_arrays(tmp_path / "s.npz", {"x": spikes})
    found = open_samples(tmp_path / "s.npz", (1, 4, 4), steps=5).describe()
    assert (found.recognised, found.samples, found.labels) == (False, 3, "absent")
