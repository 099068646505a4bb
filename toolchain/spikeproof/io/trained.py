"""What a checkpoint's training record says about the data it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from spikeproof.io.checkpoint import Checkpoint
from spikeproof.io.known import KnownSet, training_set


@dataclass(frozen=True)
class Trained:
    """What a training record says about the data: which set they are, and how often it was right.

    data: recognised by the recorded content hash; None: no published set, or nothing recorded.
    sha256: that hash, if recorded. accuracy: share of held-out images classified correctly by the
    chosen epoch, 0..1, if recorded.
    """

    data: KnownSet | None = None
    sha256: str | None = None
    accuracy: float | None = None


NOTHING = Trained()
"""Nothing is recorded."""


def trained_on(checkpoint: Checkpoint) -> Trained:
    """Return what the record says about the training data; what is malformed counts as absent."""
    record = checkpoint.training
    digest, history = record.get("training_data_sha256"), record.get("history")
    rows = [row for row in history if isinstance(row, dict)] if isinstance(history, list) else []
    chosen = [row.get("clean") for row in rows if row.get("epoch") == record.get("selected_epoch")]
    accuracy = chosen[0] if chosen and isinstance(chosen[0], int | float) else None
    return Trained(
        training_set(digest),
        digest if isinstance(digest, str) else None,
        float(accuracy) if accuracy is not None and 0 <= accuracy <= 1 else None,
    )
