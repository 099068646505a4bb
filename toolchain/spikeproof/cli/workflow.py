"""What several commands say and prepare: bundles, data, clusters, kernels, slow engines."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spikeproof.engines.trace import Engine, SlowEngine
from spikeproof.text import counted

if TYPE_CHECKING:
    from spikeproof.attacks.victim import Victim
    from spikeproof.cli.ahead import Ahead
    from spikeproof.cli.console import Console
    from spikeproof.engines.trace import Progress
    from spikeproof.io.bundle import Bundle
    from spikeproof.io.known import DataRecord
    from spikeproof.io.record import SourceRecord
    from spikeproof.ir.chip import ChipNetwork

LONG_SECONDS = 60.0
"""A run that takes longer is announced."""


def show_data(console: Console, record: DataRecord, what: str = "data") -> None:
    """Say which data were found."""
    console.note(f"{what}: {record.text()}")


def show_source(console: Console, source: SourceRecord | None) -> None:
    """Say how a file was read that is no checkpoint of ours; None: it was one."""
    if source is not None:
        console.note(f"network: {source.text()}")


def warn(console: Console, warnings: list[str]) -> list[str]:
    """Print warnings, also with ``-q``, and return them."""
    for line in warnings:
        console.warn(line)
    return warnings


def load_bundle_to_run(path: Path, console: Console) -> Bundle:
    """Read a bundle (see load_safe_bundle); where one from elsewhere can overflow is a warning."""
    from spikeproof.bundles import load_safe_bundle, overflow_warnings

    bundle = load_safe_bundle(path)
    warn(console, overflow_warnings(bundle))
    return bundle


def warn_of_cluster(console: Console, address: str | None) -> None:
    """Say that a scheduler on another machine is trusted with this process, if TLS is off."""
    from spikeproof.jobs.cluster import is_exposed

    if address is not None and is_exposed(address):
        console.warn(
            f"--cluster {address}: who controls or reaches this scheduler can execute code here "
            "and on its workers; use tls:// between machines"
        )


def prepare_fast(console: Console, network: ChipNetwork, ahead: Ahead | None = None) -> None:
    """Load the fast engine's kernels; whoever waits because they are compiled is told so.

    ``ahead``: a process that is compiling them already, see :mod:`spikeproof.cli.ahead`.
    """
    from spikeproof.engines.fast import FastEngine, compiled

    if not compiled():
        return
    from spikeproof.engines.compiled import cache

    told = _Compiling(console, "the fast engine's kernels")
    with told:
        if ahead is not None and ahead.poll() is None:
            told.begin()
            ahead.wait()
        with cache.listening(told.begin):
            FastEngine(1).prepare(network, told.progress)
    if told.begun and cache.folder is None:
        places = ", ".join(map(str, cache.cache_places()))
        console.note(
            f"compiled kernels cannot be kept: none of {places} can be written to; "
            "NUMBA_CACHE_DIR may name another folder"
        )


def prepare_attacks(console: Console, victims: Sequence[Victim]) -> None:
    """Load the kernels of gradients; whoever waits because they are compiled is told so."""
    from spikeproof.engines.fast import compiled

    if not compiled():
        return
    from spikeproof.engines.compiled import cache

    told = _Compiling(console, "the kernels of attacks")
    with told, cache.listening(told.begin):
        for done, victim in enumerate(victims):
            told.progress(done, len(victims))
            victim.prepare()


class _Compiling(contextlib.ExitStack):
    """A stage that is shown from when something is found to need compiling."""

    def __init__(self, console: Console, what: str) -> None:
        super().__init__()
        self._console, self._what = console, what
        self._show: Progress | None = None

    @property
    def begun(self) -> bool:
        """Tell whether something had to be compiled."""
        return self._show is not None

    def begin(self) -> None:
        """Show the stage, once."""
        from spikeproof.engines.compiled import cache

        if self._show is None:
            once = " (once on a machine)" if cache.folder else ""
            self._show = self.enter_context(self._console.stage(f"Compiling {self._what}{once}"))

    def progress(self, done: int, total: int) -> None:
        """Tell how far it is, if it is shown."""
        if self._show is not None:
            self._show(done, total)


def announce_time(console: Console, engine: Engine, network: ChipNetwork, samples: int) -> None:
    """Say how long a slow engine will take, if that is long, before it starts."""
    if not isinstance(engine, SlowEngine):
        return
    seconds = engine.expected_seconds(network, samples)
    if seconds >= LONG_SECONDS:
        from spikeproof.cli.console import duration

        one = engine.expected_seconds(network, 1)
        console.note(
            f"{counted(samples, 'sample')} on {engine.name} {'takes' if samples == 1 else 'take'} "
            f"about {duration(seconds)} or more (estimated; one sample {duration(one)}); --limit "
            "takes fewer, --engine fast gives the same integers sooner"
        )
