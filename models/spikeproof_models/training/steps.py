"""What happens inside an epoch: batches, augmentation, objective, held-out figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from spikeproof.attacks import PGD, Attack
from spikeproof.errors import SpikeproofError
from spikeproof_models.datasets import ImageSet
from spikeproof_models.losses import joint_objective, ms_mppd_loss
from spikeproof_models.networks import SpikingNetwork, surrogate_width
from spikeproof_models.neurons import LifLayer
from spikeproof_models.recipe import DataConfig, Recipe

_EVALUATION_BATCH = 500


class TrainingError(SpikeproofError):
    """Training cannot go on: the loss is no longer a number."""


@dataclass(frozen=True)
class TrainingProgress:
    """One tick for whoever shows progress: steps done of all steps, and the latest figures."""

    done: int
    total: int
    message: str
    epoch_done: bool = False


ProgressCallback = Callable[[TrainingProgress], None]


def seeded(seed: int, epoch: int, purpose: int) -> torch.Generator:
    """Return the generator for one purpose in one epoch of a run."""
    word = np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


def batches(
    images: ImageSet, recipe: Recipe, epoch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the epoch's batches, x float in [0, 1], in an order that (seed, epoch) decides."""
    order = torch.randperm(len(images), generator=seeded(recipe.seed, epoch, 0)).numpy()
    generator = seeded(recipe.seed, epoch, 1)
    for start in range(0, len(order), recipe.optimiser.batch_size):
        part = images.take(order[start : start + recipe.optimiser.batch_size])
        x = augment(torch.from_numpy(part.x), recipe.data, generator)
        yield to_unit(x, device), torch.from_numpy(part.y).to(device)


def to_unit(x: Tensor, device: torch.device) -> Tensor:
    """Return 8-bit images as float32 in [0, 1]."""
    return x.to(device).float() / 255


def augment(x: Tensor, config: DataConfig, generator: torch.Generator) -> Tensor:
    """Return randomly cropped (after padding) and flipped images, one draw per image."""
    if config.crop_padding:
        pad, (height, width) = config.crop_padding, x.shape[2:]
        padded = F.pad(x, (pad, pad, pad, pad))
        top, left = torch.randint(0, 2 * pad + 1, (2, len(x), 1, 1), generator=generator)
        rows = (top + torch.arange(height).reshape(1, -1, 1))[:, None]
        columns = (left + torch.arange(width).reshape(1, 1, -1))[:, None]
        sample = torch.arange(len(x)).reshape(-1, 1, 1, 1)
        channel = torch.arange(x.shape[1]).reshape(1, -1, 1, 1)
        x = padded[sample, channel, rows, columns]
    if config.flip:
        chosen = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(chosen.reshape(-1, 1, 1, 1), x.flip(3), x)
    return x


def training_loss(
    model: SpikingNetwork,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    attack: Attack | None,
    generator: torch.Generator,
) -> Tensor:
    """Return the objective of one batch.

    Clean and perturbed images go through as one batch, so the batch statistics (and the running
    ones used later) are those of the mixture the network is trained on.
    """
    if attack is None:
        return F.cross_entropy(model(x), y)
    with surrogate_width(model, _draw_width(recipe, generator)):
        perturbed = attack.perturb(model, x, y, generator)
    config = recipe.objective
    if config.chi == 0 and config.rho == 0:
        return F.cross_entropy(model(perturbed), y)
    result = model.last_current(torch.cat([x, perturbed]))
    clean_logits, perturbed_logits = result.logits.chunk(2)
    loss = joint_objective(clean_logits, perturbed_logits, y, config.chi)
    if config.rho > 0:
        clean, other = result.current.chunk(2, dim=1)
        last = next(m for m in reversed(model.layers) if isinstance(m, LifLayer))
        leak = float(last.node.leak)  # recipes build neurons that are alike
        gain = result.gain if config.mppd_with_gain else None
        mppd = ms_mppd_loss(clean, other, leak, gain, detach_clean=config.detach_clean)
        loss = loss + config.rho * mppd
    return loss


def check_finite(loss: float, epoch: int, step: int) -> None:
    """Stop a run whose loss left the numbers.

    Raises:
        TrainingError: the loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} in epoch {epoch + 1}, step {step + 1}",
            hint="Lower optimiser.learning_rate or objective.rho; the last whole epoch is saved.",
        )


def correct(
    model: SpikingNetwork,
    images: ImageSet,
    device: torch.device,
    attack: Attack | None = None,
    generator: torch.Generator | None = None,
) -> NDArray[np.bool_]:
    """Return for each image whether it is classified correctly, perturbed if asked for."""
    model.eval()
    parts = []
    for start in range(0, len(images), _EVALUATION_BATCH):
        x = to_unit(torch.from_numpy(images.x[start : start + _EVALUATION_BATCH]), device)
        y = torch.from_numpy(images.y[start : start + _EVALUATION_BATCH]).to(device)
        if attack is not None:
            x = attack.perturb(model, x, y, generator)
        with torch.no_grad():
            parts.append((model(x).argmax(1) == y).cpu().numpy())
    return np.concatenate(parts)


def held_out_figures(
    model: SpikingNetwork, held_out: ImageSet, recipe: Recipe, epoch: int, device: torch.device
) -> dict[str, float]:
    """Return clean accuracy, perturbed accuracy for robust modes, and the score that selects.

    Perturbed: under the noise that the network is trained with, or, whatever the attack it is
    trained with, under PGD at that strength with every half-width of the surrogate listed.
    """
    clean = float(correct(model, held_out, device).mean())
    attack = recipe.perturbation.attack()
    if attack is None:
        return {"clean": clean, "score": clean}
    config, generator = recipe.selection, seeded(recipe.seed, epoch, 3)
    widths = config.surrogate_widths
    if not attack.adversarial:
        widths = (1.0,)  # noise asks for no gradient
    else:
        attack = PGD(recipe.perturbation.strength, steps=config.pgd_steps)
    some = held_out.take(np.arange(min(config.pgd_images, len(held_out))))
    robust = np.ones(len(some), np.bool_)
    for width in widths:
        with surrogate_width(model, width):
            robust &= correct(model, some, device, attack, generator)
    perturbed = float(robust.mean())
    return {"clean": clean, "perturbed": perturbed, "score": (clean + perturbed) / 2}


def _draw_width(recipe: Recipe, generator: torch.Generator) -> float:
    widths = recipe.perturbation.surrogate_widths
    return widths[int(torch.randint(len(widths), (), generator=generator))]
