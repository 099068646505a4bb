"""FGSM, RFGSM, BIM and PGD on the grid: which points they visit, and what they are called."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="twins are compiled")

from spikeproof.attacks import PGD, Estimator
from spikeproof.attacks.grid import Draws
from spikeproof.attacks.plain import BIM, RFGSM, PlainFGSM, PlainPGD
from spikeproof.attacks.suites import Member
from spikeproof.attacks.victim import attack_radii
from spikeproof.attacks.walks import SAPGD

SIGNS = np.array([1.0, -1, 1, 1, -1, -1, 1, -1]).reshape(1, 2, 2, 2)


class Linear:
    """The second of three classes grows along ``SIGNS``, never wins. It remembers the points."""

    def __init__(self):
        self.points = []

    def oracle(self):
        return self

    def ask(self, x):
        self.points.append(x.astype(int))
        rise = (x * SIGNS).sum(axis=(1, 2, 3)) / 1e6
        back = lambda of: of[:, 1, None, None, None] * SIGNS  # noqa: E731
        one = np.ones(len(x))
        return np.stack([one, rise, -one], axis=1), back

    def keep(self, rows):
        pass


def walked(attack, level=100):
    x = np.full((1, 2, 2, 2), level, np.uint8)
    network = Linear()
    found = attack.find(network, x, np.zeros(1, int), Draws((3,), np.arange(1), x.shape[1:]))
    return [point - level for point in network.points], found.astype(int) - level


def test_fgsm_is_one_step_of_the_radius():
    points, found = walked(PlainFGSM(6))
    assert len(points) == 2 and not points[0].any()
    np.testing.assert_array_equal(found, 6 * SIGNS)
    np.testing.assert_array_equal(walked(PlainFGSM(6, step=2))[1], 2 * SIGNS)


def test_rfgsm_goes_half_the_radius_at_random_and_half_along_the_gradient():
    points, found = walked(RFGSM(6))
    assert len(points) == 2
    assert set(np.unique(points[0])) == {-3, 3}
    np.testing.assert_array_equal(points[1], points[0] + 3 * SIGNS)
    np.testing.assert_array_equal(found, points[1])


def test_bim_goes_from_the_image_by_equal_steps():
    points, _ = walked(BIM(8, steps=4))
    assert [int(np.abs(p).max()) for p in points] == [0, 2, 4, 6, 8]
    points, _ = walked(BIM(2, steps=10))  # no step is below a grey level
    assert [int(np.abs(p).max()) for p in points[:4]] == [0, 1, 2, 2]


@pytest.mark.parametrize("steps", [7, 40])
def test_pgd_steps_as_the_one_on_torch_does(steps):
    attack = PlainPGD(8, steps=steps)
    assert attack.length() == pytest.approx(255 * PGD(8, steps=steps).step_size())
    points, found = walked(attack)
    assert points[0].any() and np.abs(points[0]).max() <= 8
    np.testing.assert_array_equal(found, 8 * SIGNS)
    assert len(points) == steps + 1


def test_members_are_named_as_papers_do():
    wide = Estimator(0.5, "attached")
    names = [Member(a, wide).name for a in (PlainPGD(0, steps=7), PlainFGSM(0), RFGSM(0), BIM(0))]
    assert names == [f"{a}, 0.5 attached" for a in ("pgd-7", "fgsm", "rfgsm", "bim-10")]
    assert PlainPGD(0, random_start=False, restarts=2).name == "pgd-20-fixed-x2"
    assert PlainPGD(0, 7, "targeted-margin", targets=3).name == "pgd-targeted-margin-7-t3"


def test_a_plain_walk_finds_less_than_an_adaptive_one(victim, case):
    x, y = case
    weak = attack_radii(PlainPGD(0, steps=7), victim, Estimator(0.5), x, y, [2], seed=(0,))
    assg = Estimator(0.425, "detached", "assg")
    strong = attack_radii(SAPGD(0, steps=40), victim, assg, x, y, [2], seed=(0,))
    assert 0 < weak.broken.sum() < strong.broken.sum()
