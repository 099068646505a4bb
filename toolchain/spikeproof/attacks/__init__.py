"""Perturbations of images: noise, FGSM and PGD as value objects."""

from spikeproof.attacks.base import Attack
from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.fgsm import FGSM
from spikeproof.attacks.images import perturb_images, perturb_worst, project_to_grid
from spikeproof.attacks.noise import GaussianNoise
from spikeproof.attacks.pgd import PGD

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
