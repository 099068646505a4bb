"""Tell in a screenful what works on this machine, and the command that fixes each gap."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.libraries import Finding, libraries
from spikeproof.cli.options import Command, command
from spikeproof.errors import InputError
from spikeproof.extras import install_command, version_of

_PYTHONS = ((3, 10), (3, 13))
_NUMPY_CEILING = (2, 4)
_NEEDED_DISK = 2 << 30
_NEEDED_SHM = 64 << 20


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    install: Annotated[
        str | None,
        typer.Option(metavar="EXTRA", help="Install an extra here: lava, torch, onnx, ..."),
    ] = None,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="With --install: replace older versions, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --install: print the commands, run none.")
    ] = False,
) -> int:
    """Look at everything, print one line each, and fail only if the core itself cannot work."""
    if install is None and (upgrade or dry_run):
        raise InputError(
            "--upgrade and --dry-run go with --install EXTRA",
            where="doctor",
            hint="Add --install EXTRA, or leave them out.",
        )
    if install is not None:
        return _install(console, install, upgrade=upgrade, dry_run=dry_run)
    findings = [
        _python(),
        _numpy(),
        *libraries(),
        _torch(),
        _gpu(),
        _lava(),
        _loihi(),
        _norse(),
        _zoo(),
        _dataset(),
        _disk(),
        _memory(),
        _leftovers(),
    ]
    marks = {"ok": "ok", "missing": "--", "bad": "!!"}
    for finding in findings:
        console.say(f"{marks[finding.state]}  {finding.name:<16} {finding.found}")
        if finding.fix:
            console.say(f"      fix: {finding.fix}", "dim")
    console.document({"schema": 1, "findings": [vars(f) for f in findings]})
    return 2 if any(f.state == "bad" for f in findings) else 0


def _install(console: Console, extra: str, *, upgrade: bool, dry_run: bool) -> int:
    """Install an extra with the installer of this environment, or show how."""
    from spikeproof.cli.install import commands, install, is_complete

    complete = is_complete(extra)
    plan = commands(extra, upgrade=upgrade)
    for line in plan:
        console.say(shlex.join(line))
    if dry_run and complete:
        console.say(f"everything of {extra} is installed already")
    if not dry_run:
        install(plan)
        console.say(f"installed: {extra}")
    installed = complete or not dry_run
    console.document({"schema": 1, "extra": extra, "commands": plan, "installed": installed})
    return 0


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return Finding("Python", "ok", found)
    return Finding(
        "Python",
        "bad",
        f"{found}; supported are 3.10 to 3.13",
        "python3 -m uv run --python 3.12 spikeproof doctor",
    )


def _numpy() -> Finding:
    found = version_of("numpy") or "?"
    if _numbers(found) < _NUMPY_CEILING:
        return Finding("NumPy", "ok", f"{found} (Lava needs < 2.4)")
    return Finding("NumPy", "bad", f"{found}; from 2.4 on Lava hangs", install_command("lava"))


def _torch() -> Finding:
    found = version_of("torch")
    if found:
        return Finding("torch", "ok", f"{found} (training, attacks, verification, --engine torch)")
    lacks = "not installed: no training, no gradient attacks, no --engine torch"
    return Finding("torch", "missing", lacks, install_command("torch"))


def _gpu() -> Finding:
    if version_of("torch") is None:
        return Finding("GPU", "missing", "unknown without torch; a GPU is never required")
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", "ok", f"{torch.cuda.get_device_name(0)}; --engine torch runs on cuda")
    cores = f"{os.cpu_count()} CPU cores do the work, --engine torch runs on cpu"
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", "ok", f"none; {cores}")
    why = "built without CUDA" if torch.version.cuda is None else "finds no usable driver"
    return Finding(
        "GPU",
        "missing",
        f"torch {torch.__version__} {why}; {cores}",
        "nvidia-smi, then a torch built for the CUDA version it prints",
    )


def _lava() -> Finding:
    found = version_of("lava-nc")
    if found is None:
        lacks = "not installed: --engine lava is unavailable"
        return Finding("Lava", "missing", lacks, install_command("lava"))
    how = "patched at run time for this Python" if sys.version_info >= (3, 11) else "native"
    return Finding("Lava", "ok", f"{found}, {how}")


def _loihi() -> Finding:
    if all(find_spec(name) is not None for name in ("lava", "nxcore")):
        return Finding("Loihi extension", "ok", "installed (the hardware path is untested here)")
    return Finding(
        "Loihi extension",
        "missing",
        "not installed: Intel gives it to members of its research community",
        "none needed for simulation; for hardware see “How-to” in the documentation",
    )


def _norse() -> Finding:
    found = version_of("norse")
    if found:
        return Finding("Norse", "ok", found)
    return Finding(
        "Norse",
        "missing",
        "not installed: only needed to use our step in Norse",
        install_command("norse"),
    )


def _zoo() -> Finding:
    from spikeproof.io.zoo import zoo_images, zoo_networks

    try:
        networks = zoo_networks()
        zoo_images()
    except InputError as error:
        return Finding("Shipped networks", "missing", error.what, error.hint or "")
    return Finding("Shipped networks", "ok", ", ".join(networks) or "none")


def _dataset() -> Finding:
    from spikeproof_models.datasets import find_fashion_mnist

    try:
        return Finding("Fashion-MNIST", "ok", str(find_fashion_mnist()))
    except InputError:
        return Finding(
            "Fashion-MNIST",
            "missing",
            "not found: only needed to train or to re-measure",
            "apt-get install dataset-fashion-mnist",
        )


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 2**30:.1f} GiB free here"
    if free >= _NEEDED_DISK:
        return Finding("Disk", "ok", found)
    return Finding("Disk", "missing", found, "free at least 2 GiB")


def _leftovers() -> Finding:
    """Name what killed runs left in the place for temporary files and in this folder."""
    from spikeproof.io.files import left_behind

    found = [*left_behind(Path(tempfile.gettempdir()), "spikeproof-"), *left_behind(Path.cwd())]
    if not found:
        return Finding("Temporary files", "ok", "none left by killed runs")
    names = shlex.join(map(str, found))
    return Finding(
        "Temporary files",
        "missing",
        f"{len(found)} left by killed runs; the next run of the same kind removes them",
        f"rm -r {names}",
    )


def _memory() -> Finding:
    shm = Path("/dev/shm")
    if not shm.is_dir():
        return Finding(
            "Shared memory",
            "missing",
            "no /dev/shm: Lava cannot run",
            "mount -t tmpfs tmpfs /dev/shm",
        )
    free = shutil.disk_usage(shm).free
    if free >= _NEEDED_SHM:
        return Finding("Shared memory", "ok", f"{free / 2**20:,.0f} MiB free in /dev/shm")
    return Finding(
        "Shared memory",
        "missing",
        f"{free / 2**20:,.0f} MiB free in /dev/shm",
        "docker run --shm-size=1g ..., or remove what is in /dev/shm",
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text)[:2])
