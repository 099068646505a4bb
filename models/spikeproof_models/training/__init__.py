"""Training from a recipe: one TOML file in, one checkpoint out."""

from spikeproof_models.recipe import Recipe, load_recipe
from spikeproof_models.training.loop import train

__all__ = ["Recipe", "load_recipe", "train"]
