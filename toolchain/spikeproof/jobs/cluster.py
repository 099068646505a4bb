"""Items on a Dask cluster, through joblib: a backend of ours that cannot wait for ever.

joblib's own Dask backend waits without end when Dask gives a task up, and keeps a batch of images
on one worker only. Here every task carries its batch, ends with a result or an error, and a
scheduler that is gone or a cluster without workers becomes a message.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from joblib.parallel import ParallelBackendBase

from spikeproof.errors import InputError, SpikeproofError, TargetError
from spikeproof.extras import need
from spikeproof.jobs.items import Done, Item, Task, execute, make_task
from spikeproof.jobs.local import closing
from spikeproof.jobs.origin import code_identity
from spikeproof.jobs.shared import load_bytes, pack

CONNECT_SECONDS = 5.0
WORKERS_SECONDS = 15.0
PATIENCE_SECONDS = 120.0
"""How long a run waits for new workers after it has lost the last one."""
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
                        f"{len(missing)} items were lost {lost} times with their workers",
                        where=self._address,
                        hint=_RESUME,
                    ) from error

    def _round(self, missing: dict[int, Item], shared: Any, *, carried: bool) -> Iterator[Done]:
        """Do the missing items; ``carried``: every task has with it what all share.

        Otherwise the workers hold it, so it is sent once to each, and lost with the last of them.
        """
        from joblib import Parallel, delayed, parallel_config

        self._wait_for_workers(PATIENCE_SECONDS)
        held, token, identity = b"".join(pack(shared)), uuid.uuid4().hex, code_identity()
        if not carried:
            (held,) = self._client.scatter([held], broadcast=True, hash=False)
        backend = _Backend(self._client, self._address)
        call = delayed(_in_worker)
        with parallel_config(backend, n_jobs=backend.effective_n_jobs(-1)):
            parallel = Parallel(return_as="generator_unordered", batch_size=1)
            results = parallel(
                call(make_task(i, item), token, held, identity) for i, item in list(missing.items())
            )
        try:
            yield from closing(results)
        finally:
            backend.stop()

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


class _Backend(ParallelBackendBase):  # type: ignore[misc]
    """What joblib needs to hand tasks to a Dask client, one future each."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, client: Any, address: str) -> None:
        super().__init__()
        self._client, self._address = client, address
        self._pending: dict[Any, str] = {}
        self._reason: SpikeproofError | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def effective_n_jobs(self, _: int) -> int:
        """Return the threads of all workers; at least 2, or joblib would do the work here."""
        threads: int = sum(self._client.ncores().values())
        return max(2, threads)

    def submit(self, func: Any, callback: Callable[[Any], None]) -> Any:
        """Send out a batch, which holds one call."""
        ((call, arguments, _),) = func.items
        name = arguments[0].name
        key = f"{name}-{uuid.uuid4().hex}"
        future = self._client.submit(call, *arguments, key=key, pure=False)
        self._pending[future] = name
        future.add_done_callback(lambda ended: callback(self._outcome(ended)))
        return future

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the result of a batch, or raise what went wrong."""
        if isinstance(out, BaseException):
            raise out
        return [out]

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what is still to be done."""
        pending, self._pending = list(self._pending), {}
        if self._client.status == "running":
            self._client.cancel(pending)

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def _outcome(self, future: Any) -> Any:
        """Return a future's result or its error, in words where it is the cluster's."""
        from distributed.scheduler import KilledWorker

        name = self._pending.pop(future, "")
        try:
            return future.result()
        except KilledWorker as error:
            return TargetError(
                f"the worker of item {name!r} died {error.allowed_failures + 1} times",
                where=self._address,
                hint="Often too little memory: look at the workers' logs. " + _RESUME,
            )
        except CancelledError as error:
            if self._client.status != "running":
                return TargetError(
                    "the connection to the scheduler is lost", where=self._address, hint=_RESUME
                )
            return self._reason or error
        except BaseException as error:
            return error

    def _watch(self) -> None:
        """Give up when there has been no worker for too long."""
        seen = time.monotonic()
        while not self._stopped.wait(1.0) and self._client.status == "running":
            try:
                found = bool(self._client.ncores())
            except Exception:  # the connection is being lost, which the futures will tell
                return
            seen = time.monotonic() if found else seen
            if time.monotonic() - seen > PATIENCE_SECONDS:
                self._reason = _no_workers(self._address, PATIENCE_SECONDS)
                self._client.cancel(list(self._pending))
                return


def _in_worker(task: Task, token: str, data: bytes, identity: dict[str, Any]) -> Done:
    """Do one item in a worker of the cluster."""
    return execute(task, load_bytes(token, data, identity))
