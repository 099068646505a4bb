"""Training state on disk: model, optimiser, history and the best network so far.

All randomness of a run is a function of (seed, epoch, purpose), so a state at the end of an
epoch needs no generator states: continuing from it gives the same bits as never stopping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeproof.errors import InputError
from spikeproof.io import container
from spikeproof.io.files import canonical_json, sha256

KIND = "training-state"
SCHEMA = 1


@dataclass
class Progress:
    """Where a run stands after ``epoch`` whole epochs."""

    epoch: int
    history: list[dict[str, Any]]
    best_epoch: int
    best: dict[str, Tensor]


def save_state(
    path: Path, identity: dict[str, Any], model: nn.Module, optimiser: torch.optim.Optimizer,
    progress: Progress, device: str,
) -> None:  # fmt: skip
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
    document = {
        "identity": identity, "epoch": progress.epoch, "history": progress.history,
        "best_epoch": progress.best_epoch, "optimiser": scalars, "device": device,
    }  # fmt: skip
    arrays = {k: v.detach().cpu().numpy() for k, v in tensors.items()}
    container.write(path, KIND, SCHEMA, document, arrays)


def load_state(
    path: Path, identity: dict[str, Any], model: nn.Module, optimiser: torch.optim.Optimizer,
    device: str,
) -> Progress:  # fmt: skip
    """Restore model and optimiser in place and return where the run stood.

    Raises:
        BundleError: the file is damaged.
        InputError: it belongs to another recipe, other data or another kind of device.
    """
    document, arrays = container.read(path, KIND, SCHEMA)
    if sha256(canonical_json(document["identity"])) != sha256(canonical_json(identity)):
        odd = [k for k in identity if document["identity"].get(k) != identity[k]]
        raise InputError(
            f"belongs to another run: {', '.join(odd) or 'identity'} differs",
            where=str(path),
            hint="Choose another output folder, or start afresh without resuming.",
        )
    if (begun := document.get("device")) != device:
        raise InputError(
            f"was begun on {begun}, this is {device}: the bits would no longer be those of one run",
            where=str(path),
            hint=f"Go on with --device {begun}, or start afresh with --no-resume.",
        )
    model.load_state_dict(_part(arrays, "model"))
    _restore_optimiser(optimiser, _part(arrays, "optimiser"), document["optimiser"])
    return Progress(
        document["epoch"], document["history"], document["best_epoch"], _part(arrays, "best")
    )


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
    return {k[len(start) :]: torch.from_numpy(np.array(v))
            for k, v in arrays.items() if k.startswith(start)}  # fmt: skip
