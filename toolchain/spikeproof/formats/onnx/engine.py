"""The engine "onnx": a chip network on ONNX Runtime, equal to the reference bit for bit.

Importing this module imports neither onnx nor onnxruntime.
"""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.base import BatchedEngine, checked_workers
from spikeproof.engines.fast import usable_cores
from spikeproof.engines.trace import LayerTrace, RunResult, result_from_logits
from spikeproof.errors import TargetError
from spikeproof.formats.onnx.build import check_runtime, need_onnx
from spikeproof.formats.onnx.graph import INPUT, LOGITS, build_model, model_bytes, onnx_problems
from spikeproof.ir.chip import ChipNetwork

_ERRORS_ONLY = 3


class OnnxEngine(BatchedEngine):
    """Run a chip network on ONNX Runtime's CPU kernels.

    A network is checked and translated when it is first run; its arrays must not change after that.

    Args:
        workers: threads, 1 or more; by default one per core this process may use.

    Raises:
        InputError: less than one worker.
    """

    name = "onnx"
    # The runtime holds a few arrays of this size (4 bytes each) at a time; larger batches leave
    # the processor's cache and are slower, not faster.
    batch_values = 1 << 18
    most_samples = 512

    def __init__(self, workers: int | None = None) -> None:
        """Remember the threads; nothing is imported before it is used."""
        self.workers = checked_workers(workers, usable_cores())
        self._sessions: WeakKeyDictionary[ChipNetwork, dict[tuple[int, bool], Any]]
        self._sessions = WeakKeyDictionary()

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to another process without the sessions, which cannot."""
        return OnnxEngine, (self.workers,)

    def problems(self, network: ChipNetwork) -> list[str]:
        """List every reason why the network has no exact ONNX form (empty: it has)."""
        return onnx_problems(network)

    def run_batch(self, network: ChipNetwork, x: NDArray[np.uint8], trace: bool) -> RunResult:
        """Run one batch.

        Raises:
            MissingExtraError: onnx or onnxruntime is not installed. UnsupportedError: the network
                has no exact ONNX form. TargetError: the runtime failed.
        """
        found = run_session(self._session(network, trace), x)
        return result_from_logits(found[LOGITS], layer_traces(network, found) if trace else None)

    def _session(self, network: ChipNetwork, trace: bool) -> Any:
        # A session's threads do not survive a fork, so a child process opens its own.
        kept = self._sessions.setdefault(network, {})
        key = (os.getpid(), trace)
        if key not in kept:
            need_onnx("onnx", "onnxruntime")
            kept[key] = open_session(model_bytes(build_model(network, traces=trace)), self.workers)
        return kept[key]


def open_session(model: bytes, threads: int) -> Any:
    """Load a model into ONNX Runtime with a fixed number of threads and one order of execution.

    Raises:
        MissingExtraError: onnxruntime is not installed or too old. TargetError: it refuses the
            model.
    """
    need_onnx("onnxruntime")
    import onnxruntime

    check_runtime(onnxruntime.__version__)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has no common base for its errors
        raise TargetError(
            f"ONNX Runtime {onnxruntime.__version__} refuses the model: {_first_line(error)}",
            where="engine onnx",
        ) from error


def run_session(session: Any, x: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Run one batch; return every output by name.

    Raises:
        TargetError: the runtime failed, or the model takes another input.
    """
    names = [output.name for output in session.get_outputs()]
    try:
        values = session.run(names, {INPUT: x})
    except Exception as error:  # as above
        raise TargetError(
            f"ONNX Runtime failed: {_first_line(error)}",
            where="engine onnx",
            hint="Run fewer samples at a time if memory is short.",
        ) from error
    return dict(zip(names, values, strict=True))


def layer_traces(network: ChipNetwork, outputs: dict[str, NDArray[Any]]) -> dict[str, LayerTrace]:
    """Sort a model's outputs NAME/u, NAME/v and NAME/s by layer."""
    return {
        layer.name: LayerTrace(
            outputs[f"{layer.name}/u"], outputs[f"{layer.name}/v"], outputs.get(f"{layer.name}/s")
        )
        for layer in network.layers
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
