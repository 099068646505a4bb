"""Find out which optional libraries work here, and what installs the others."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from spikeproof.extras import install_command, version_of

_LIBRARIES = (
    ("Fast engine", "fast", ("numba",), "compiled kernels", "--engine fast runs on NumPy, slower"),
    (
        "ONNX",
        "onnx",
        ("onnx", "onnxruntime"),
        "--engine onnx, export --format onnx",
        "no --engine onnx, no export --format onnx",
    ),
    ("Lava .net files", "netx", ("h5py",), "read and written", "none is read or written"),
    (
        "Cluster",
        "cluster",
        ("dask", "distributed"),
        "work can be spread over machines",
        "the cores of this machine do the work",
    ),
)
"""What is looked at, the extra that brings it, its modules, what they give, what lacks without."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: state is ok, missing (an option is absent) or bad (it will fail)."""

    name: str
    state: str
    found: str
    fix: str = ""


def libraries() -> Iterator[Finding]:
    """Import each optional library: one that is installed may still not fit its neighbours."""
    for name, extra, modules, gives, lacks in _LIBRARIES:
        fix = install_command(extra)
        absent = [m for m in modules if version_of(m) is None]
        broken = "" if absent else _import_problem(modules)
        if absent:
            yield Finding(name, "missing", f"{', '.join(absent)} not installed: {lacks}", fix)
        elif broken:
            yield Finding(name, "missing", f"{broken}: {lacks}", f"{fix} --upgrade")
        elif extra == "fast" and os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
            found = f"NUMBA_DISABLE_JIT is set: {lacks}"
            yield Finding(name, "missing", found, "unset NUMBA_DISABLE_JIT")
        else:
            versions = ", ".join(f"{m} {version_of(m)}" for m in modules)
            yield Finding(name, "ok", f"{versions} ({gives})")


def _import_problem(modules: tuple[str, ...]) -> str:
    """Say in a line why a module cannot be imported; empty if all can."""
    for module in modules:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import_module(module)
        except Exception as error:  # a library may fail in any way when it is loaded
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            return f"{module} {version_of(module)} cannot be imported ({reason})"
    return ""
