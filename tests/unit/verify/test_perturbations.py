"""Perturbed images: inside their ball, and made by the one attack that suites and cards share."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.attacks.weak import WEAK
from spikeproof.engines.floats import run_float
from spikeproof.ir.floats import FloatNetwork
from spikeproof.verify.perturbations import (
    CHUNK,
    Perturbation,
    chunk_seed,
    craft_chunk,
    perturb_with_torch,
)

pytest.importorskip("torch")


@pytest.fixture
def images(tiny_network: FloatNetwork) -> tuple[np.ndarray, np.ndarray]:
    """Random images and the network's own answers to them: all right when unperturbed."""
    x = np.random.default_rng(0).integers(0, 256, (CHUNK + 20, *tiny_network.input_shape))
    x = x.astype(np.uint8)
    return x, run_float(tiny_network, x).predictions


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_an_attack_is_the_shared_one_with_all_its_members(
    tiny_network: FloatNetwork, images: tuple[np.ndarray, np.ndarray], kind: str
) -> None:
    from spikeproof.attacks import perturb_images, perturb_worst

    x, y = (part[:60] for part in images)
    item, attack = Perturbation(WEAK.at(kind, 12), len(x)), WEAK.at(kind, 12)
    found = perturb_with_torch(item, tiny_network, x, y, seed=3, compare=True)
    expected, _ = perturb_worst(attack, tiny_network, x, y, seed=3, estimators=WEAK.members)
    np.testing.assert_array_equal(found.images, expected)
    assert list(found.right) == [WEAK.members[0].name, WEAK.control.name]
    for estimator in (WEAK.members[0], WEAK.control):
        alone = perturb_images(attack, tiny_network, x, y, seed=3, estimator=estimator)
        right = run_float(tiny_network, alone).predictions == y
        np.testing.assert_array_equal(found.right[estimator.name], right)
    fooled = run_float(tiny_network, found.images).predictions != y
    assert fooled.sum() >= (~found.right[WEAK.members[0].name]).sum() > 0


def test_pgd_is_stronger_than_one_step(
    tiny_network: FloatNetwork, images: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = (part[:60] for part in images)
    by_steps, by_one = (
        perturb_with_torch(
            Perturbation(WEAK.at(kind, 12), len(x)), tiny_network, x, y, seed=3
        ).images
        for kind in ("pgd", "fgsm")
    )
    fooled, fooled_by_one = (
        run_float(tiny_network, found).predictions != y for found in (by_steps, by_one)
    )
    assert fooled.sum() > fooled_by_one.sum()


def test_a_chunk_is_the_same_however_many_images_follow(
    tiny_network: FloatNetwork, images: tuple[np.ndarray, np.ndarray]
) -> None:
    """So a suite with fewer images shows the first of those that another suite or a card shows."""
    x, y = images
    few, many = (Perturbation(WEAK.at("fgsm", 12), n) for n in (CHUNK, CHUNK + 20))
    first, same = (craft_chunk(item, tiny_network, x, y, 0, seed=5).images for item in (few, many))
    np.testing.assert_array_equal(first, same)
    assert len(first) == CHUNK
    assert craft_chunk(few, tiny_network, x, y, 0, seed=5).right  # the control is run on these only
    assert not craft_chunk(many, tiny_network, x, y, CHUNK, seed=5).right
    assert len(craft_chunk(many, tiny_network, x, y, CHUNK, seed=5).images) == 20
    assert chunk_seed(5, few, 0) != chunk_seed(6, few, 0) != chunk_seed(6, few, CHUNK)


def test_noise_has_no_estimators_and_changes_most_pixels(
    tiny_network: FloatNetwork, images: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = images
    found = perturb_with_torch(
        Perturbation(WEAK.at("gaussian", 8), len(x)), tiny_network, x, y, seed=1
    )
    assert found.right == {}
    assert (found.images != x).mean() > 0.5
