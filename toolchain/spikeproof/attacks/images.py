"""Perturb 8-bit images: the result is again 8-bit and inside the ball."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.base import Attack
from spikeproof.attacks.corruptions import Corruption
from spikeproof.attacks.estimators import Estimator
from spikeproof.engines.floats import run_float
from spikeproof.engines.trace import Progress
from spikeproof.errors import InputError
from spikeproof.extras import need
from spikeproof.ir.floats import FloatNetwork
from spikeproof.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    Build = Callable[[FloatNetwork, Estimator], nn.Module]

Images = NDArray[np.uint8]
DEFAULT = Estimator()
MODULES: Registry[Build] = Registry(
    "builder of torch modules",
    "spikeproof.modules",
    {"spikeproof_models": "spikeproof_models.networks:attacked_module"},
)
"""How a float network becomes a module whose spikes pass gradients as an estimator says: the one
place where attacks need a training package, which is found by name."""


def project_to_grid(found: NDArray[Any], original: Images, radius: float | None) -> Images:
    """Round images in [0, 1] to 8 bits, keeping every pixel within ``radius`` of the original.

    Args:
        found: float (N, C, H, W) in [0, 1].
        original: the images they were made from.
        radius: bound in grey levels, or None. A fraction of a level is cut down.
    """
    grey = np.rint(np.asarray(found, np.float64) * 255)
    if radius is not None:
        levels = np.floor(radius + 1e-6)
        base = original.astype(np.float64)
        grey = np.clip(grey, base - levels, base + levels)
    return np.clip(grey, 0, 255).astype(np.uint8)


def perturb_images(
    attack: Attack,
    network: FloatNetwork,
    x: Images,
    y: NDArray[Any],
    *,
    seed: int,
    estimator: Estimator = DEFAULT,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Images:
    """Return the perturbed images of a network as uint8 (N, C, H, W).

    Equal arguments give equal results on one machine and thread count.

    Args:
        attack: what to do to the images.
        network: the network whose gradients are used.
        x: uint8 (N, C, H, W).
        y: labels (N,).
        seed: of all random draws.
        estimator: how the gradient is taken.
        batch_size: images per step; it takes part in the order of the draws.
        progress: called with (images done, images in all).

    Raises:
        InputError: arrays of the wrong type or shape, a radius that is no whole number of grey
            levels, an estimator of twins. MissingExtraError: torch is absent, and the attack is no
            corruption.
    """
    labels = np.asarray(y, np.int64)
    _check(network, x, labels)
    _check_attack(attack)
    if isinstance(attack, Corruption):
        return _corrupted(attack, x, seed, batch_size, progress)
    if estimator.of_twins:
        raise InputError(
            f"only twins take gradients with {estimator.name!r}",
            where=attack.label,
            hint="A suite does: spikeproof attack.",
        )
    need("torch", extra="torch", purpose="gradient attacks")
    import torch

    # Gradients are taken with respect to the image only.
    module = MODULES.get("spikeproof_models")(network, estimator).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    result = np.empty_like(x)
    radius = attack.strength if attack.bounded else None
    for start in range(0, len(x), batch_size):
        part = slice(start, min(start + batch_size, len(x)))
        images = torch.from_numpy(x[part].astype(np.float32) / np.float32(255))
        found = attack.perturb(module, images, torch.from_numpy(labels[part]), generator)
        result[part] = project_to_grid(found.numpy(), x[part], radius)
        if progress is not None:
            progress(part.stop, len(x))
    return result


def _corrupted(
    attack: Corruption, x: Images, seed: int, batch_size: int, progress: Progress | None
) -> Images:
    rng, result = np.random.default_rng(seed), np.empty_like(x)
    for start in range(0, len(x), batch_size):
        part = slice(start, min(start + batch_size, len(x)))
        result[part] = attack.corrupt(x[part], rng)
        if progress is not None:
            progress(part.stop, len(x))
    return result


def perturb_worst(
    attack: Attack,
    network: FloatNetwork,
    x: Images,
    y: NDArray[Any],
    *,
    seed: int,
    estimators: Sequence[Estimator],
    batch_size: int = 256,
) -> tuple[Images, NDArray[np.bool_]]:
    """Try a gradient attack with each estimator in turn on the images that still survive.

    A network can hide its gradient from one estimator; it must hide it from all. An image that
    once fooled the network stays as it was then. One that survives all keeps its last version,
    which need not be the one of highest loss. Images the network gets wrong unperturbed are
    attacked like all others. Other arguments as in :func:`perturb_images`.

    Returns:
        The images, and bool (E, N): whether the network has withstood this estimator and all
        before it. The first row is what the first estimator leaves alone.
    """
    if not estimators:
        raise InputError("no estimator: the attack would be off", where=attack.label)
    found, survives = x.copy(), np.ones(len(x), np.bool_)
    right = []
    for i, estimator in enumerate(estimators):
        left = np.flatnonzero(survives)
        if len(left):
            found[left] = perturb_images(
                attack,
                network,
                x[left],
                y[left],
                seed=seed + i,
                estimator=estimator,
                batch_size=batch_size,
            )
            survives[left] = run_float(network, found[left]).predictions == y[left]
        right.append(survives.copy())
    return found, np.stack(right)


def _check(network: FloatNetwork, x: NDArray[Any], y: NDArray[Any]) -> None:
    if x.dtype != np.uint8 or x.shape[1:] != tuple(network.input_shape):
        raise InputError(
            f"images are {x.dtype} {x.shape}, expected uint8 (N, {network.input_shape})"
        )
    if y.shape != x.shape[:1]:
        raise InputError(f"labels have shape {y.shape}, expected {x.shape[:1]}")


def _check_attack(attack: Attack) -> None:
    if attack.bounded and abs(attack.strength - round(attack.strength)) > 1e-6:
        raise InputError(
            f"the radius is {attack.strength:g} grey levels, expected a whole number",
            where=attack.label,
            hint="Images are 8-bit: a fraction of a level would not be used, though claimed.",
        )
