"""The perturbation dynamics and the loss against trajectories computed by hand."""

from __future__ import annotations

import math

import torch

from spikeproof_models.losses import joint_objective, ms_mppd_loss, perturbation_dynamics


def test_the_dynamics_filter_the_difference_without_any_reset():
    # leak 1/2: 4, 2+0=2, 1+8=9, 4.5-1=3.5
    y = perturbation_dynamics(torch.tensor([[4.0], [0.0], [8.0], [-1.0]]), 0.5)
    assert y.flatten().tolist() == [4.0, 2.0, 9.0, 3.5]


def test_the_loss_is_the_mean_square_over_time_batch_and_neurons():
    clean = torch.zeros(2, 1, 2)
    perturbed = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
    # neuron 1: -1, -.5; neuron 2: 0, -2: (1 + .25 + 0 + 4) / 4
    assert ms_mppd_loss(clean, perturbed, 0.5).item() == 5.25 / 4


def test_a_gain_weights_the_currents_of_its_step():
    clean, perturbed = torch.zeros(2, 1, 1), torch.ones(2, 1, 1)
    # y: -2, -1-3=-4: (4 + 16) / 2
    assert ms_mppd_loss(clean, perturbed, 0.5, torch.tensor([2.0, 3.0])).item() == 10


def test_only_the_perturbed_branch_is_pulled():
    clean = torch.zeros(3, 2, 2, requires_grad=True)
    perturbed = torch.ones(3, 2, 2, requires_grad=True)
    ms_mppd_loss(clean, perturbed, 0.9).backward()
    assert clean.grad is None
    assert bool((perturbed.grad > 0).all())


def test_both_branches_are_pulled_when_the_clean_one_is_not_detached():
    clean = torch.zeros(3, 2, 2, requires_grad=True)
    perturbed = torch.ones(3, 2, 2, requires_grad=True)
    ms_mppd_loss(clean, perturbed, 0.9, detach_clean=False).backward()
    assert torch.equal(clean.grad, -perturbed.grad)


def test_detaching_the_clean_branch_can_drive_the_two_apart():
    """One weight, two clean spikes and one perturbed: the detached step goes the wrong way."""
    weight = torch.tensor(1.0, requires_grad=True)
    clean, perturbed = (weight * torch.full((1, 1, 1), s) for s in (2.0, 1.0))
    (detached,) = torch.autograd.grad(ms_mppd_loss(clean, perturbed, 0.5), weight)
    clean, perturbed = (weight * torch.full((1, 1, 1), s) for s in (2.0, 1.0))
    loss = ms_mppd_loss(clean, perturbed, 0.5, detach_clean=False)
    (true,) = torch.autograd.grad(loss, weight)
    assert detached < 0 < true  # descent enlarges the weight, and with it the difference


def test_chi_mixes_the_two_cross_entropies():
    sure, even, y = torch.tensor([[100.0, 0.0]]), torch.zeros(1, 2), torch.tensor([0])
    assert math.isclose(
        joint_objective(sure, even, y, 0.25).item(), 0.75 * math.log(2), rel_tol=1e-6
    )
    assert math.isclose(
        joint_objective(even, sure, y, 0.25).item(), 0.25 * math.log(2), rel_tol=1e-6
    )
