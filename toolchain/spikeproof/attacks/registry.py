"""All attacks by kind: what suites, cards, recipes and reports may name."""

from __future__ import annotations

from spikeproof.attacks.base import Attack
from spikeproof.registry import Registry

ATTACKS: Registry[type[Attack]] = Registry(
    "attack",
    "spikeproof.attacks",
    {
        "gaussian": "spikeproof.attacks.noise:GaussianNoise",
        "impulse": "spikeproof.attacks.corruptions:ImpulseNoise",
        "shift": "spikeproof.attacks.corruptions:Shift",
        "contrast": "spikeproof.attacks.corruptions:Contrast",
        "fgsm": "spikeproof.attacks.fgsm:FGSM",
        "pgd": "spikeproof.attacks.pgd:PGD",
        "apgd": "spikeproof.attacks.walks:APGD",
        "sa-pgd": "spikeproof.attacks.walks:SAPGD",
        "rfgsm": "spikeproof.attacks.plain:RFGSM",
        "bim": "spikeproof.attacks.plain:BIM",
        "momentum-pgd": "spikeproof.attacks.walks:MomentumPGD",
        "square": "spikeproof.attacks.square:Square",
        "rays": "spikeproof.attacks.rays:RayS",
    },
)


def adversarial_kinds() -> tuple[str, ...]:
    """Return the kinds under which an accuracy is an upper bound."""
    return tuple(kind for kind, attack in ATTACKS.all().items() if attack.adversarial)
