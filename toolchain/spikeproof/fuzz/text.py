"""Write a network and its input as readable text."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from spikeproof.fuzz.case import Task
from spikeproof.ir.graph import source_name

_SHOWN, _SMALL = 400, 16


def describe_task(task: Task) -> list[str]:
    """Write a network and its input as readable lines; large arrays are abbreviated."""
    network, x = task
    lines = [
        f"Network: coding {network.coding}, {network.timesteps} steps, "
        f"input {network.input_shape}, readout {network.readout}"
    ]
    for layer in network.layers:
        lines.append(f"Layer {layer.name}, neurons {layer.shape}")
        for one in layer.inputs:
            lag = f", {one.lag} steps later" if one.lag else ""
            lines += [f"  reads {source_name(one.source)}{lag}", *_described(one.synapse, "    ")]
            lines += _described(one.host, "    ") if one.host else []
        lines += _described(layer.neuron, "  ")
    return [*lines, f"Input {x.shape}: {_array(x)}"]


def _described(part: Any, indent: str) -> list[str]:
    lines = [f"{indent}{type(part).__name__}"]
    for item in fields(part):
        value = getattr(part, item.name)
        if isinstance(value, np.ndarray):
            lines.append(f"{indent}  {item.name} {value.dtype} {value.shape}: {_array(value)}")
        elif hasattr(value, "__dataclass_fields__"):
            lines += [f"{indent}  {item.name}:", *_described(value, indent + "    ")]
        else:
            lines.append(f"{indent}  {item.name}: {value}")
    return lines


def _array(values: Any) -> str:
    """Write an array out, a sparse one as its non-zero entries."""
    places = np.argwhere(values)
    if values.size > _SMALL and len(places) <= _SMALL:
        entries = (f"{tuple(p.tolist())}: {values[tuple(p)]}" for p in places)
        return f"zeros except {{{', '.join(entries)}}}" if len(places) else "all zero"
    return np.array2string(values, threshold=_SHOWN, separator=",", max_line_width=10_000).replace(
        "\n", ""
    )
