"""The recipe: everything that decides what a training run does, in one TOML file.

Needs no torch, so that ``inspect`` checks a recipe where nothing is trained.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from spikeproof.attacks.base import Attack
from spikeproof.attacks.estimators import MIN_WIDTH
from spikeproof.attacks.registry import ATTACKS
from spikeproof.io.options import merged_options
from spikeproof.ir.floats import FloatNetwork
from spikeproof_models import builders
from spikeproof_models.datasets import DatasetName
from spikeproof_models.neuron_choices import DEFAULT_LEAK, GainForm, NeuronKind, snap_leak

Count = Annotated[int, Field(ge=1)]
Width = Annotated[float, Field(ge=MIN_WIDTH)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Strict):
    """Which images, and how many of the training split only serve to choose the epoch."""

    dataset: DatasetName = "fashion-mnist"
    held_out: int = Field(
        default=5000, ge=1, description="images that only choose the epoch (validation)"
    )
    limit: int | None = Field(
        default=None, ge=1, description="use only the first images (for tests)"
    )
    crop_padding: int = Field(default=0, ge=0, le=16, description="random crop after zero padding")
    flip: bool = Field(default=False, description="random horizontal flip")


class NetworkConfig(_Strict):
    """The architecture and its neuron; channels and hidden are those of mlp and small-conv."""

    architecture: Literal["mlp", "small-conv", "vgg5", "vgg11", "wrn16"] = "small-conv"
    channels: tuple[Count, ...] = (24, 48)
    hidden: tuple[Count, ...] = (128,)
    width_divisor: int = Field(default=1, ge=1)
    neuron: NeuronKind = "lif"
    gain: GainForm = "positive"
    timesteps: int = Field(default=4, ge=1, le=4096)
    leak: float = Field(default=DEFAULT_LEAK, ge=0, le=1)
    leak_on_grid: bool = Field(default=True, description="snap the leak to multiples of 1/4096")
    threshold: float = Field(default=1.0, gt=0)
    strict: bool = True


class PerturbationConfig(_Strict):
    """What the perturbed half of the objective sees; strength in grey levels (1/255)."""

    mode: str = "natural"
    strength: float = Field(default=8.0, ge=0, le=255)
    random_start: bool = True
    step: float | None = Field(
        default=None, gt=0, description="grey levels; default as in the attack"
    )
    steps: int = Field(default=7, ge=1)
    surrogate_widths: tuple[Width, ...] = Field(
        default=(1.0,), min_length=1, description="half-widths, one drawn per attacked batch"
    )

    @field_validator("mode")
    @classmethod
    def _known(cls, mode: str) -> str:
        known = ["natural", *ATTACKS.names()]
        if mode not in known:
            raise ValueError(f"Input should be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}")
        return mode

    def attack(self) -> Attack | None:
        """Return the perturbation as an attack, None for natural training."""
        if self.mode == "natural":
            return None
        kind = ATTACKS.get(self.mode)
        return kind.at(self.strength, self.steps, step=self.step, random_start=self.random_start)


class ObjectiveConfig(_Strict):
    """chi CE(clean) + (1 - chi) CE(perturbed) + rho L_MS."""

    chi: float = Field(default=0.5, ge=0, le=1)
    rho: float = Field(default=0.0, ge=0)
    detach_clean: bool = Field(default=True, description="as in the paper's code")
    mppd_with_gain: bool = Field(
        default=False, description="weight the MPPD currents by the DLIF gain"
    )


class OptimiserConfig(_Strict):
    """Optimiser with a cosine schedule to zero; decay applies to weights only."""

    kind: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(default=2e-3, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=10, ge=1)


class SelectionConfig(_Strict):
    """How the epoch is chosen on the held-out images (never on test images).

    An image counts as robust if PGD fails with every surrogate width listed; of a network trained
    with noise, if that noise fails.
    """

    pgd_steps: int = Field(default=10, ge=1)
    pgd_images: int = Field(default=1000, ge=1)
    surrogate_widths: tuple[Width, ...] = Field(default=(0.25, 0.5, 1.0), min_length=1)


class Recipe(_Strict):
    """A training run.

    Equal recipes and data give equal checkpoints on the CPU of one machine with one number of
    threads and one version of torch; a GPU does not promise equal bits.
    """

    name: str
    description: str = ""
    seed: int = Field(default=0, ge=0)
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    perturbation: PerturbationConfig = PerturbationConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    selection: SelectionConfig = SelectionConfig()

    @field_validator("name")
    @classmethod
    def _names_files(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise ValueError(
                "name becomes the name of files: letters A-Z and a-z, digits, '_', '.' and '-', a "
                "letter or digit first, at least 1 and at most 64 characters"
            )
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.perturbation.mode == "natural" and self.objective.rho > 0:
            raise ValueError("rho needs a perturbation: set perturbation.mode")
        return self

    def build_network(self) -> FloatNetwork:
        """Return the untrained network this recipe starts from."""
        net = self.network
        leak = snap_leak(net.leak) if net.leak_on_grid else net.leak
        neuron = builders.NeuronSpec(net.neuron, leak, net.threshold, net.strict, net.timesteps)
        shape = (3, 32, 32) if self.data.dataset == "cifar10" else (1, 28, 28)
        if net.architecture in ("mlp", "small-conv"):
            return builders.small_conv(
                self.name,
                input_shape=shape,
                channels=net.channels if net.architecture == "small-conv" else (),
                hidden=net.hidden,
                neuron=neuron,
                seed=self.seed,
            )
        build = builders.wrn if net.architecture == "wrn16" else builders.vgg
        return build(
            int(net.architecture[3:]),
            self.name,
            input_shape=shape,
            neuron=neuron,
            width_divisor=net.width_divisor,
            seed=self.seed,
        )


def load_recipe(path: Path | str) -> Recipe:
    """Read a recipe.

    Raises:
        InputError: unreadable, not TOML, or wrong; every problem is listed with its key.
    """
    return merged_options(Recipe, Path(path), {})
