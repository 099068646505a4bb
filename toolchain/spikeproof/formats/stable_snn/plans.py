"""The networks of the reference code that can be read, by name."""

from __future__ import annotations

POOL = "pool"
PLANS: dict[str, tuple[tuple[str, ...], ...]] = {
    "vgg5": (("conv", POOL), ("conv", "conv", POOL)),
    "vgg11": (
        ("conv", POOL),
        ("conv", "conv", POOL),
        ("conv", "conv", "conv", POOL),
        ("conv", "conv"),
    ),
}
"""The blocks ``layer1``, ``layer2``, ... of each VGG; three dense layers follow."""
RESIDUAL = {"wrn16": 2}
"""Blocks in each of the three groups ``block1``, ``block2``, ``block3`` of each wide ResNet."""
ARCHITECTURES = (*PLANS, *RESIDUAL)
