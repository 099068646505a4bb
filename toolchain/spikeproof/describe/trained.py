"""Describe trained networks: a row for each node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeproof.describe.documents import NodeRow, TrainedFile, head_of
from spikeproof.text import counted

if TYPE_CHECKING:
    from spikeproof.io.checkpoint import Checkpoint
    from spikeproof.ir.floats import FloatNetwork


def describe_checkpoint(
    checkpoint: Checkpoint, path: Path, kind: str = "checkpoint"
) -> TrainedFile:
    """Describe a trained network: one row per node, and how it was trained."""
    return TrainedFile(
        **head_of(kind, path, checkpoint.network),
        layers=checkpoint_rows(checkpoint),
        training=checkpoint.training.document,
    )


def checkpoint_rows(checkpoint: Checkpoint) -> list[NodeRow]:
    """Return one row per node of a trained network."""
    import numpy as np

    from spikeproof.ir.floats import Lif, MaxPool2d, Readout
    from spikeproof.ir.shapes import network_shapes

    rows, shapes = [], network_shapes(checkpoint.network)
    for i, node in enumerate(checkpoint.network.nodes):
        shape = shapes[i]
        arrays = [v for v in vars(node).values() if isinstance(v, np.ndarray) and v.size]
        rows.append(
            NodeRow(
                layer=node.name,
                kind=type(node).__name__,
                output=list(shape),
                neurons=int(np.prod(shape))
                if isinstance(node, Lif | MaxPool2d | Readout)
                else None,
                parameters=sum(a.size for a in arrays),
                smallest=min((float(a.min()) for a in arrays), default=None),
                largest=max((float(a.max()) for a in arrays), default=None),
                details="; ".join(d for d in (_fed(checkpoint.network, i), _details(node)) if d),
            )
        )
    return rows


def _fed(network: FloatNetwork, i: int) -> str:
    """Say what feeds a node, where it is not just the one before."""
    from spikeproof.ir.floats import Incoming
    from spikeproof.ir.limits import INPUT

    incoming = network.incoming[i]
    if incoming == (Incoming(i - 1, 0, 1.0),):
        return ""
    told = []
    for one in incoming:
        name = network.nodes[one.source].name if one.source >= 0 else INPUT
        late = f" of {counted(one.lag, 'step')} before" if one.lag else ""
        told.append(f"{f'{one.coefficient:.4g} {name}' if one.weighted else name}{late}")
    return f"from {' + '.join(told)}"


def _details(node: Any) -> str:
    from spikeproof.ir import floats

    if isinstance(node, floats.Conv2d):
        return f"kernel {node.weight.shape[2:]}, stride {node.stride}, padding {node.padding}"
    if isinstance(node, floats.AvgPool2d | floats.MaxPool2d):
        return f"windows {node.kernel}, stride {node.stride}"
    if isinstance(node, floats.Lif):
        gain = "" if node.gain is None else f", gain over {counted(len(node.gain), 'step')}"
        sign = ">" if node.strict else ">="
        reset = "" if node.reset is None else f", a spike takes off {_span(node.reset)}"
        begins = f", begins at {_span(node.initial)}" if _span(node.initial) != "0" else ""
        return (
            f"leak {_span(node.leak)}, fires at v {sign} {_span(node.threshold)}"
            f"{gain}{reset}{begins}"
        )
    return ""


def _span(number: Any) -> str:
    """Show a number, or the least and the largest of many."""
    import numpy as np

    low, high = float(np.min(number)), float(np.max(number))
    return f"{low:.6g}" if low == high else f"{low:.6g}..{high:.6g}"
