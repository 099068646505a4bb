"""The frontend of our own checkpoints."""

from __future__ import annotations

from pathlib import Path

from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.formats import TrainedFrontend
from spikeproof.io.kinds import is_kind


def is_checkpoint(path: Path) -> bool:
    """Tell from its header whether a file is one of our checkpoints."""
    return is_kind(path, "checkpoint") and path.stat().st_size > 0


CHECKPOINT = TrainedFrontend("checkpoint", is_checkpoint, load_checkpoint)
