"""Lower the learnable gain a[t] of DLIF neurons.

For a[t] > 0, ``v[t] = leak v[t-1] + a[t] I[t]`` equals on ``w = v / a[t]``, exactly in real
numbers, a neuron whose leak is ``leak a[t-1] / a[t]`` and whose threshold is ``theta / a[t]``.
A constant gain is folded into the weights instead and leaves a standard LIF.
Source: docs/semantics.md, "Table neuron".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.convert.base import Condition, Pass
from spikeproof.convert.conversion import Relation
from spikeproof.ir.floats import Conv2d, FloatNetwork, FloatNode, Lif, Linear
from spikeproof.ir.limits import LEAK_MAX


@dataclass(frozen=True, eq=False)
class Dynamics:
    """A layer's numbers on w = v / a[t].

    leak, threshold: (T,), or (T, ...) where neurons differ. initial: w before the first step.
    """

    leak: NDArray[np.float64]
    threshold: NDArray[np.float64]
    initial: NDArray[np.float64]


def float_dynamics(lif: Lif, timesteps: int) -> Dynamics:
    """Return leak and threshold per step; leak[0] acts on the initial state, the plain leak."""
    gain = np.ones(timesteps) if lif.gain is None else np.asarray(lif.gain, np.float64)
    rows = list(gain)
    ratio = [np.float64(1.0), *(before / now for before, now in pairwise(rows))]
    leak = np.array(np.broadcast_arrays(*(np.asarray(lif.leak * r) for r in ratio)))
    threshold = np.array([lif.threshold / row for row in rows])
    return Dynamics(leak, threshold, np.asarray(lif.initial / rows[0]))


def leak_table(lif: Lif, timesteps: int) -> NDArray[np.int64]:
    """Round the leak per step to numerators over 4096 (nearest)."""
    return _rounded_leaks(lif, timesteps).astype(np.int64)


def _rounded_leaks(lif: Lif, timesteps: int) -> NDArray[np.float64]:
    return np.rint(fx.DECAY_ONE * float_dynamics(lif, timesteps).leak)


def gain_problems(lif: Lif) -> list[str]:
    """List why a gain cannot be lowered: not positive, or falling too fast for the leak table."""
    if lif.gain is None:
        return []
    gain = np.asarray(lif.gain, np.float64)
    if not _is_constant(lif) and np.any(np.asarray(0.0 if lif.reset is None else lif.reset)):
        return [
            f"{lif.name}: its gain changes with the step and a spike takes a fixed amount off v; "
            "on the chip that amount would have to change with the step, too: train with a reset "
            "to zero, or a gain that is constant over time"
        ]
    if gain.ndim > 1:  # of one neuron after the other
        rows = gain.reshape(len(gain), -1).T
        alone = (replace(lif, gain=row, leak=float(np.max(lif.leak))) for row in rows)
        return next((problems for one in alone if (problems := gain_problems(one))), [])
    bad = np.flatnonzero(~(gain > 0))
    if bad.size:
        found = ", ".join(f"a[{t}] = {gain[t]:g}" for t in bad[:4])
        return [
            f"{lif.name}: the gain is not positive at {bad.size} of {gain.size} steps ({found}); "
            "the chip has no multiplier, and its leak and threshold tables need a[t] > 0: train "
            "with a gain that is positive by construction, or with plain LIF neurons"
        ]
    steepest = replace(lif, leak=float(np.max(lif.leak)))
    table = _rounded_leaks(steepest, gain.size)  # a ratio of gains may be far outside int64
    steep = np.flatnonzero(table > LEAK_MAX)
    if steep.size:
        t = int(steep[0])
        most = LEAK_MAX / fx.DECAY_ONE / max(float(np.max(lif.leak)), 1e-9)
        return [
            f"{lif.name}: the gain falls from a[{t - 1}] = {gain[t - 1]:g} to a[{t}] = "
            f"{gain[t]:g}, which needs a leak of {table[t]:.6g}/4096, the table takes "
            f"0..{LEAK_MAX}: train with a[t-1]/a[t] below {most:.3g}"
        ]
    return []


def _is_constant(lif: Lif) -> bool:
    return lif.gain is not None and bool((lif.gain == lif.gain.flat[0]).all())


def fold_constant_gain(network: FloatNetwork) -> FloatNetwork:
    """Multiply constant gains into weights and biases and drop them."""
    nodes = list(network.nodes)
    for i, node in enumerate(nodes):
        if isinstance(node, Lif) and _is_constant(node):
            factor = np.asarray(node.gain, np.float64).flat[0]
            nodes[i] = replace(node, gain=None)
            for one in network.incoming[i]:
                nodes[one.source] = _times(nodes[one.source], factor)
    return replace(network, nodes=tuple(nodes))


def _times(node: FloatNode, factor: np.float64) -> FloatNode:
    if not isinstance(node, Conv2d | Linear):  # the pass before left nothing else there
        raise TypeError(f"{type(node).__name__} is not a linear map")
    bias: Any = None if node.bias is None else node.bias * factor
    return replace(node, weight=node.weight * factor, bias=bias)


def _all_gain_problems(network: FloatNetwork) -> list[str]:
    return [p for n in network.nodes if isinstance(n, Lif) for p in gain_problems(n)]


def _constant_gains(network: FloatNetwork) -> list[str]:
    return [n.name for n in network.nodes if isinstance(n, Lif) and _is_constant(n)]


FOLD_GAIN: Pass[FloatNetwork, FloatNetwork] = Pass(
    "gain",
    Relation("exact"),
    fold_constant_gain,
    requires=(Condition("gains that tables can express", _all_gain_problems),),
    ensures=(Condition("no constant gain is left", _constant_gains),),
)
