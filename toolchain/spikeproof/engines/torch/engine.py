"""The engine ``torch``: the same integers through torch, on a GPU where there is one.

Layer by layer with all T steps at once, or a cycle of layers step by step; layers.py holds the
arithmetic and the reason why it is exact. This file holds what surrounds it: the device, its number
modes, its memory.

What is assumed of the device, and what is done about it:

* A matrix product adds products in some order. Whether products of less than float32's precision
  are used (TF32 on CUDA, bfloat16 on CPUs, autocast) is a setting of the process; it is switched
  off for the run and restored. A product in which every bit counts is tried on the device before
  the first run; a device or an environment variable that drops bits all the same is refused.
* Exactness is tested on CPUs. On CUDA it follows from the same bounds; the tests repeat the
  comparison wherever a GPU is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.base import BaseEngine
from spikeproof.engines.memory import sample_bytes, size_text, trace_bytes
from spikeproof.engines.torch.layers import Form, run_group
from spikeproof.engines.torch.load import DeviceLayer, Tensor, load_layers, prove_products
from spikeproof.engines.torch.results import TorchResults
from spikeproof.engines.trace import Progress, RunResult, result_from_logits
from spikeproof.errors import InputError, TargetError
from spikeproof.extras import need
from spikeproof.ir.chip import INPUT_INDEX, ChipNetwork

_BATCH_VALUES = {"cpu": 1 << 20, "cuda": 1 << 28}
"""A layer's states over all steps of a batch: near the cache on a CPU, large kernels on a GPU."""
_CHUNK_VALUES = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Unfolded windows held at a time."""
_MARGIN = 12
"""Copies in float64 make a batch take up to about this many times the bytes of the estimate."""


class TorchEngine(BaseEngine):
    """Run a chip network on a torch device; equal to the reference bit for bit.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``; by default a GPU if torch finds one.

    Raises:
        MissingExtraError: torch is not installed.
        InputError: the device is not one of these, or torch cannot use it.
    """

    name = "torch"
    most_samples = 1024

    def __init__(self, device: str | None = None) -> None:
        need("torch", extra="torch", purpose="engine torch")
        self.device = _device(device)
        self._proved = False

    def run(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        *,
        trace: bool = False,
        progress: Progress | None = None,
    ) -> RunResult:
        """Run all samples in batches bounded by the device's memory.

        Raises:
            TargetError: the device drops bits of a product, or cannot hold a single sample.
        """
        self.check(network, x, trace)
        results = TorchResults(network, len(x), trace)
        with exact_products(self.device):
            if not self._proved:
                prove_products(self._put, str(self.device))
                self._proved = True
            layers: list[DeviceLayer] = []
            self._need(self._fits(lambda: layers.extend(load_layers(network, self._put))), network)
            size, start = min(len(x), self._batch_size(network, trace)), 0
            while start < len(x):
                batch = x[start : start + size]
                if not self._fits(partial(self._batch, layers, batch, start, results)):
                    self._need(size > 1, network)
                    size //= 2
                    continue
                start += len(batch)
                if progress:
                    progress(start, len(x))
        return result_from_logits(results.logits, results.traces)

    def _batch(
        self, layers: list[DeviceLayer], x: NDArray[np.uint8], start: int, results: TorchResults
    ) -> None:
        """Run one batch; what is kept of a layer leaves the device before the next one runs."""
        network = results.network
        source = self._put(x[:, None] if network.coding == "pixels" else x)
        sent: dict[int, Any] = {INPUT_INDEX: source.transpose(0, 1).contiguous()}
        chunk, trace = _CHUNK_VALUES[self.device.type], results.traces is not None
        form = Form(network.timesteps, len(x), chunk, trace)
        for group, spent in zip(*network.order, strict=True):
            loaded = {i: layers[i] for i in group}
            done = run_group(loaded, sent, form, {i: results.kept(i) for i in group})
            for i, run in done.items():
                results.take(i, start, run)
                sent[i] = run.spikes
            for i in spent:
                del sent[i]

    def _put(self, array: NDArray[Any]) -> Tensor:
        """Copy to the device; the array may be read-only and in any order."""
        import torch

        return torch.from_numpy(np.array(array, order="C")).to(self.device)

    def _batch_size(self, network: ChipNetwork, trace: bool) -> int:
        kind = self.device.type
        widest = max(prod(layer.shape) for layer in network.layers)
        size = max(1, _BATCH_VALUES[kind] // (widest * network.timesteps))
        if kind == "cuda":
            import torch

            free = torch.cuda.mem_get_info(self.device)[0]
            one = _MARGIN * sample_bytes(network) + (trace_bytes(network) if trace else 0)
            size = min(size, max(1, free // one))
        return size

    def _fits(self, action: Callable[[], None]) -> bool:
        """Do it and return True, or return False if the memory did not suffice."""
        import torch

        try:
            action()
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
        else:
            return True
        torch.cuda.empty_cache()  # here, where the error no longer keeps the tensors alive
        return False

    def _need(self, enough: bool, network: ChipNetwork) -> None:
        if not enough:
            raise TargetError(
                f"{self.device} has too little memory for one sample, which needs at least "
                f"{size_text(sample_bytes(network))}",
                where=network.name,
                hint="Use --engine fast, which runs in the machine's own memory.",
            )


def _out_of_memory(error: RuntimeError) -> bool:
    """Tell whether torch ran out of memory; its CPU allocator raises no class of its own."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _device(name: str | None) -> Any:
    """Return the torch device called so, or raise InputError."""
    import torch

    chosen = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(chosen)
        if device.type not in _BATCH_VALUES:
            raise InputError(
                f"device {chosen!r} is not supported",
                where="engine torch",
                hint="Use cpu, cuda or cuda:N.",
            )
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise InputError(
            f"torch cannot use the device {chosen!r}: {str(error).splitlines()[0]}",
            where="engine torch",
            hint="Use cpu, cuda or cuda:N.",
        ) from None
    return device


@contextmanager
def exact_products(device: Any) -> Iterator[None]:
    """Switch off, for a block, all settings by which float32 products lose bits; and gradients.

    The settings belong to the process; only those that would lose bits are touched, and restored.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        products: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn]
        if hasattr(products[0], "fp32_precision"):  # torch 2.9 and later
            products[1] = products[1].matmul
            for setting in products:
                before = setting.fp32_precision
                if before not in ("ieee", "none"):
                    stack.callback(setattr, setting, "fp32_precision", before)
                    setting.fp32_precision = "ieee"
        elif (before := torch.get_float32_matmul_precision()) != "highest":
            stack.callback(torch.set_float32_matmul_precision, before)
            torch.set_float32_matmul_precision("highest")
        yield
