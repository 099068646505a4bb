"""Attacks that take no gradient: on the exact network, on one without a twin, whoever is beside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikeproof.attacks import Estimator, perturb_images
from spikeproof.attacks.grid import Draws
from spikeproof.attacks.rays import RayS
from spikeproof.attacks.registry import ATTACKS
from spikeproof.attacks.square import Square, side
from spikeproof.attacks.suites import Member, Suite
from spikeproof.attacks.victim import Victim, attack_radii
from spikeproof.attacks.walks import SAPGD
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.floats import run_float
from spikeproof.errors import InputError, UnsupportedError
from spikeproof.ir import floats
from spikeproof.ir.limits import INPUT

BLACK = [Square(0, queries=120), RayS(0, queries=200)]
by_name = pytest.mark.parametrize("attack", BLACK, ids=lambda a: a.name)


class Counting(Victim):
    """Counts how often each image's rows were asked about."""

    asked = 0

    def logits(self, x):
        type(self).asked += len(x)
        return super().logits(x)


@pytest.fixture(scope="module")
def chip(network, case):
    return convert_network(network, case[0]).chip


@by_name
def test_what_is_found_is_in_the_ball_and_fools_the_integers(attack, chip, case):
    x, _ = case
    victim = Victim(chip)
    y = victim.predictions(x)
    found = attack_radii(attack, victim, None, x, y, [2, 8], seed=(0,))
    for images, broken, radius in zip(found.images, found.broken, (2, 8), strict=True):
        assert np.abs(images.astype(int) - x).max() <= radius
        np.testing.assert_array_equal(victim.predictions(images) != y, broken)
    assert found.broken[1].sum() > found.broken[0].sum()
    assert "twin" not in vars(victim)


@by_name
def test_more_queries_find_more(attack, victim, case):
    x, y = case
    few = attack_radii(replace(attack, queries=4), victim, None, x, y, [8], seed=(0,))
    many = attack_radii(replace(attack, queries=400), victim, None, x, y, [8], seed=(0,))
    assert many.broken.sum() > few.broken.sum() + 5


@by_name
def test_images_do_not_depend_on_their_company(attack, victim, case):
    x, y = case
    whole = attack_radii(attack, victim, None, x, y, [6], seed=(7,))
    some = np.array([11, 4, 9])
    part = attack_radii(attack, victim, None, x[some], y[some], [6], seed=(7,), names=some)
    np.testing.assert_array_equal(part.broken, whole.broken[:, some])
    np.testing.assert_array_equal(part.images, whole.images[:, some])
    other = attack_radii(attack, victim, None, x, y, [6], seed=(8,))
    assert not np.array_equal(other.images, whole.images)


@by_name
def test_no_more_is_asked_than_told(attack, network, case):
    x, y = case
    Counting.asked = 0
    attack_radii(attack, Counting(network), None, x, y, [1], seed=(0,))
    judged = len(x)
    assert len(x) < Counting.asked - judged <= attack.queries * len(x)


def test_a_network_without_a_twin_is_attacked(victim, case):
    rng = np.random.default_rng(1)
    nodes = (
        floats.Linear("f1", rng.standard_normal((20, 64)).astype(np.float32), None),
        floats.Lif("l1", 0.9, 1.0),
        floats.Linear("again", (rng.standard_normal((20, 20)) / 5).astype(np.float32), None),
        floats.Linear("f2", rng.standard_normal((5, 20)).astype(np.float32), None),
        floats.Readout("out"),
    )
    edges = [("l1", "again", 0), ("again", "l1", 1), ("f1", "l1", 0), ("l1", "f2", 0)]
    ends = [floats.Edge(INPUT, "f1"), *(floats.Edge(*e) for e in edges), floats.Edge("f2", "out")]
    network = floats.FloatNetwork("loop", (1, 8, 8), 4, nodes, tuple(ends))
    looped, x = Victim(network), case[0]
    with pytest.raises(UnsupportedError):
        _ = looped.twin
    suite = Suite("test", 1, (Member(Square(0, queries=60)), Member(RayS(0, queries=60))))
    assert not suite.white_box
    found, by = suite.run(looped, x, looped.predictions(x), [8])
    assert (by == 0).any() and found.broken.any()


