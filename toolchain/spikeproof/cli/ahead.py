"""Compile the fast engine's kernels in another process while this one waits for something else.

Compiling holds Python's lock, so a thread would gain nothing. The other process only fills the
cache on the disk; if it fails, whoever needs a kernel compiles it.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spikeproof.errors import BundleError
from spikeproof.io.child import child_python

if TYPE_CHECKING:
    from spikeproof.ir.chip import ChipNetwork
    from spikeproof.ir.floats import FloatNetwork

_START = "import sys; from spikeproof.cli.ahead import compile_for; compile_for(sys.argv[1])"
_FEW_IMAGES = 2

Ahead = subprocess.Popen[bytes]


@contextlib.contextmanager
def compiling_ahead(path: Path) -> Iterator[Ahead | None]:
    """Compile in the background what the network in ``path`` will need; end that with the block.

    Args:
        path: a bundle, or a checkpoint that is being converted meanwhile.

    Yields:
        The process to wait for; None where there is nothing to do: kernels are on the disk, cannot
        be kept there, or are not compiled at all.
    """
    if not _needed():
        yield None
        return
    process = subprocess.Popen(
        child_python(_START, str(path.resolve())),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _needed() -> bool:
    from spikeproof.engines.fast import compiled

    if not compiled():
        return False
    from spikeproof.engines.compiled import cache

    return cache.folder is not None and not cache.is_filled()


def compile_for(path: str) -> None:
    """Compile what the network in a file needs (in the other process)."""
    from spikeproof_lava.guard import die_with_parent

    die_with_parent()
    from spikeproof.attacks.victim import Victim
    from spikeproof.convert.fold import fold
    from spikeproof.engines.fast import FastEngine

    source, chip = _networks(Path(path))
    FastEngine(1).prepare(chip)
    Victim(chip).prepare()
    if source is not None:
        Victim(source, fold(source)).prepare()


def _networks(path: Path) -> tuple[FloatNetwork | None, ChipNetwork]:
    """Read a bundle, or convert a checkpoint roughly: kernels depend on little but its form."""
    from spikeproof.convert.pipeline import convert_network
    from spikeproof.io.bundle import load_bundle
    from spikeproof.io.formats import load_trained

    with contextlib.suppress(BundleError):  # a file of another kind
        return None, load_bundle(path).network
    source = load_trained(path).network
    images = np.random.default_rng(0).integers(0, 256, (_FEW_IMAGES, *source.input_shape), np.uint8)
    return source, convert_network(source, images).chip
