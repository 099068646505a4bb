"""Prove an ONNX file: load what lies on the disk and replay a bundle's stimulus with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.self_test import reference_traces
from spikeproof.errors import BundleError, TargetError
from spikeproof.formats.onnx.build import need_onnx
from spikeproof.formats.onnx.engine import open_session, run_session
from spikeproof.formats.onnx.graph import LOGITS, build_model, model_bytes
from spikeproof.io.files import read_bytes
from spikeproof.ir.chip import ChipNetwork
from spikeproof.text import counted


def check_model(path: Path) -> None:
    """Check a file against the ONNX standard, with full inference of types and shapes.

    Raises:
        MissingExtraError: onnx is not installed. BundleError: the file is no valid model.
    """
    need_onnx()
    import onnx

    try:
        onnx.checker.check_model(read_bytes(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        text = str(error).strip().splitlines()
        raise BundleError(
            f"is no valid ONNX model: {text[0] if text else 'it cannot be read'}", where=str(path)
        ) from error


def replay(path: Path, network: ChipNetwork, stimulus: NDArray[np.uint8]) -> int:
    """Run the stimulus with the file and compare every value with the reference.

    A file without traces shows its logits only, so u, v and s are compared on the same graph
    with traces, in memory.

    Args:
        path: an ONNX file made from the network.
        network: the network it was made from.
        stimulus: input of a few samples.

    Returns:
        How many values were compared; all are equal.

    Raises:
        TargetError: the runtime refuses the file, or a value differs; which, and how many.
    """
    outputs = run_session(open_session(read_bytes(path), 1), stimulus)
    result = reference_traces(network, stimulus)
    wanted: dict[str, Any] = {LOGITS: result.logits}
    for name, layer in (result.traces or {}).items():
        wanted |= {f"{name}/{k}": a for k, a in vars(layer).items() if a is not None}
    if set(outputs) == {LOGITS}:
        twin = open_session(model_bytes(build_model(network, traces=True)), 1)
        outputs = {**run_session(twin, stimulus), **outputs}
    if set(outputs) != set(wanted):
        raise TargetError(
            f"gives {', '.join(sorted(outputs))}; expected {', '.join(sorted(wanted))}",
            where=str(path),
        )
    wrong = {name: differing(outputs[name], wanted[name]) for name in wanted}
    if any(wrong.values()):
        rows = ", ".join(f"{name}: {count:,}" for name, count in wrong.items() if count)
        raise TargetError(
            f"{counted(sum(wrong.values()), 'value')} "
            f"{'differs' if sum(wrong.values()) == 1 else 'differ'} from the reference ({rows})",
            where=str(path),
            hint="Please report it: every value must be equal.",
        )
    return sum(int(a.size) for a in wanted.values())


def differing(found: NDArray[Any], wanted: NDArray[Any]) -> int:
    """Count the values that differ; all of them if type or shape do."""
    same_form = found.shape == wanted.shape and found.dtype == wanted.dtype
    return int((found != wanted).sum()) if same_form else int(wanted.size)
