"""Threads inside libraries: held to a number for a while, and given back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from spikeproof.jobs.threads import inner_threads
from spikeproof.verify import perturbations as module


def blas_threads() -> set[int]:
    return {int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_numpy_is_held_to_one_thread_and_let_go() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        if before != {2}:
            pytest.skip("NumPy's library here has no second thread")
        with inner_threads(1):
            assert blas_threads() == {1}
        assert blas_threads() == before


def test_attacks_run_on_one_thread_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the last bit of a gradient, and with it an image, depends on the machine's cores."""
    torch = pytest.importorskip("torch")
    seen = []

    def craft(attack: Any, network: Any, x: Any, y: Any, **_: Any) -> Any:
        seen.append(torch.get_num_threads())
        return x

    monkeypatch.setattr(module, "perturb_images", craft)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        noise = module.Perturbation(module.WEAK.at("gaussian", 8), 1)
        network: Any = None
        module.perturb_with_torch(noise, network, np.zeros((1, 1), np.uint8), np.zeros(1), seed=0)
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
