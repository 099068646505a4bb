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
    """Return what the record says about the training data; what it cannot mean counts as absent."""
    record = checkpoint.training
    chosen = [row.clean for row in record.history or () if row.epoch == record.selected_epoch]
    accuracy = chosen[0] if chosen else None
    digest = record.training_data_sha256
    known = accuracy if accuracy is not None and 0 <= accuracy <= 1 else None
    return Trained(training_set(digest), digest, known)
