# mypy: disable-error-code="import-untyped,import-not-found,misc,no-untyped-call"
"""Run jobs on Lava inside the guarded process; results and errors go out as files.

Messages to the supervisor are JSON lines on a pipe: ``stage``, ``job``, ``samples``, ``error``,
``done``.
"""

from __future__ import annotations

import json
import os
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spikeproof.errors import SpikeproofError
from spikeproof_lava import compat
from spikeproof_lava.jobs import Job, read_job
from spikeproof_lava.tape import send

ERROR_FILE = "error.json"


def main(folder: Path, token: str, status_fd: int) -> int:
    """Run all jobs found in ``folder`` (0, 1, 2, ...); return an exit status."""
    try:
        warnings.simplefilter("ignore")  # Lava's import and fork warnings concern nobody here
        send(status_fd, {"stage": "loading Lava"})
        compat.prepare(token)
        _report_actor_errors(folder, status_fd)
        for number, place in enumerate(sorted(folder.glob("job_*"))):
            send(status_fd, {"stage": f"building {place.name}", "job": number})
            _run(place, status_fd)
        send(status_fd, {"done": True})
    except BaseException as error:
        report(folder, status_fd, error)
        return 1
    return 0


def _run(folder: Path, status_fd: int) -> None:
    """Build, compile, run and stop one network; its tapes stay in the folder."""
    job = read_job(folder)
    if job.backend == "cpu":
        _run_recorded(job, status_fd)
    else:
        from spikeproof_lava.portable import run_portable

        np.save(job.logits, run_portable(job, hardware=job.backend == "loihi2"))
    send(status_fd, {"samples": job.samples})


def _run_recorded(job: Job, status_fd: int) -> None:
    from lava.magma.core.run_conditions import RunSteps

    from spikeproof_lava.build import build, compile_checked

    graph = build(job, status_fd)
    executable = compile_checked(graph)
    for tape in graph.tapes.values():
        tape.create()
    main_process: Any = graph.processes[-1]
    main_process.create_runtime(executable=executable)
    try:
        send(status_fd, {"stage": f"running {job.folder.name}"})
        main_process._runtime.start(RunSteps(num_steps=graph.steps))
    finally:
        main_process.stop()


def report(folder: Path, status_fd: int, error: BaseException) -> None:
    """Write the first error of a run to a file and tell the supervisor; later ones are echoes."""
    said = {"what": str(error), "where": None, "hint": None}
    if isinstance(error, SpikeproofError):
        said = {"what": error.what, "where": error.where, "hint": error.hint}
    content = {
        **said,
        "type": type(error).__name__,
        "known": isinstance(error, SpikeproofError),
        "traceback": "".join(traceback.format_exception(error)),
    }
    try:
        fd = os.open(folder / f"{ERROR_FILE}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(fd, "w") as file:
        json.dump(content, file)
    (folder / f"{ERROR_FILE}.new").rename(folder / ERROR_FILE)
    send(status_fd, {"error": True})


def _report_actor_errors(folder: Path, status_fd: int) -> None:
    """Make every process of Lava report an exception before Lava swallows it.

    Lava's runtime keeps the traceback to itself and, while neighbours wait for messages, hangs.
    Its start function is wrapped in this process only; it is called unchanged.
    """
    from lava.magma.runtime import runtime

    original: Callable[..., Any] = runtime.target_fn

    def target_fn(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except Exception as error:
            report(folder, status_fd, error)
            raise

    runtime.target_fn = target_fn