def test_a_suite_holds_both_kinds(victim, case):
    x, y = case
    assg = Estimator(0.425, "detached", "assg")
    members = (Member(Square(0, queries=20)), Member(SAPGD(0, steps=10), assg))
    suite = Suite("test", 1, members)
    assert suite.white_box
    _, by = suite.run(victim, x, y, [3])
    assert {0, 1} <= set(by.ravel().tolist())
    assert suite.describe()["members"][0] == {
        "kind": "square",
        "attack": {"queries": 20, "share": 0.8},
        "estimator": None,
    }
    assert [m.name for m in members] == ["square-20", "sa-pgd-margin-10, 0.425 detached assg"]


def test_an_estimator_stands_where_gradients_are_taken_and_only_there(victim, case):
    with pytest.raises(InputError, match="no estimator"):
        Member(SAPGD(0))
    with pytest.raises(InputError, match="takes no gradients"):
        Member(Square(0), Estimator())
    with pytest.raises(InputError, match="no estimator"):
        attack_radii(SAPGD(0), victim, None, *case, [2], seed=(0,))


@pytest.mark.parametrize("kind", ["square", "rays"])
def test_they_are_on_the_registry_and_take_any_torch_model(kind, network, case):
    x, y = case
    attack = ATTACKS.get(kind).at(12, 5)
    found = perturb_images(attack, network, x, y, seed=1)
    assert np.abs(found.astype(int) - x).max() <= 12
    assert (run_float(network, found).predictions != y).sum() > 3
    assert attack.gradients == -(-attack.queries // 3)


def test_squares_shrink():
    sizes = [side(query, 1000, (28, 28)) for query in range(1, 1000)]
    assert sizes[0] == 25 and sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)
    assert side(1, 10_000, (3, 50), 1.0) == 3


class Brightness:
    """Errs where an image is brighter than a limit; one value of the input decides the rest."""

    def __init__(self, limit):
        self.limit = limit

    def logits(self, x):
        over = x.reshape(len(x), -1).astype(float).mean(axis=1) - self.limit
        return np.stack([-over, over], axis=1)


def test_the_decision_based_attack_finds_the_nearest_corner():
    x = np.full((1, 1, 6, 6), 100, np.uint8)
    draws = Draws((0,), np.arange(1), x.shape[1:])
    for limit, least in ((103.6, 4), (107.2, 8)):
        found = RayS(1, queries=3000).find(Brightness(limit), x, np.zeros(1, int), draws)
        assert np.abs(found.astype(int) - 100).max() <= least + 1
        assert found.mean() > limit
    nothing = RayS(3, queries=50).find(Brightness(256), x, np.zeros(1, int), draws)
    assert set(np.unique(nothing)) == {97, 103}


def test_the_square_attack_follows_the_margin():
    x = np.full((1, 1, 6, 6), 100, np.uint8)
    draws = Draws((0,), np.arange(1), x.shape[1:])
    found = Square(5, queries=400).find(Brightness(200), x, np.zeros(1, int), draws)
    np.testing.assert_array_equal(found, x + 5)


def test_no_question_is_wasted_on_the_best_image():
    class Watched(Brightness):
        best, seen = np.zeros(36), 0

        def logits(self, x):
            flat = x.reshape(36).astype(float)
            assert not np.array_equal(flat, self.best)
            self.best, self.seen = max(self.best, flat, key=np.mean), self.seen + 1
            return super().logits(x)

    x = np.full((1, 1, 6, 6), 100, np.uint8)
    network = Watched(200)
    draws = Draws((0,), np.arange(1), x.shape[1:])
    Square(5, queries=30).find(network, x, np.zeros(1, int), draws)
    assert network.seen == 30


def test_wrong_numbers_are_refused():
    for wrong in (lambda: Square(8, queries=0), lambda: Square(8, share=0), lambda: RayS(8, 0)):
        with pytest.raises(InputError):
            wrong()
