"""Perturbed images: inside their ball, and as hard as the hardest surrogate makes them."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.ir.floats import FloatNetwork
from spikeproof.simulate.floats import run_float
from spikeproof.verify.perturbations import Perturbation, check_images, perturb_with_torch

pytest.importorskip("torch")


@pytest.fixture
def images(tiny_network: FloatNetwork) -> tuple[np.ndarray, np.ndarray]:
    """Random images and the network's own answers to them: all right when unperturbed."""
    x = np.random.default_rng(0).integers(0, 256, (60, *tiny_network.input_shape))
    x = x.astype(np.uint8)
    return x, run_float(tiny_network, x).predictions


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_more_surrogates_never_make_an_attack_weaker(
    tiny_network: FloatNetwork, images: tuple[np.ndarray, np.ndarray], kind: str
) -> None:
    x, y = images
    steps = 3 if kind == "pgd" else 0
    one = Perturbation(kind, 12, len(x), steps, (2.0,))
    many = Perturbation(kind, 12, len(x), steps, (2.0, 0.5, 0.1))
    alone, together = (perturb_with_torch(p, tiny_network, x, y, seed=3) for p in (one, many))
    for found, item in ((alone, one), (together, many)):
        check_images(x, found, item)
    fooled = run_float(tiny_network, alone).predictions != y
    fooled_by_any = run_float(tiny_network, together).predictions != y
    assert (fooled <= fooled_by_any).all() and fooled.any()
    assert fooled_by_any.sum() > fooled.sum()
    np.testing.assert_array_equal(alone[fooled], together[fooled])


def test_pgd_is_pgd_and_not_one_step(
    tiny_network: FloatNetwork, images: tuple[np.ndarray, np.ndarray]
) -> None:
    from spikeproof.attacks import PGD, perturb_images

    x, y = images
    item = Perturbation("pgd", 12, len(x), 5, (0.5,))
    found = perturb_with_torch(item, tiny_network, x, y, seed=3)
    expected = perturb_images(
        PGD(12 / 255, steps=5), tiny_network, x, y, seed=3, surrogate_width=0.5
    )
    np.testing.assert_array_equal(found, expected)
    fgsm = perturb_with_torch(
        Perturbation("fgsm", 12, len(x), 0, (0.5,)), tiny_network, x, y, seed=3
    )
    assert (fgsm != found).any()
    fooled, by_one_step = (run_float(tiny_network, a).predictions != y for a in (found, fgsm))
    assert fooled.sum() > by_one_step.sum()


def test_noise_does_not_depend_on_the_surrogates(
    tiny_network: FloatNetwork, images: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = images
    found = [
        perturb_with_torch(Perturbation("gaussian", 8, len(x), 0, w), tiny_network, x, y, seed=1)
        for w in ((1.0,), (0.25, 0.5))
    ]
    np.testing.assert_array_equal(*found)
    assert (found[0] != x).mean() > 0.5
