"""What figures depend on besides the code: processor, load, versions."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from spikeproof import __version__
from spikeproof.bench.document import Machine
from spikeproof.extras import version_of

_PACKAGES = (
    "numpy",
    "numba",
    "torch",
    "onnxruntime",
    "lava-nc",
    "lava-dl",
    "snntorch",
    "spikingjelly",
)


def machine(threads: int) -> Machine:
    """Return what the figures depend on: processor, threads, versions."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count(),
        threads=threads,
        load_before=os.getloadavg()[0],
        system=platform.system(),
        python=platform.python_version(),
        spikeproof=__version__,
        packages={name: found for name in _PACKAGES if (found := version_of(name))},
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return found[0] if found else platform.machine()
