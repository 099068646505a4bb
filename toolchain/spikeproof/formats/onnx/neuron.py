"""Neuron populations in ONNX: one Scan per layer, its state u and v in 32-bit integers.

The body is the page docs/semantics.md, node by node. Everything in it is integer arithmetic that
the standard defines to the last bit: Div truncates, which is the chip's rounding toward zero, and
no intermediate value leaves 32 bits. A cast from floating point, which could do the same in fewer
nodes, is not used: the standard does not say how it rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spikeproof import fixedpoint as fx
from spikeproof.formats.onnx.build import GraphBuilder
from spikeproof.formats.onnx.synapse import Arriving
from spikeproof.ir import chip

BATCH, TIME = "batch", "time"


@dataclass(frozen=True)
class Frame:
    """Values all layers share: the lengths (1,) of time and batch, and for pixels 0..time - 1.

    timesteps: the network's T, the length of its tables.
    """

    time: str
    batch: str
    steps: str
    timesteps: int


@dataclass(frozen=True)
class Population:
    """What a layer's loop gives: v after the last reset, and s, v and u by time.

    By time means (time, batch, *neurons). Spikes are bool, "" for a readout; v and u are "" unless
    traces are asked for. u_constant: u of every step, (batch, *neurons), where it does not change;
    if both are "" then u is zero.
    """

    final: str
    spikes: str
    v_by_time: str
    u_by_time: str
    u_constant: str


@dataclass
class _Loop:
    """The Scan of one layer while it is put together; a body takes its states first."""

    g: GraphBuilder
    layer: chip.ChipLayer
    frame: Frame
    body: GraphBuilder
    initial: list[str] = field(default_factory=list)
    scanned: list[str] = field(default_factory=list)

    def state(self, what: str, first: chip.Ints | int = 0) -> str:
        """Add a state variable and what it is before the first step."""
        name, shape = self.layer.name, self.layer.shape
        sizes = self.g.constant(f"{name}/{what}_sizes", shape, "int64")
        full = self.g.op("Concat", [self.frame.batch, sizes], f"{name}/{what}_shape", axis=0)
        before = self.g.zeros(full, f"{name}/{what}_reset")
        if np.any(first):
            begin = self.g.constant(f"{name}/{what}_initial", first, "int32")
            before = self.g.op("Add", [before, begin], f"{name}/{what}_first")
        self.initial.append(before)
        return self.body.input(f"{name}/{what}_before", "int32", [BATCH, *shape])

    def scan(self, value: str, what: str, shape: list[int | str], kind: str = "int32") -> str:
        """Hand the body one entry of ``value`` per step."""
        self.scanned.append(value)
        return self.body.input(f"{self.layer.name}/{what}_now", kind, shape)


def add_population(
    g: GraphBuilder, layer: chip.ChipLayer, arriving: Arriving, frame: Frame, traces: bool
) -> Population:
    """Add the loop of a layer's neurons over all steps."""
    name, neuron = layer.name, layer.neuron
    loop = _Loop(g, layer, frame, GraphBuilder(g, f"{name}/step/"))
    v_before = loop.state("v", neuron.initial)
    u = arriving.current
    if u is not None and neuron.filters:
        u_before = loop.state("u")
        u_now = _filter(loop, u_before, _each_step(loop, u, arriving), arriving.worst)
        drive = _plus(loop.body, u_now, arriving.bias, f"{name}/drive_now")
    else:
        u_now = ""
        u = u and _wrapped(g, u, f"{name}/u_wrapped", arriving.worst)
        drive = _each_step(loop, _plus(g, u, arriving.bias, f"{name}/drive"), arriving)
    v, kept, spike = _membrane(loop, v_before, drive)
    wanted = {"spikes": spike} if spike else {}
    if traces:
        recorded = {"v_steps": v, "u_steps": u_now} if u_now else {"v_steps": v}
        wanted |= {k: loop.body.op("Identity", [r], f"{r}_row") for k, r in recorded.items()}
    made = _close(loop, [kept, u_now] if u_now else [kept], wanted)
    steady = u or "" if arriving.constant and not u_now else ""
    moving = made.get("u_steps", "") if u_now or arriving.constant else u or ""
    return Population(
        made["v_last"], made.get("spikes", ""), made.get("v_steps", ""), moving, steady
    )


def _each_step(loop: _Loop, value: str, arriving: Arriving) -> str:
    """Return the body's name for one step of ``value``.

    A constant is seen from the graph around; the loop is then as long as the step numbers.
    """
    if arriving.constant:
        loop.scan(loop.frame.steps, "step", [], "int64")
        return value
    return loop.scan(value, "arriving", [BATCH, *loop.layer.shape])


def _filter(loop: _Loop, before: str, arriving: str, worst: int) -> str:
    """Update u: wrap(trunc0(u (4096 - (du + 1)) / 4096) + 64 a)."""
    body, name = loop.body, loop.layer.name
    keep = np.asarray(loop.layer.neuron.u_keep)
    shared = int(keep.flat[0]) if keep.size == 1 else body.constant(f"{name}/u_keep", keep, "int32")
    decayed = _decay(body, before, shared, f"{name}/u_decayed")
    total = _plus(body, arriving, decayed, f"{name}/u_sum")
    # Rounding toward zero only shrinks, so a geometric series bounds u over any number of steps.
    return _wrapped(
        body, total, f"{name}/u_now", worst * fx.DECAY_ONE // (fx.DECAY_ONE - int(keep.max()))
    )


