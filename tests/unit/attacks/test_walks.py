"""Walks on the grid, and suites of them: what they find is stored as it fooled the network."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

pytest.importorskip("numba", reason="twins are compiled")

from spikeproof.attacks import PGD, Estimator, perturb_images
from spikeproof.attacks.grid import Draws
from spikeproof.attacks.losses import LOSSES, TARGETED
from spikeproof.attacks.plain import BIM, RFGSM, PlainFGSM, PlainPGD
from spikeproof.attacks.registry import ATTACKS
from spikeproof.attacks.suites import SUITES, Member, Suite, suite_of
from spikeproof.attacks.victim import Victim, attack_radii, check_radii
from spikeproof.attacks.walks import APGD, SAPGD, MomentumPGD, _checkpoints
from spikeproof.convert.fold import fold
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.floats import run_float
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import InputError

ASSG = Estimator(0.425, "detached", "assg")
WALKS = [
    APGD(0, steps=6),
    SAPGD(0, steps=6),
    MomentumPGD(0, steps=6),
    SAPGD(0, steps=4, loss="ce", restarts=2, random_start=True),
    APGD(0, steps=4, loss="targeted-margin", targets=3),
    SAPGD(0, steps=4, loss="targeted-dlr", targets=2, restarts=2),
    PlainFGSM(0),
    RFGSM(0),
    BIM(0),
    PlainPGD(0, steps=7),
]


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_a_loss_is_its_slope(name):
    rng = np.random.default_rng(1)
    logits, y = rng.standard_normal((30, 6)), rng.integers(0, 6, 30)
    values, gradient = LOSSES[name](logits, y)
    # The factor of a cross-entropy, and of a margin, counts as a constant.
    spread = logits.std(axis=1, keepdims=True)
    factor = {"ce": 3 / spread, "margin": 1 / spread, "dlr": 1}[name]
    step = rng.standard_normal(logits.shape) * 1e-6

    def at(z):
        if name == "dlr":
            return LOSSES[name](z, y)[0]
        scaled = z * factor
        if name == "margin":
            others = np.where(np.arange(6) == y[:, None], -np.inf, scaled).max(1)
            return others - scaled[np.arange(30), y]
        return np.log(np.exp(scaled).sum(1)) - scaled[np.arange(30), y]

    np.testing.assert_allclose(values, at(logits))
    slope = (at(logits + step) - at(logits - step)) / 2
    unit = 1 if name == "dlr" else factor
    expected = (gradient * step).sum(1, keepdims=True) * unit
    np.testing.assert_allclose(slope, expected[:, 0], rtol=1e-4, atol=1e-11)


@pytest.mark.parametrize("name", TARGETED)
def test_the_gradient_of_a_targeted_loss_is_its_slope(name):
    rng = np.random.default_rng(1)
    logits, y = rng.standard_normal((30, 6)), rng.integers(0, 6, 30)
    aim, rows = (y + rng.integers(1, 6, 30)) % 6, np.arange(30)
    values, gradient = TARGETED[name](logits, y, aim)

    def at(z):  # the deviation of a margin counts as a constant
        above = z[rows, aim] - z[rows, y]
        if name == "targeted-margin":
            return above / logits.std(axis=1)
        ranked = -np.sort(-z, axis=1)
        return above / (ranked[:, 0] - (ranked[:, 2] + ranked[:, 3]) / 2)

    np.testing.assert_allclose(values, at(logits))
    step = rng.standard_normal(logits.shape) * 1e-6
    slope = (at(logits + step) - at(logits - step)) / 2
    unit = logits.std(axis=1) if name == "targeted-margin" else 1
    np.testing.assert_allclose((gradient * step).sum(1), slope * unit, rtol=1e-4, atol=1e-11)


@dataclass
class Recorded:
    """A linear network that remembers what it was asked; the best of three other classes is 2."""

    weight: np.ndarray
    towards: list = field(default_factory=list)

    def oracle(self):
        return self

    def logits(self, x):
        return x.reshape(len(x), -1) @ self.weight.T / 255

    def ask(self, x):
        def back(of_logits):
            self.towards.append(of_logits.argmax(axis=1))
            return (of_logits @ self.weight).reshape(x.shape)

        return self.logits(x), back

    def keep(self, rows):
        pass


@pytest.mark.parametrize("loss", ["ce", "margin", "targeted-margin"])
def test_a_loss_of_two_classes_grows_with_the_margin(loss):
    """In deviations of two logits, every margin would be the same, and no step would pay."""
    logits, y = np.array([[3.0, 1.0], [2.0, 1.0], [1.5, 1.0]]), np.zeros(3, int)
    if loss in TARGETED:
        values, gradient = TARGETED[loss](logits, y, y + 1)
    else:
        values, gradient = LOSSES[loss](logits, y)
    assert (np.diff(values) > 0.1).all()
    np.testing.assert_array_equal(gradient, [[-1, 1]] * 3)


def test_a_targeted_walk_tries_the_likeliest_classes_in_turn():
    bias = np.array([[50.0, 1, 3, 2]])  # no image of the ball is misclassified
    weight = np.random.default_rng(0).standard_normal((4, 12)) * 0.01 + bias.T
    x = np.full((2, 3, 2, 2), 128, np.uint8)
    network = Recorded(weight)
    draws = Draws(None, np.arange(2), x.shape[1:])
    walk = APGD(4, steps=3, loss="targeted-margin", targets=2, restarts=1)
    walk.find(network, x, np.zeros(2, int), draws)
    assert [list(row) for row in network.towards] == [[2, 2]] * 3 + [[3, 3]] * 3
    assert walk.gradients == 6
    assert walk.name == "apgd-targeted-margin-3-t2"
    network.towards.clear()
    replace(walk, targets=9, steps=1).find(network, x, np.zeros(2, int), draws)
    assert [row[0] for row in network.towards] == [2, 3, 1]  # as many as there are


def test_a_success_at_any_target_ends_the_search(victim, case):
    x, y = case
    one = attack_radii(APGD(0, 10, "targeted-dlr", targets=1), victim, ASSG, x, y, [3], seed=(0,))
    all_ = attack_radii(APGD(0, 10, "targeted-dlr"), victim, ASSG, x, y, [3], seed=(0,))
    assert all_.broken[one.broken].all()
    assert all_.broken.sum() > one.broken.sum() > 0
    np.testing.assert_array_equal(all_.images[one.broken], one.images[one.broken])


def test_no_loss_is_hidden_by_large_logits():
    rng = np.random.default_rng(1)
    logits, y = rng.standard_normal((30, 6)), rng.integers(0, 6, 30)
    for name, loss in LOSSES.items():
        plain, large = loss(logits, y), loss(logits * 1e6, y)
        np.testing.assert_allclose(large[0], plain[0])
        factor = 1e6 if name == "dlr" else 1  # that one is the slope by the logits themselves
        np.testing.assert_allclose(large[1] * factor, plain[1], atol=1e-9)


@pytest.mark.parametrize("walk", WALKS, ids=lambda w: w.name)
def test_what_is_found_is_in_the_ball_and_fools_the_network(walk, victim, case):
    x, y = case
    found = attack_radii(walk, victim, ASSG, x, y, [1, 3, 8], seed=(0,))
    assert found.images.dtype == np.uint8
    distance = np.abs(found.images.astype(int) - x).max(axis=(2, 3, 4))
    assert (distance <= np.array([[1], [3], [8]])).all()
    for images, broken in zip(found.images, found.broken, strict=True):
        np.testing.assert_array_equal(victim.predictions(images) != y, broken)
    assert found.broken[2].sum() > found.broken[0].sum() > 0
    for small, large in ((0, 1), (1, 2)):
        kept = found.broken[small]
        assert found.broken[large][kept].all()
        np.testing.assert_array_equal(found.images[large][kept], found.images[small][kept])


def test_images_do_not_depend_on_their_company(victim, case):
    x, y = case
    walk = SAPGD(0, steps=5, restarts=2, random_start=True)
    whole = attack_radii(walk, victim, ASSG, x, y, [3], seed=(7,))
    some = np.array([11, 4, 9])
    part = attack_radii(walk, victim, ASSG, x[some], y[some], [3], seed=(7,), names=some)
    np.testing.assert_array_equal(part.broken, whole.broken[:, some])
    np.testing.assert_array_equal(part.images, whole.images[:, some])
    other = attack_radii(walk, victim, ASSG, x, y, [3], seed=(8,))
    assert not np.array_equal(other.images, whole.images)


def test_the_exact_network_judges(victim, case):
    """Nothing fools this judge, whatever the twin says; the strongest that was found is kept."""
    x, y = case

    class Stubborn(Victim):
        def predictions(self, images):
            return y

    stubborn = Stubborn(victim.network, victim.folded)
    found = attack_radii(SAPGD(0, steps=5), stubborn, ASSG, x, y, [8], seed=(0,))
    assert not found.broken.any()
    assert (found.images[0] != x).any(axis=(1, 2, 3)).all()


def test_a_walk_beats_pgd_of_as_many_steps(network, victim, case):
    x, y = case
    weak = perturb_images(PGD(2, steps=20), network, x, y, seed=0, estimator=Estimator(2.0))
    strong = attack_radii(SAPGD(0, steps=20), victim, ASSG, x, y, [2], seed=(0,))
    assert strong.broken.sum() >= (run_float(network, weak).predictions != y).sum()


def test_a_chip_network_is_attacked_itself(network, case):
    x, _ = case
    chip = convert_network(network, x).chip
    victim = Victim(chip)
    y = victim.predictions(x)
    np.testing.assert_array_equal(ReferenceEngine().run(chip, x[:2]).predictions, y[:2])
    found = attack_radii(SAPGD(0, steps=10), victim, ASSG, x, y, [8], seed=(0,))
    assert found.broken.sum() > 5
    some = np.flatnonzero(found.broken[0])[:3]
    reference = ReferenceEngine().run(chip, found.images[0, some])
    assert (reference.predictions != y[some]).all()


@pytest.mark.parametrize("kind", ["apgd", "sa-pgd", "momentum-pgd", "rfgsm", "bim"])
def test_walks_are_on_the_registry_and_take_any_torch_model(kind, network, case):
    x, y = case
    attack = ATTACKS.get(kind).at(8, 5)
    found = perturb_images(attack, network, x, y, seed=1)
    assert np.abs(found.astype(int) - x).max() <= 8
    assert (run_float(network, found).predictions != y).sum() > 3


def test_checkpoints_are_those_of_apgd():
    assert list(_checkpoints(100)) == [22, 41, 58, 70, 80, 87, 93, 99]
    assert sum(_checkpoints(100).values()) == 99
    assert list(_checkpoints(1)) == [1]


def test_radii_are_whole_grey_levels():
    assert check_radii([8, 2, 8.0]) == [2, 8]
    for wrong, hint in ((0.03, "8/255"), (2.5, "8-bit"), (0, "8-bit"), (256, "8-bit")):
        with pytest.raises(InputError) as raised:
            check_radii([wrong])
        assert hint in raised.value.hint
    with pytest.raises(InputError):
        check_radii([])


def test_a_suite_is_the_worst_case_and_sticky(victim, case):
    x, y = case
    y = y.copy()
    y[3] = (y[3] + 1) % 10  # wrong unperturbed
    members = (Member(SAPGD(0, steps=1), ASSG), Member(SAPGD(0, steps=12, loss="ce"), ASSG))
    suite = Suite("test", 1, members)
    found, by = suite.run(victim, x, y, [1, 4])
    assert (by[:, 3] == -2).all()
    np.testing.assert_array_equal(found.broken, by != -1)
    for r in range(2):
        wrong = victim.predictions(found.images[r]) != y
        np.testing.assert_array_equal(wrong, found.broken[r])
    assert {0, 1} <= set(by.ravel().tolist())
    fell = by[0] != -1
    np.testing.assert_array_equal(by[1][fell], by[0][fell])
    alone, _ = replace(suite, members=members[:1]).run(victim, x, y, [1, 4])
    assert (found.broken | ~alone.broken).all()
    assert found.broken.sum() > alone.broken.sum()


def test_released_suites_never_change():
    """A suite that should find more is the next version: its name stands beside figures."""
    digests = {
        name: hashlib.sha256(json.dumps(suite.describe(), sort_keys=True).encode()).hexdigest()[:16]
        for name, suite in SUITES.items()
    }
    assert digests == {
        "sp-quick-1": "d8a410f670e34a28",
        "sp-standard-1": "f743df56d736964d",
        "sp-rigorous-1": "25414e010ce48790",
    }


def test_a_suite_that_does_not_exist_is_guessed():
    with pytest.raises(InputError, match="did you mean 'sp-quick-1'"):
        suite_of("sp-quik-1")


def test_a_victim_leaves_its_twin_behind(victim, case):
    x, _ = case
    assert victim.twin is victim.twin
    again = pickle.loads(pickle.dumps(victim))
    assert "twin" not in vars(again)
    np.testing.assert_array_equal(again.twin.logits(x), victim.twin.logits(x))


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("name", SUITES)
def test_every_suite_fits_a_network_of_few_classes(network, name, classes):
    last = network.nodes[-2]
    few = replace(last, weight=last.weight[:classes], bias=last.bias[:classes])
    small = replace(network, nodes=(*network.nodes[:-2], few, network.nodes[-1]))
    victim = Victim(small, fold(small))
    x = np.random.default_rng(1).integers(0, 256, (8, 1, 8, 8), dtype=np.uint8)
    y = victim.predictions(x)
    suite = Suite("short", 1, tuple(_short(member) for member in SUITES[name].members))
    found, _ = suite.run(victim, x, y, [2, 64])
    for radius, images, broken in zip((2, 64), found.images, found.broken, strict=True):
        assert np.abs(images.astype(int) - x.astype(int)).max() <= radius
        np.testing.assert_array_equal(victim.predictions(images) != y, broken)


def _short(member):
    attack = member.attack
    less = {"steps": 2} if member.estimator else {"queries": 3}
    return replace(member, attack=replace(attack, **less))


def test_a_ratio_of_logits_that_are_not_there_is_the_margin():
    logits, y, aim = np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([0, 1]), np.array([1, 0])
    for found, same in (
        (LOSSES["dlr"](logits, y), LOSSES["margin"](logits, y)),
        (TARGETED["targeted-dlr"](logits, y, aim), TARGETED["targeted-margin"](logits, y, aim)),
    ):
        np.testing.assert_array_equal(found[0], same[0])
        np.testing.assert_array_equal(found[1], same[1])


def test_wrong_numbers_are_refused():
    for wrong in (dict(steps=0), dict(restarts=0), dict(loss="hinge"), dict(targets=0)):
        with pytest.raises(InputError):
            SAPGD(8, **wrong)
    with pytest.raises(InputError, match=r"less than 0\.5"):
        Estimator(0.5, "detached", "assg")
    with pytest.raises(InputError, match="step is 0"):
        PlainPGD(8, step=0)


def test_nothing_is_random_without_a_generator(network, case):
    x = torch.from_numpy(case[0] / np.float32(255))
    attack = SAPGD(8, steps=2, random_start=True)
    with pytest.raises(InputError, match="generator"):
        attack.perturb(lambda z: z.flatten(1)[:, :3], x, torch.zeros(len(x)).long())
