"""Training state on disk: model, optimiser, history and the best network so far.

All randomness of a run is a function of (seed, epoch, purpose), so a state at the end of an
epoch needs no generator states: continuing from it gives the same bits as never stopping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, ValidationError, model_validator
from torch import Tensor, nn

from spikeproof.document.values import Record, dump, explain
from spikeproof.errors import BundleError, InputError, list_problems
from spikeproof.io import container
from spikeproof.io.files import canonical_json
from spikeproof.io.record import EpochRecord, Finite, Plan
from spikeproof.jobs.journal import list_changes

KIND = "training-state"
SCHEMA = 1


class Epoch(EpochRecord):
    """What one epoch gave; figures of the held-out images may stand beside these."""

    loss: Finite
    score: Finite


class StateDocument(Record):
    """The part of a state that is no tensor."""

    identity: dict[str, Any]
    epoch: int = Field(ge=1)
    history: list[Epoch]
    best_epoch: int = Field(ge=1)
    optimiser: dict[str, Finite | None]
    device: Annotated[str, Field(pattern="^(cpu|cuda)$")]
    plans: list[Plan] = Field(default_factory=list)

    @model_validator(mode="after")
    def _agree(self) -> StateDocument:
        if [entry.epoch for entry in self.history] != list(range(1, self.epoch + 1)):
            raise ValueError(f"the history is not that of epochs 1 to {self.epoch}")
        if self.best_epoch > self.epoch:
            raise ValueError(f"the best epoch is {self.best_epoch} of {self.epoch}")
        return self


@dataclass
class Progress:
    """Where a run stands after ``epoch`` whole epochs.

    plans: the numbers of epochs it was to have, if that changed on the way.
    """

    epoch: int
    history: list[Epoch]
    best_epoch: int
    best: dict[str, Tensor]
    plans: list[Plan] = field(default_factory=list)


def save_state(
    path: Path,
    identity: dict[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    device: str,
) -> None:
    """Write the state atomically; ``device`` is the kind the run computes on, cpu or cuda."""
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best/{k}": v for k, v in progress.best.items()}
    scalars: dict[str, Any] = {}
    for index, entry in optimiser.state_dict()["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{index}/{key}"] = value
            else:
                scalars[f"{index}/{key}"] = value
    document = StateDocument(
        identity=identity,
        epoch=progress.epoch,
        history=progress.history,
        best_epoch=progress.best_epoch,
        optimiser=scalars,
        device=device,
        plans=progress.plans,
    )
    arrays = {k: v.detach().cpu().numpy() for k, v in tensors.items()}
    container.write(path, KIND, SCHEMA, dump(document), arrays)


def load_state(
    path: Path,
    identity: dict[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    device: str,
) -> Progress:
    """Restore model and optimiser in place and return where the run stood.

    A recipe that differs in nothing but its number of epochs goes on; the change is noted in
    ``plans``, because the learning rate of the epochs before followed the other number.

    Raises:
        BundleError: the file is damaged, or holds what no run of this recipe can have left.
        InputError: it belongs to another recipe, other data or another kind of device, or the
            recipe ends before the epoch that was reached.
    """
    raw, arrays = container.read(path, KIND, SCHEMA)
    try:
        document = StateDocument.model_validate(raw)
    except ValidationError as error:
        raise BundleError(explain(error), where=str(path), hint=_AFRESH) from error
    plans = _check_identity(path, document, identity)
    if document.device != device:
        raise InputError(
            f"was begun on {document.device}, this is {device}: the bits would no longer be those "
            "of one run",
            where=str(path),
            hint=f"Go on with --device {document.device}, or start afresh with --no-resume.",
        )
    _check_tensors(path, arrays, model)
    try:
        model.load_state_dict(_part(arrays, "model"))
        _restore_optimiser(optimiser, _part(arrays, "optimiser"), document.optimiser)
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BundleError(
            f"does not fit the optimiser: {error}", where=str(path), hint=_AFRESH
        ) from error
    best = _part(arrays, "best")
    return Progress(document.epoch, document.history, document.best_epoch, best, plans)


_AFRESH = "Start afresh with --no-resume, or choose another output folder."


def _check_identity(path: Path, document: StateDocument, identity: dict[str, Any]) -> list[Plan]:
    """Compare with the run that is to go on, but for its number of epochs; return the plans."""
    before, planned = _without_epochs(document.identity)
    now, wanted = _without_epochs(identity)
    if canonical_json(before) != canonical_json(now):
        odd = list_changes(before, now)
        raise InputError(
            f"belongs to another run: {', '.join(odd) or 'identity differs'}",
            where=str(path),
            hint=_AFRESH,
        )
    if not isinstance(planned, int) or wanted < document.epoch:
        raise InputError(
            f"stands after epoch {document.epoch}, the recipe ends at {wanted}",
            where=str(path),
            hint=f"Set epochs to {document.epoch} or more, or start afresh with --no-resume.",
        )
    plans = document.plans or [Plan(from_epoch=1, epochs=planned)]
    changed = wanted != plans[-1].epochs
    return [*plans, Plan(from_epoch=document.epoch + 1, epochs=wanted)] if changed else plans


def _without_epochs(identity: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    recipe = dict(identity.get("recipe") or {})
    optimiser = dict(recipe.get("optimiser") or {})
    epochs = optimiser.pop("epochs", None)
    return {**identity, "recipe": {**recipe, "optimiser": optimiser}}, epochs


def _check_tensors(
    path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], model: nn.Module
) -> None:
    """Check that both networks in the state are this one, and that every number is finite."""
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    problems = [
        f"{name} holds values that are not finite"
        for name, array in arrays.items()
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all()
    ]
    for part in ("model", "best"):
        found = {k: tuple(v.shape) for k, v in _part(arrays, part).items()}
        problems += [
            f"{part}/{k} has shape {found.get(k)}, expected {expected.get(k)}"
            for k in sorted(found.keys() | expected.keys())
            if found.get(k) != expected.get(k)
        ]
    if problems:
        raise BundleError(list_problems(problems), where=str(path), hint=_AFRESH)


def _restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]
) -> None:
    content = optimiser.state_dict()
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **scalars}.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": content["param_groups"]})


def _part(arrays: Mapping[str, np.ndarray[Any, Any]], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {
        k[len(start) :]: torch.from_numpy(np.array(v))
        for k, v in arrays.items()
        if k.startswith(start)
    }
