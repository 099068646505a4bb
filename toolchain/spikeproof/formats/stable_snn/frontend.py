"""The frontend of the reference code's state dicts: chosen by name, for any file looks like one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from spikeproof.formats.stable_snn.settings import ADVICE, StableSettings
from spikeproof.io.formats import TrainedFrontend

if TYPE_CHECKING:
    from spikeproof.io.checkpoint import Checkpoint

_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 64


def load(path: Path, settings: StableSettings) -> Checkpoint:
    """Read a state dict as the network that the reference code would load it into.

    Raises:
        InputError: no state dict, or not that of the architecture; everything is listed.
        GraphError: it holds numbers that no network may have.
        MissingExtraError: torch is not installed.
    """
    from spikeproof.formats.stable_snn.network import build_network
    from spikeproof.formats.torch_state import read_state
    from spikeproof.io.checkpoint import Checkpoint
    from spikeproof.io.files import read_bytes, sha256

    data = read_bytes(path)
    state = read_state(data, str(path))
    return Checkpoint(
        build_network(state, settings, _name(path), str(path)), content_hash=sha256(data)
    )


def _name(path: Path) -> str:
    """Return the file's name as that of a network, which has no brackets and commas."""
    return _NO_NAME.sub("_", path.stem).strip("_.-")[:_LONGEST] or "network"


STABLE_SNN = TrainedFrontend(
    'state dict of the reference code of "Robust Stable SNNs"',
    lambda path: False,
    load,
    settings=StableSettings,
    advice=ADVICE,
)
