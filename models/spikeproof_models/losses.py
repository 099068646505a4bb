"""Membrane-potential perturbation dynamics, and the joint objective built on them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def perturbation_dynamics(difference: Tensor, leak: float) -> Tensor:
    """Filter a difference of input currents as a membrane that never spikes would.

    y[t] = leak * y[t-1] + difference[t], starting from 0.

    Args:
        difference: clean minus perturbed current, (T, B, ...).
        leak: the neuron's leak, 0..1.

    Returns:
        y, the same shape.

    Source: "Robust Stable Spiking Neural Networks", ICML 2024, simplified MPPD.
    """
    y = torch.zeros_like(difference[0])
    steps = []
    for step in difference:
        y = y * leak + step
        steps.append(y)
    return torch.stack(steps)


def ms_mppd_loss(
    clean: Tensor,
    perturbed: Tensor,
    leak: float,
    gain: Tensor | None = None,
    *,
    detach_clean: bool = True,
) -> Tensor:
    """Return the mean over time, batch and neurons of the squared perturbation dynamics.

    By default, and in the paper's code, the clean current is detached: only the perturbed run is
    pulled towards the clean one. Both runs share their weights, so a step that moves the perturbed
    current moves the clean one too, and it moves it further where clean images make more spikes
    below: the difference can then grow. ``detach_clean=False`` gives the true gradient.

    Args:
        clean: current of the last spiking layer before its gain, (T, B, ...).
        perturbed: the same for the perturbed images.
        leak: the layer's leak.
        gain: (T,) to weight the currents as a DLIF layer does; the paper's code leaves it out.
        detach_clean: stop the gradient at the clean current.

    Source: "Robust Stable Spiking Neural Networks", ICML 2024, mean-square MPPD loss.
    """
    difference = (clean.detach() if detach_clean else clean) - perturbed
    if gain is not None:
        difference = difference * gain.reshape(-1, *[1] * (difference.ndim - 1))
    return perturbation_dynamics(difference, leak).square().mean()


def joint_objective(
    clean_logits: Tensor, perturbed_logits: Tensor, y: Tensor, chi: float
) -> Tensor:
    """Return chi * CE(clean) + (1 - chi) * CE(perturbed); logits (B, K), labels (B,)."""
    clean = F.cross_entropy(clean_logits, y)
    return chi * clean + (1 - chi) * F.cross_entropy(perturbed_logits, y)
