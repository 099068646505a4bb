"""The training run: epochs, checkpoints, resume, choice of the epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikeproof.document.values import dump
from spikeproof.errors import InputError
from spikeproof.io.checkpoint import Checkpoint, save_checkpoint
from spikeproof.io.files import held, make_folder
from spikeproof.io.known import DataRecord, describe
from spikeproof.io.record import TrainingRecord
from spikeproof.text import counted
from spikeproof_models.datasets import ImageSet, hold_out, load_dataset
from spikeproof_models.networks import SpikingNetwork
from spikeproof_models.neurons import LifLayer
from spikeproof_models.recipe import OptimiserConfig, Recipe, load_recipe
from spikeproof_models.training.state import Epoch, Progress, load_state, save_state
from spikeproof_models.training.steps import (
    ProgressCallback,
    TrainingProgress,
    batches,
    check_finite,
    held_out_figures,
    seeded,
    training_loss,
)


def train(
    recipe_path: Path | str,
    output: Path | str,
    *,
    data_dir: Path | str | None = None,
    resume: bool = True,
    device: str | None = None,
    progress: ProgressCallback | None = None,
    note: Callable[[str], None] | None = None,
) -> Path:
    """Train a network as its recipe says and return the path of its checkpoint.

    After every epoch ``output/NAME.state`` is replaced; a run that was stopped continues from
    it with the same result as if it had not been stopped (on the CPU of one machine, with the same
    number of threads and the same torch).

    Args:
        recipe_path: the TOML file.
        output: folder for ``NAME.state`` and ``NAME.ckpt``; made if absent.
        data_dir: folder of the data set, where the usual places do not hold it.
        resume: continue from a state found in ``output``; otherwise it is overwritten.
        device: "cpu" or "cuda"; by default a GPU if there is one.
        progress: called after every step and epoch.
        note: called with a line on what the data are, recognised by content, and with one where
            a run goes on with other epochs or had already finished.

    Raises:
        InputError: recipe, data or output folder are not usable, the state is of another run, or
            another process trains this recipe into this folder.
        TrainingError: the loss became NaN or infinite.
    """
    recipe = load_recipe(recipe_path)
    chosen = _choose_device(device)  # a wrong name is found before the images are read
    folder = None if data_dir is None else Path(data_dir)
    images = load_dataset(recipe.data.dataset, "train", folder)
    data = describe(images.x, images.y).used(recipe.data.limit)
    if note is not None:
        note(f"training data: {data.text()}")
    made = Path(output)
    make_folder(made)
    run = _Run(recipe, images, data, made, chosen, progress, note)
    with held(made / f"{recipe.name}.state"):
        return run.complete(resume)


@dataclass
class _Run:
    """One training run; everything derived from the recipe is made in :meth:`complete`."""

    recipe: Recipe
    images: ImageSet
    data: DataRecord
    output: Path
    device: torch.device
    callback: ProgressCallback | None
    note: Callable[[str], None] | None

    def complete(self, resume: bool) -> Path:
        recipe = self.recipe
        identity = _identity(recipe, self.images)
        if recipe.data.limit is not None:
            some = slice(recipe.data.limit)
            self.images = ImageSet(self.images.x[some], self.images.y[some])
        part, held_out = hold_out(self.images, recipe.data.held_out, recipe.seed)
        model = SpikingNetwork(recipe.build_network(), recipe.network.gain).to(self.device)
        optimiser = make_optimiser(model, recipe.optimiser)
        state_path = self.output / f"{recipe.name}.state"
        standing = Progress(0, [], 0, {})
        if resume and state_path.exists():
            standing = load_state(state_path, identity, model, optimiser, self.device.type)
            self._note_plans(standing)
            if standing.epoch == recipe.optimiser.epochs and self.note is not None:
                self.note(
                    f"already finished after {counted(standing.epoch, 'epoch')}; nothing "
                    "was trained"
                )
        for epoch in range(standing.epoch, recipe.optimiser.epochs):
            loss = self._epoch(model, optimiser, part, epoch)
            figures = held_out_figures(model, held_out, recipe, epoch, self.device)
            _note_epoch(standing, model, Epoch(epoch=epoch + 1, loss=loss, **figures))
            save_state(state_path, identity, model, optimiser, standing, self.device.type)
            self._tell_epoch(standing, len(part))
        return self._write(model, identity, standing)

    def _note_plans(self, standing: Progress) -> None:
        """Say that a run goes on with another number of epochs, and what that does to it."""
        if (
            self.note is None
            or len(standing.plans) < 2
            or standing.plans[-1].from_epoch != (standing.epoch + 1)
        ):
            return
        before, now = standing.plans[-2:]
        self.note(
            f"epochs changed from {before.epochs} to {now.epochs} after epoch {standing.epoch}: "
            f"the learning rate up to here fell as for {before.epochs}, so this is not the result "
            "of one run"
        )

    def _epoch(
        self, model: SpikingNetwork, optimiser: torch.optim.Optimizer, part: ImageSet, epoch: int
    ) -> float:
        recipe, total = self.recipe, 0.0
        attack, generator = recipe.perturbation.attack(), seeded(recipe.seed, epoch, 2)
        steps = math.ceil(len(part) / recipe.optimiser.batch_size)
        model.train()
        for step, (x, y) in enumerate(batches(part, recipe, epoch, self.device)):
            _set_rate(optimiser, recipe.optimiser, (epoch * steps + step), steps)
            loss = training_loss(model, x, y, recipe, attack, generator)
            check_finite(value := float(loss.detach()), epoch, step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += value
            message = (
                f"epoch {epoch + 1} of {recipe.optimiser.epochs}, step {step + 1:,} of {steps:,}, "
                f"loss {value:.3f}"
            )
            self._tell(epoch * steps + step + 1, steps, message)
        return total / steps

    def _tell(self, done: int, steps: int, message: str, epoch_done: bool = False) -> None:
        if self.callback is not None:
            total = self.recipe.optimiser.epochs * steps
            self.callback(TrainingProgress(done, total, message, epoch_done))

    def _tell_epoch(self, standing: Progress, images: int) -> None:
        steps = math.ceil(images / self.recipe.optimiser.batch_size)
        last = standing.history[-1]
        words = " ".join(f"{k} {v:.4f}" for k, v in dump(last).items() if k != "epoch")
        self._tell(standing.epoch * steps, steps, f"epoch {standing.epoch} done: {words}", True)

    def _write(self, model: SpikingNetwork, identity: dict[str, Any], standing: Progress) -> Path:
        model.load_state_dict(standing.best)
        record = TrainingRecord(
            **identity,
            data=self.data,
            selected_epoch=standing.best_epoch,
            selected_by="held-out images of the training split",
            history=list(standing.history),
            torch=torch.__version__,
        )
        if len(standing.plans) > 1:
            record = record.model_copy(update={"plans": standing.plans})
        path = self.output / f"{self.recipe.name}.ckpt"
        save_checkpoint(path, Checkpoint(model.export(), record))
        return path


def make_optimiser(model: SpikingNetwork, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Return the optimiser; weight decay touches weights only, never biases, BN or gains."""
    gains = {id(m.raw_gain) for m in model.layers if isinstance(m, LifLayer)}
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for parameter in model.parameters():
        heavy = parameter.ndim > 1 and id(parameter) not in gains
        (decayed if heavy else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.Adam(groups, lr=config.learning_rate)


def _set_rate(
    optimiser: torch.optim.Optimizer, config: OptimiserConfig, done: int, steps: int
) -> None:
    share = done / (config.epochs * steps)
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def _note_epoch(standing: Progress, model: SpikingNetwork, figures: Epoch) -> None:
    best = max((h.score for h in standing.history), default=-1.0)
    standing.history.append(figures)
    standing.epoch = figures.epoch
    if figures.score > best:
        best_now = {k: v.detach().clone() for k, v in model.state_dict().items()}
        standing.best_epoch, standing.best = standing.epoch, best_now


def _identity(recipe: Recipe, images: ImageSet) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "training_images": len(images),
        "training_data_sha256": images.content_hash(),
    }


def _choose_device(name: str | None) -> torch.device:
    usable = torch.cuda.is_available()
    if name not in (None, "cpu", "cuda"):
        has = "a GPU: both can be used" if usable else "no usable GPU: only cpu can be used"
        raise InputError(
            f"no device {name!r}: it is cpu or cuda (the first GPU); this machine has {has}",
            where="--device",
            hint=f"Use --device {'cuda' if usable else 'cpu'}, or leave it out.",
        )
    if name == "cuda" and not usable:
        raise InputError(
            "this machine has no usable GPU", where="--device", hint="Use --device cpu."
        )
    return torch.device(name or ("cuda" if usable else "cpu"))