def _membrane(loop: _Loop, before: str, drive: str) -> tuple[str, str, str | None]:
    """Update v: clip(trunc0(v leak / 4096) + u + bias); return it, it after the reset, and s."""
    body, name, neuron = loop.body, loop.layer.name, loop.layer.neuron
    leak: int | str
    if neuron.stepwise:
        steps = loop.frame.timesteps
        leaks, thresholds = neuron.leaks(steps), neuron.thresholds(steps)
        leak = loop.scan(_table(loop, leaks, "leak"), "leak", list(leaks.shape[1:]))
        rows = _table(loop, thresholds, "threshold")
        threshold = loop.scan(rows, "threshold", list(thresholds.shape[1:]))
    else:
        leak, threshold = int(neuron.leak_at(0)), body.number(int(neuron.threshold_at(0)))
    decayed = _decay(body, before, leak, f"{name}/v_decayed")
    total = _plus(body, drive, decayed, f"{name}/v_sum")
    low, high = body.number(-fx.STATE_MAX), body.number(fx.STATE_MAX)
    v = body.op("Clip", [total, low, high], f"{name}/v_now", doc="v saturates at 24 bits")
    if not neuron.spiking:
        return v, v, None
    silent = body.op("LessOrEqual", [v, threshold], f"{name}/silent", doc="firing is strict")
    spike = body.op("Not", [silent], f"{name}/spike")
    if neuron.reset is None:
        keep = body.cast(silent, "int32", f"{name}/keep")
        kept = body.op("Mul", [v, keep], f"{name}/v_after", doc="hard reset to 0; u is left alone")
        return v, kept, spike
    fired = body.cast(spike, "int32", f"{name}/fired")
    amount = body.constant(f"{name}/reset", neuron.reset, "int32")
    taken = body.op("Mul", [fired, amount], f"{name}/taken")
    kept = body.op("Sub", [v, taken], f"{name}/v_after", doc="soft reset; u is left alone")
    return v, kept, spike


def _table(loop: _Loop, table: chip.Ints, what: str) -> str:
    """Cut a table to the steps that are run; a run longer than the table ends in an error."""
    g, name = loop.g, loop.layer.name
    stored = g.constant(f"{name}/{what}_table", table, "int32")
    start = g.constant(f"{name}/{what}_start", [0], "int64")
    return g.op("Slice", [stored, start, loop.frame.time], f"{name}/{what}")


def _decay(body: GraphBuilder, x: str, leak: int | str, name: str) -> str | None:
    """Multiply by leak / 4096, rounding toward zero, within 32 bits; None if nothing is left.

    x = 4096 high + low, both with the sign of x, so x leak / 4096 = high leak + low leak / 4096
    and only the second term is rounded. |x| <= 2^23 and leak < 2^14 keep both under 2^26.
    """
    if leak == 0:
        return None
    if leak == fx.DECAY_ONE:
        return x
    numerator = leak if isinstance(leak, str) else body.number(leak)
    one = body.number(fx.DECAY_ONE)
    high = body.op("Div", [x, one], f"{name}_high", doc="integer Div truncates")
    base = body.op("Mul", [high, one], f"{name}_base")
    low = body.op("Sub", [x, base], f"{name}_low")
    whole = body.op("Mul", [high, numerator], f"{name}_whole")
    scaled = body.op("Mul", [low, numerator], f"{name}_scaled")
    part = body.op("Div", [scaled, one], f"{name}_part")
    return body.op("Add", [whole, part], name, doc="x leak / 4096, toward zero")


def _wrapped(g: GraphBuilder, u: str, name: str, worst: int) -> str:
    """Wrap u once by 2^24 where it leaves (-2^23, 2^23]; nothing where it provably cannot."""
    if worst < fx.WRAP_LIMIT:
        return u
    limit, turn = g.number(fx.WRAP_LIMIT), g.number(2 * fx.WRAP_LIMIT)
    over = g.op("Greater", [u, limit], f"{name}_over")
    lowered = g.op("Sub", [u, turn], f"{name}_minus")
    below = g.op("Where", [over, lowered, u], f"{name}_below")
    under = g.op("LessOrEqual", [u, g.number(-fx.WRAP_LIMIT)], f"{name}_under")
    raised = g.op("Add", [u, turn], f"{name}_plus")
    return g.op("Where", [under, raised, below], name, doc="u wraps at 24 bits")


def _plus(g: GraphBuilder, a: str | None, b: str | None, name: str) -> str:
    """Add two values of which one may be absent."""
    present = [x for x in (a, b) if x]
    if not present:
        raise ValueError(f"{name}: nothing to add")
    return present[0] if len(present) == 1 else g.op("Add", present, name)


def _close(loop: _Loop, states: list[str], rows: dict[str, str]) -> dict[str, str]:
    """Add the Scan; return its outputs by what they are: v_last, u_last, and the rows' names."""
    name = loop.layer.name
    shape: list[int | str] = [BATCH, *loop.layer.shape]
    for state in states:
        loop.body.output(state, "int32", shape)
    for what, row in rows.items():
        loop.body.output(row, "bool" if what == "spikes" else "int32", shape)
    whats = [*["v_last", "u_last"][: len(states)], *rows]
    kind = type(loop.layer.neuron).__name__
    body = loop.body.graph(f"{name}/step", f"One step of {kind} {name} ('Integer semantics')")
    made = loop.g.node(
        "Scan",
        [*loop.initial, *loop.scanned],
        [f"{name}/{w}" for w in whats],
        f"{name}/steps",
        doc=f"All steps of {name}: {kind} on its own clock",
        body=body,
        num_scan_inputs=len(loop.scanned),
    )
    return dict(zip(whats, made, strict=True))
