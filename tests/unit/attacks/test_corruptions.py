"""Impulse noise, shifts and less contrast: what they do to pixels, without torch."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from spikeproof.attacks import Estimator, perturb_images
from spikeproof.attacks.corruptions import Contrast, ImpulseNoise, Shift
from spikeproof.attacks.fgsm import FGSM
from spikeproof.errors import InputError


@pytest.fixture
def x():
    return np.random.default_rng(0).integers(1, 255, (40, 3, 20, 10), dtype=np.uint8)


def test_impulse_noise_replaces_that_share_of_whole_pixels(x):
    found = ImpulseNoise(51).corrupt(x, np.random.default_rng(1))
    changed = (found != x).any(axis=1)
    np.testing.assert_array_equal(changed, (found != x).all(axis=1))
    assert changed.mean() == pytest.approx(0.2, abs=0.015)
    assert set(np.unique(found[np.broadcast_to(changed[:, None], x.shape)])) == {0, 255}
    assert (found == 255).sum() == pytest.approx((found == 0).sum(), rel=0.15)


def test_a_shift_moves_by_whole_pixels_and_repeats_edges(x):
    shift = Shift(25.5)  # a tenth of either side
    assert (shift.pixels(20), shift.pixels(10), shift.pixels(4)) == (2, 1, 1)
    found, ways = shift.corrupt(x, np.random.default_rng(1)), set()
    for image, original in zip(found, x, strict=True):
        padded = np.pad(original, ((0, 0), (2, 2), (1, 1)), mode="edge")
        at = [
            (a, b)
            for a in (0, 2, 4)
            for b in (0, 1, 2)
            if np.array_equal(image, padded[:, a : a + 20, b : b + 10])
        ]
        assert len(at) == 1
        ways.add(at[0])
    assert len(ways) == 8 and (2, 1) not in ways
    np.testing.assert_array_equal(Shift(0).corrupt(x, np.random.default_rng(1)), x)


def test_contrast_shrinks_towards_each_images_mean(x):
    found = Contrast(127.5).corrupt(x, np.random.default_rng(1)).astype(float)
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, mean + (x - mean) / 2, atol=0.51)
    flat = Contrast(255).corrupt(x, np.random.default_rng(1))
    assert (flat.reshape(40, -1).std(axis=1) == 0).all()


@pytest.mark.parametrize(
    "attack", [ImpulseNoise(20), Shift(20), Contrast(60)], ids=lambda a: a.kind
)
def test_none_needs_torch(attack, network, case, monkeypatch):
    x, y = case
    monkeypatch.setitem(sys.modules, "torch", None)
    found = perturb_images(attack, network, x, y, seed=4, batch_size=7)
    np.testing.assert_array_equal(
        found, perturb_images(attack, network, x, y, seed=4, batch_size=7)
    )
    assert not np.array_equal(found, x)
    assert not attack.adversarial and attack.gradients == 0


def test_torch_refuses_what_only_twins_do(network, case):
    for estimator in (
        Estimator(0.5, "detached", leak="detached"),
        Estimator(0.5, through="rates"),
        Estimator(0.425, "detached", "assg"),
    ):
        with pytest.raises(InputError, match="only twins"):
            perturb_images(FGSM(8), network, *case, seed=0, estimator=estimator)
