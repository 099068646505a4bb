"""Perturbations of images: noise, FGSM and PGD as value objects."""

from spikeproof.attacks.base import Attack, GaussianNoise
from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.gradient import FGSM, PGD
from spikeproof.attacks.images import perturb_images, perturb_worst, project_to_grid

__all__ = [
    "FGSM",
    "PGD",
    "Attack",
    "Estimator",
    "GaussianNoise",
    "perturb_images",
    "perturb_worst",
    "project_to_grid",
]
