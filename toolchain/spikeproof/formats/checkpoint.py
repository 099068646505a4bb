"""The frontend of our own checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spikeproof.io.formats import TrainedFrontend

if TYPE_CHECKING:
    from spikeproof.io.checkpoint import Checkpoint


def is_checkpoint(path: Path) -> bool:
    """Tell from its header whether a file is one of our checkpoints."""
    from spikeproof.io.kinds import is_kind

    return is_kind(path, "checkpoint") and path.stat().st_size > 0


def load(path: Path) -> Checkpoint:
    """Read a checkpoint (see load_checkpoint)."""
    from spikeproof.io.checkpoint import load_checkpoint

    return load_checkpoint(path)


CHECKPOINT = TrainedFrontend("checkpoint", is_checkpoint, load)
