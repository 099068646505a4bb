"""Recorded rows lie on the layer's own clock."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.errors import TargetError
from spikeproof_lava.tape import Tape, TapeSpec


def test_rows_follow_the_layers_clock_and_other_steps_are_ignored(tmp_path: Path) -> None:
    spec = TapeSpec(tmp_path, layer=1, start=2, steps=4, neurons=3, timesteps=2)
    spec.create()
    tape = Tape(spec)
    for time_step in range(1, 9):
        state = np.full(3, time_step)
        tape.record(time_step, state, -state, state > 4)
    u, v, s = (np.load(spec.path(field)) for field in "uvs")
    assert u[:, 0].tolist() == [3, 4, 5, 6]
    assert v[:, 2].tolist() == [-3, -4, -5, -6]
    assert s[:, 1].tolist() == [0, 0, 1, 1]


def test_full_disk_is_an_error_with_the_size_and_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    spec = TapeSpec(tmp_path, layer=0, start=0, steps=1000, neurons=1000, timesteps=4)
    with pytest.raises(TargetError, match=r"9\.0 MB .*No space left") as caught:
        spec.create()
    assert "TMPDIR" in str(caught.value.hint)
