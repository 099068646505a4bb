"""How long a new process waits for its first result, with and without compiled code on disk."""

from __future__ import annotations

import os
import subprocess

from spikeproof.bench.document import FirstUse
from spikeproof.errors import TargetError
from spikeproof.io.child import child_python
from spikeproof.io.files import temporary_folder

_PROGRAM = """
import time
from spikeproof.bench.nets import mlp_net, conv_net
import numpy as np
for net in (mlp_net(), conv_net()):
    x = net.draw(np.random.default_rng(0), 1)
    start = time.perf_counter()
    from spikeproof.engines.fast import FastEngine
    FastEngine().run(net.network, x)
    print(time.perf_counter() - start)
"""


def first_use() -> FirstUse:
    """Return the seconds to a first result.

    Each is the sum over a dense and a convolutional network in a process that has not run the
    engine before; the import of numba is part of it, Python's own start is not.

    Raises:
        TargetError: the process failed.
    """
    _seconds({})  # fills the cache, should it be empty
    with temporary_folder("kernels") as folder:
        return FirstUse(warm=_seconds({}), cold=_seconds({"NUMBA_CACHE_DIR": str(folder)}))


def _seconds(more: dict[str, str]) -> float:
    done = subprocess.run(
        child_python(_PROGRAM),
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TargetError(done.stderr[-2000:], where="bench, first use of the engine")
    return sum(map(float, done.stdout.split()))
