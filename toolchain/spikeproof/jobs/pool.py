"""Where items are done: this process, several processes, or a Dask cluster; one way to ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from spikeproof.errors import InputError
from spikeproof.jobs.here import run_here
from spikeproof.jobs.items import Done, Item
from spikeproof.jobs.local import LocalProcesses

RETRIES = 2


class Pool:
    """Do items and yield their results in the order they are finished.

    Args:
        workers: processes on this machine; 1 is this process itself.
        cluster: address of a Dask scheduler, instead of local processes.
        inner_threads: threads of the numeric libraries in a local worker; default: the cores
            shared out. (A Dask worker has what it was started with.)
        retries: how often an item is tried again when its worker has died.

    Raises:
        InputError: no such number of workers; both workers and a cluster; no cluster there.
        MissingExtraError: Dask is not installed.
    """

    def __init__(
        self,
        workers: int = 1,
        cluster: str | None = None,
        *,
        inner_threads: int | None = None,
        retries: int = RETRIES,
    ) -> None:
        if workers < 1:
            raise InputError(f"found {workers}, expected 1 or more", where="--workers")
        if cluster is not None and workers > 1:
            raise InputError(
                "takes no --workers: the cluster has its own",
                where="--cluster",
                hint="Leave one of the two out.",
            )
        self._backend: Any = None
        if cluster is not None:
            from spikeproof.jobs.cluster import Cluster

            self._backend = Cluster(cluster, retries)
        elif workers > 1:
            self._backend = LocalProcesses(workers, retries, inner_threads)

    def run(self, items: Sequence[tuple[int, Item]], shared: Any) -> Iterator[Done]:
        """Do (index, item) pairs; ``shared`` is sent to each worker once."""
        if self._backend is None:
            return run_here(items, shared)
        found: Iterator[Done] = self._backend.run(items, shared)
        return found

    def close(self) -> None:
        """End the processes, or leave the cluster."""
        if self._backend is not None:
            self._backend.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
