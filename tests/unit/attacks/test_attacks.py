"""Attacks stay in the ball, do harm, and are repeatable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikeproof.attacks import (
    FGSM,
    PGD,
    Estimator,
    GaussianNoise,
    images,
    perturb_images,
    perturb_worst,
    project_to_grid,
)
from spikeproof.attacks.base import Attack
from spikeproof.attacks.gradient import GradientAttack
from spikeproof.engines.floats import run_float
from spikeproof.errors import InputError
from spikeproof_models.builders import NeuronSpec, small_conv
from spikeproof_models.networks import build_module

EPS = 8
ALL = [
    GaussianNoise(EPS),
    FGSM(EPS),
    FGSM(EPS, random_start=True),
    PGD(EPS, steps=4),
    PGD(EPS, steps=3, restarts=2),
    PGD(EPS, steps=3, random_start=False, step=4),
]
BOUNDED = [a for a in ALL if a.bounded]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def network():
    return small_conv(channels=(4, 6), hidden=(16,), neuron=NeuronSpec("dlif"), seed=2)


@pytest.fixture(scope="module")
def case(network):
    """Images the network labels itself, so that every attack starts from full accuracy."""
    x = (np.random.default_rng(0).random((24, 1, 28, 28)) * 255).astype(np.uint8)
    with torch.no_grad():
        y = build_module(network)(torch.from_numpy(x / np.float32(255))).argmax(1).numpy()
    return x, y


def linear_model(x):
    """Logits (0, sum of x): class 0 wants dark images, class 1 bright ones."""
    total = x.flatten(1).sum(1, keepdim=True)
    return torch.cat([torch.zeros_like(total), total - 0.5 * x[0].numel()], 1)


@pytest.mark.parametrize("attack", ALL, ids=lambda a: a.label)
def test_floats_stay_in_the_image_range_and_the_ball(attack, network, case):
    x = torch.from_numpy(case[0] / np.float32(255))
    found = attack.perturb(build_module(network), x, torch.from_numpy(case[1]), rng())
    assert found.min() >= 0
    assert found.max() <= 1
    assert not torch.equal(found, x)
    if attack.bounded:
        assert float((found - x).abs().max()) <= EPS / 255 + 1e-6


@pytest.mark.parametrize("attack", BOUNDED, ids=lambda a: a.label)
def test_images_on_the_grid_stay_in_the_ball_exactly(attack, network, case):
    x, y = case
    found = perturb_images(attack, network, x, y, seed=1)
    assert found.dtype == np.uint8
    assert found.shape == x.shape
    assert np.abs(found.astype(int) - x).max() <= 8


@pytest.mark.parametrize("attack", ALL, ids=lambda a: a.label)
def test_equal_seeds_give_equal_images(attack, network, case):
    x, y = case
    first, again, other = (perturb_images(attack, network, x, y, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    random = getattr(attack, "random_start", True)
    assert np.array_equal(first, other) != random


def test_fgsm_takes_the_whole_step_along_the_gradient():
    x = torch.full((2, 1, 3, 3), 0.5)
    found = FGSM(25.5).perturb(linear_model, x, torch.tensor([0, 1]))
    assert torch.allclose(found[0], torch.tensor(0.6))
    assert torch.allclose(found[1], torch.tensor(0.4))


def test_a_longer_step_than_the_ball_is_cut_back():
    x = torch.full((1, 1, 3, 3), 0.95)
    found = FGSM(25.5, step=127.5).perturb(linear_model, x, torch.tensor([0]))
    assert torch.equal(found, torch.ones_like(x))


def test_pgd_keeps_the_worst_point_even_if_it_walks_past_it():
    """The loss peaks at 0.55; steps of 0.1 jump over it and come back."""
    seen = []

    def peaked(x):
        seen.append(x.detach().clone())
        height = -100 * (x.flatten(1).mean(1, keepdim=True) - 0.55) ** 2
        return torch.cat([-height, height], 1)

    x, y = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])
    attack = PGD(76.5, steps=5, step=25.5, random_start=False)
    found = attack.perturb(peaked, x, y)
    loss = torch.nn.functional.cross_entropy
    best = max(loss(peaked(p), y).item() for p in list(seen))
    assert loss(peaked(found), y).item() == best


def test_pgd_prefers_a_point_that_is_misclassified_to_one_with_a_larger_loss():
    from spikeproof.attacks.gradient import _Worst

    points = torch.zeros(1, 1), torch.ones(1, 1)
    worst = _Worst(torch.full((1, 1), 0.5))
    worst.update(points[0], torch.tensor([0.7]), torch.tensor([True]))
    worst.update(points[1], torch.tensor([2.0]), torch.tensor([False]))
    assert worst.points.item() == 0


def accuracy(network, x, y):
    with torch.no_grad():
        logits = build_module(network)(torch.from_numpy(x / np.float32(255)))
    return float((logits.argmax(1).numpy() == y).mean())


def test_pgd_hurts_more_than_fgsm_which_hurts_more_than_noise(network, case):
    x, y = case
    noise, fgsm, pgd = (
        accuracy(network, perturb_images(a, network, x, y, seed=0), y)
        for a in (GaussianNoise(EPS), FGSM(EPS), PGD(EPS, steps=20, restarts=2))
    )
    assert pgd <= fgsm <= noise
    assert pgd < noise


def test_a_module_is_attacked_in_evaluation_mode_and_left_as_it_was(network, case):
    model = build_module(network).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x, y = torch.from_numpy(case[0] / np.float32(255)), torch.from_numpy(case[1])
    found = FGSM(EPS).perturb(model, x, y)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(found, FGSM(EPS).perturb(build_module(network), x, y))


def test_an_attack_that_leaves_the_ball_is_projected():
    class Cheat(Attack):
        kind = "cheat"

        def _propose(self, model, x, y, generator):
            return x + 5

    x = torch.full((1, 1, 2, 2), 0.5)
    assert torch.allclose(Cheat(25.5).perturb(linear_model, x, torch.tensor([0])), x + 0.1)


@pytest.mark.parametrize(
    ("radius", "expected"),
    [(8, [108, 92, 8]), (2.5, [102, 98, 2]), (None, [200, 0, 9])],
)
def test_the_grid_projection_rounds_inside_the_ball(radius, expected):
    original = np.array([100, 100, 0], np.uint8).reshape(3, 1, 1, 1)
    found = np.array([200, 0, 8.6]).reshape(3, 1, 1, 1) / 255
    assert project_to_grid(found, original, radius).ravel().tolist() == expected


def test_the_surrogate_of_the_attack_can_be_chosen(network, case):
    narrow, wide = (
        perturb_images(FGSM(EPS), network, *case, seed=0, estimator=Estimator(w))
        for w in (0.25, 2.0)
    )
    assert not np.array_equal(narrow, wide)


def test_detaching_the_reset_changes_the_attack_and_never_the_network(network, case):
    x, y = case
    pixels = torch.from_numpy(x / np.float32(255))
    models = [build_module(network, estimator=Estimator(1.0, r)) for r in ("attached", "detached")]
    (logits, records), (same, other) = (model.record(pixels) for model in models)
    assert torch.equal(logits, same)
    for name, record in records.items():
        if record.s is not None:
            assert torch.equal(record.s, other[name].s) and torch.equal(record.v, other[name].v)
    gradients = [FGSM(EPS).gradient(model, pixels, torch.from_numpy(y))[0] for model in models]
    assert not torch.allclose(*gradients)
    attached, detached = (
        perturb_images(FGSM(EPS), network, x, y, seed=0, estimator=Estimator(1.0, reset))
        for reset in ("attached", "detached")
    )
    assert not np.array_equal(attached, detached)


def test_progress_counts_images(network, case):
    ticks = []
    perturb_images(
        GaussianNoise(EPS),
        network,
        *case,
        seed=0,
        batch_size=10,
        progress=lambda done, total: ticks.append((done, total)),
    )
    assert ticks == [(10, 24), (20, 24), (24, 24)]


def test_labels_name_kind_and_grey_levels():
    assert [a.label for a in (GaussianNoise(2), FGSM(EPS), PGD(4))] == [
        "gaussian 2/255",
        "fgsm 8/255",
        "pgd-20 4/255",
    ]


def test_a_radius_of_a_fraction_of_a_level_is_refused(network, case):
    """Rounded down it would show clean images under the name of an attack."""
    for attack in (FGSM(0.5), PGD(2.5)):
        with pytest.raises(InputError, match="expected a whole number"):
            perturb_images(attack, network, *case, seed=0)
    perturb_images(GaussianNoise(2.5), network, *case, seed=0)


@pytest.mark.parametrize("width", [0, -1, 1e-9, float("nan"), float("inf")])
def test_a_surrogate_that_passes_no_gradient_is_refused(width):
    with pytest.raises(InputError, match="surrogate width"):
        Estimator(width)


def test_a_reset_that_is_neither_attached_nor_detached_is_refused():
    with pytest.raises(InputError, match="expected 'attached' or 'detached'"):
        Estimator(1.0, "loose")


def test_no_estimator_at_all_is_refused(network, case):
    with pytest.raises(InputError, match="no estimator"):
        perturb_worst(FGSM(EPS), network, *case, seed=0, estimators=())


MANY = (Estimator(2.0), Estimator(2.0, "detached"), Estimator(0.5), Estimator(0.1, "detached"))
STRONG = 12


@pytest.fixture
def fooled_case(tiny_network):
    """A network that is easily fooled, and images with its own answers to them."""
    x = np.random.default_rng(0).integers(0, 256, (60, *tiny_network.input_shape)).astype(np.uint8)
    return tiny_network, x, run_float(tiny_network, x).predictions


@pytest.mark.parametrize("attack", [FGSM(STRONG), PGD(STRONG, steps=3)], ids=lambda a: a.label)
def test_more_estimators_never_make_an_attack_weaker(attack, fooled_case):
    network, x, y = fooled_case
    (alone, _), (together, right) = (
        perturb_worst(attack, network, x, y, seed=3, estimators=m) for m in (MANY[:1], MANY)
    )
    fooled, by_any = (run_float(network, found).predictions != y for found in (alone, together))
    assert (fooled <= by_any).all()
    assert fooled.any()
    assert by_any.sum() > fooled.sum()
    assert np.array_equal(alone[fooled], together[fooled])
    assert np.array_equal(fooled, ~right[0])
    assert np.array_equal(by_any, ~right[-1])


def test_only_survivors_are_tried_again_and_a_success_stays(fooled_case, monkeypatch):
    network, x, y = fooled_case
    tried = []

    def counted(attack, network, x, y, **options):
        tried.append(len(x))
        return perturb_images(attack, network, x, y, **options)

    monkeypatch.setattr(images, "perturb_images", counted)
    _, right = perturb_worst(FGSM(STRONG), network, x, y, seed=3, estimators=MANY)
    assert tried == [len(x), *right[:-1].sum(1)]
    assert (np.diff(right.astype(int), axis=0) <= 0).all()
    assert right[0].sum() > right[-1].sum()


@pytest.mark.parametrize("attack", BOUNDED, ids=lambda a: a.label)
def test_a_gradient_that_is_not_finite_is_an_error(attack):
    def model(x):
        total = linear_model(x)
        return total * torch.sqrt(x.flatten(1).sum(1, keepdim=True) * 0)

    with pytest.raises(InputError, match="not finite"):
        attack.perturb(model, torch.full((2, 1, 3, 3), 0.5), torch.tensor([0, 1]), rng())


def test_wrong_arguments_are_refused(network, case):
    x, y = case
    with pytest.raises(InputError, match=r"strength is 256, must be in 0\.\.255"):
        FGSM(256)
    with pytest.raises(InputError, match="must be at least 1"):
        PGD(EPS, steps=0)
    with pytest.raises(InputError, match="expected uint8"):
        perturb_images(FGSM(EPS), network, x / 255, y, seed=0)
    with pytest.raises(InputError, match="labels have shape"):
        perturb_images(FGSM(EPS), network, x, y[:3], seed=0)
    with pytest.raises(InputError, match="needs a generator"):
        PGD(EPS).perturb(linear_model, torch.zeros(1, 1, 2, 2), torch.tensor([0]))


class OtherLoss(GradientAttack):
    """Away from the other class; above every cross-entropy, so that the two cannot be mixed."""

    def loss(self, logits, y):
        return 10 - super().loss(logits, y)


class OtherStart(GradientAttack):
    """Every restart begins further out than the one before; the last gets furthest."""

    def start(self, x, generator):
        self.__dict__["begun"] = self.__dict__.get("begun", 0) + 1
        return x + 0.01 * self.__dict__["begun"]


class OtherGradient(GradientAttack):
    """Down, so that the start is the worst point."""

    def gradient(self, model, x, y):
        found, loss, wrong = super().gradient(model, x, y)
        return -found, loss, wrong


class OtherOptimiser(GradientAttack):
    """Every step is longer than the one before: 1 + 2 + 3, anew in every restart."""

    def optimiser(self):
        taken = []

        def direction(gradient):
            taken.append(gradient)
            return len(taken) * gradient.sign()

        return direction


class OtherStep(GradientAttack):
    """A step of its own."""

    def step_size(self):
        return 0.02


class OtherProjection(GradientAttack):
    """Half the way back, after each of the three steps and once at the end."""

    def project(self, found, x):
        return x + 0.5 * (found - x)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (GradientAttack, 0.3 + 3 * 0.005),
        (OtherLoss, 0.3 - 3 * 0.005),
        (OtherStart, 0.3 + 0.02 + 3 * 0.005),
        (OtherGradient, 0.3),
        (OtherOptimiser, 0.3 + 6 * 0.005),
        (OtherStep, 0.3 + 3 * 0.02),
        (OtherProjection, 0.3 + 0.005 * (1 / 2 + 1 / 4 + 1 / 8) / 2),
    ],
)
def test_each_part_of_the_walk_can_be_replaced(variant, expected):
    x, y = torch.full((1, 1, 2, 2), 0.3), torch.tensor([0])
    found = variant(25.5, steps=3, step=1.275, restarts=2).perturb(linear_model, x, y)
    torch.testing.assert_close(found, torch.full_like(x, expected), rtol=0, atol=1e-6)
