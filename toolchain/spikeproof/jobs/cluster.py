"""Items on a Dask cluster, as its plain futures.

Every task carries its batch and ends with a result or an error; a scheduler that is gone or a
cluster without workers becomes a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from spikeproof.errors import InputError, TargetError
from spikeproof.extras import need
from spikeproof.jobs.items import Done, Item, Task, execute
from spikeproof.jobs.origin import code_identity
from spikeproof.jobs.shared import load_bytes, pack
from spikeproof.jobs.stream import stream
from spikeproof.text import counted

CONNECT_SECONDS = 5.0
WORKERS_SECONDS = 15.0
PATIENCE_SECONDS = 120.0
"""How long a run waits for new workers after it has lost the last one."""
_AHEAD = 2
"""Tasks per thread that are handed out, so that none waits for the next one."""
_RESUME = "Results so far are safe where a journal is kept: run the same command again."


class Cluster:
    """Do items on the workers of a Dask scheduler.

    Args:
        address: of the scheduler, ``tcp://HOST:8786``.
        retries: how often what was lost with its workers is sent out again.

    Raises:
        MissingExtraError: Dask is not installed.
        InputError: no scheduler answers at the address, or it has no workers.
    """

    def __init__(self, address: str, retries: int) -> None:
        self._address, self._retries = address, retries
        self._client = connect(address)
        try:
            self._wait_for_workers(WORKERS_SECONDS)
        except BaseException:
            self.close()
            raise

    def run(self, items: Sequence[tuple[int, Item]], shared: Any) -> Iterator[Done]:
        """Yield results as they come.

        Raises:
            TargetError: an item killed all workers it was given to, the connection is lost, or
                no worker is left.
        """
        missing, lost = dict(items), 0
        while missing:
            try:
                for done in self._round(missing, shared, carried=lost > 0):
                    missing.pop(done.index)
                    yield done
            except CancelledError as error:  # what all items share went with its last holder
                lost += 1
                if lost > self._retries:
                    raise TargetError(
                        f"{counted(len(missing), 'item')} got lost {counted(lost, 'time')}, "
                        "workers and all",
                        where=self._address,
                        hint=_RESUME,
                    ) from error

    def _round(self, missing: dict[int, Item], shared: Any, *, carried: bool) -> Iterator[Done]:
        """Do the missing items; ``carried``: every task has with it what all share.

        Otherwise the workers hold it, so it is sent once to each, and lost with the last of them.
        """
        self._wait_for_workers(PATIENCE_SECONDS)
        held, token, identity = b"".join(pack(shared)), uuid.uuid4().hex, code_identity()
        if not carried:
            (held,) = self._client.scatter([held], broadcast=True, hash=False)
        under_way: set[Any] = set()

        def submit(task: Task) -> Future[Done]:
            key, found = f"{task.name}-{uuid.uuid4().hex}", Future[Done]()
            sent = self._client.submit(_in_worker, task, token, held, identity, key=key, pure=False)
            under_way.add(sent)

            def settle(ended: Any) -> None:
                under_way.discard(ended)
                if not found.set_running_or_notify_cancel():
                    return  # nobody waits for it any more
                try:
                    found.set_result(ended.result())
                except BaseException as error:
                    found.set_exception(self._explain(error, task.name))

            sent.add_done_callback(settle)
            return found

        threads = sum(self._client.ncores().values())
        patience = _Patience(self._client, self._address)
        try:
            yield from stream(list(missing.items()), submit, _AHEAD * max(1, threads), patience)
        finally:
            if self._client.status == "running":
                self._client.cancel(list(under_way))

    def _explain(self, error: BaseException, name: str) -> BaseException:
        """Say in words what is the cluster's own."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return TargetError(
                f"the worker of item {name!r} died {counted(error.allowed_failures + 1, 'time')}",
                where=self._address,
                hint="Often too little memory: look at the workers' logs. " + _RESUME,
            )
        if isinstance(error, CancelledError) and self._client.status != "running":
            return TargetError(
                "the connection to the scheduler is lost", where=self._address, hint=_RESUME
            )
        return error

    def _wait_for_workers(self, seconds: float) -> None:
        try:
            self._client.wait_for_workers(1, timeout=seconds)
        except (TimeoutError, asyncio.TimeoutError) as error:  # one and the same from 3.11 on
            raise _no_workers(self._address, seconds) from error

    def close(self) -> None:
        """Leave the cluster as it was."""
        self._client.close(timeout=CONNECT_SECONDS)


def is_exposed(address: str) -> bool:
    """Tell whether an address leads to another machine without encryption and certificates."""
    scheme, _, rest = address.rpartition("://")
    host = rest.rsplit(":", 1)[0].strip("[]")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return scheme != "tls" and not local


def connect(address: str) -> Any:
    """Return a client of the scheduler.

    Raises:
        MissingExtraError, InputError: see :class:`Cluster`.
    """
    need("dask", "distributed", extra="cluster", purpose="--cluster")
    import distributed
    from distributed.comm.addressing import get_address_host_port

    make: Any = distributed.Client
    try:
        # A client that finds nobody takes a long time to end, so knock first.
        socket.create_connection(get_address_host_port(address), CONNECT_SECONDS).close()
        client = make(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address!r} within {CONNECT_SECONDS:g} s: {error}",
            where="--cluster",
            hint="Start one with `dask scheduler`; it prints its address.",
        ) from error
    return client


def _no_workers(address: str, seconds: float) -> InputError:
    return InputError(
        f"the scheduler at {address} has had no workers for {seconds:g} s",
        where="--cluster",
        hint=f"Start some: `dask worker {address} --nthreads 1`. {_RESUME}",
    )


class _Patience:
    """Gives up when there has been no worker for too long."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address
        self._seen = time.monotonic()

    def __call__(self) -> None:
        if self._client.status != "running":
            return  # the futures will tell
        with contextlib.suppress(Exception):  # the connection is being lost, which they tell too
            if self._client.ncores():
                self._seen = time.monotonic()
        if time.monotonic() - self._seen > PATIENCE_SECONDS:
            raise _no_workers(self._address, PATIENCE_SECONDS)


def _in_worker(task: Task, token: str, data: bytes, identity: dict[str, Any]) -> Done:
    """Do one item in a worker of the cluster."""
    return execute(task, load_bytes(token, data, identity))
