"""Neuron populations in ONNX: one Scan per layer, its state u and v in 32-bit integers.

Layers on a common cycle have one Scan together. It hands on their spikes of as many steps as the
longest lag looks back, and makes the sums of what they send each other one step at a time.

The body is the page docs/semantics.md, node by node. Everything in it is integer arithmetic that
the standard defines to the last bit: Div truncates, which is the chip's rounding toward zero, and
no intermediate value leaves 32 bits. A cast from floating point, which could do the same in fewer
nodes, is not used: the standard does not say how it rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
    """What a loop gives of a layer: v after the last reset, and s, v and u by time.

    By time means (time, batch, *neurons). Spikes are bool, "" for a readout; v and u are "" unless
    they are asked for. u_constant: u of every step, (batch, *neurons), where it does not change;
    if both are "" then u is zero.
    """

    final: str
    spikes: str
    v_by_time: str
    u_by_time: str
    u_constant: str


@dataclass(frozen=True)
class Within:
    """A connection whose spikes come from a layer of the same loop.

    add: adds the nodes from one step's spikes, bool (batch, *inputs), to the current that they
    make, int32 (batch, *neurons). worst: bound on the current's magnitude.
    """

    source: int
    lag: int
    worst: int
    add: Callable[[GraphBuilder, str], str]


@dataclass(frozen=True)
class Member:
    """A layer of a loop: what reaches it from outside at all steps, and what from within.

    keep: what is wanted of all steps besides the spikes, of "u" and "v".
    """

    layer: chip.ChipLayer
    arriving: Arriving
    within: tuple[Within, ...] = ()
    keep: str = ""


@dataclass
class _State:
    """What a body hands on from step to step; ``after`` is set once it is known."""

    name: str
    initial: str
    kind: str
    shape: list[int | str]
    after: str = ""


@dataclass
class _Loop:
    """A Scan while it is put together; a body takes its states first, and gives them first."""

    g: GraphBuilder
    frame: Frame
    name: str
    body: GraphBuilder
    states: list[_State] = field(default_factory=list)
    scanned: list[str] = field(default_factory=list)
    rows: dict[str, tuple[str, str, list[int | str]]] = field(default_factory=dict)
    _befores: list[Any] = field(default_factory=list)
    _counts: bool = False

    def state(
        self,
        layer: chip.ChipLayer,
        what: str,
        first: chip.Ints | int = 0,
        kind: str = "int32",
        rows: int = 0,
    ) -> tuple[str, _State]:
        """Add a state variable and what it is before the first step; ``rows``: a leading axis."""
        name, shape, g = layer.name, layer.shape, self.g
        sizes = [g.constant(f"{name}/{what}_sizes", shape, "int64")]
        if rows:
            sizes.insert(0, g.constant(f"{name}/{what}_rows", [rows], "int64"))
        sizes.insert(len(sizes) - 1, self.frame.batch)
        full = g.op("Concat", sizes, f"{name}/{what}_shape", axis=0)
        before = g.zeros(full, f"{name}/{what}_reset", kind)
        if np.any(first):
            begin = g.constant(f"{name}/{what}_initial", first, "int32")
            before = g.op("Add", [before, begin], f"{name}/{what}_first")
        form: list[int | str] = [rows, BATCH, *shape] if rows else [BATCH, *shape]
        state = _State(f"{name}/{what}_last", before, kind, form)
        self.states.append(state)
        value = self.body.input(f"{name}/{what}_before", kind, form)
        self._befores.append(self.body.inputs.pop())
        return value, state

    def scan(self, value: str, name: str, shape: list[int | str], kind: str = "int32") -> str:
        """Hand the body one entry of ``value`` per step, as ``name``."""
        self.scanned.append(value)
        return self.body.input(name, kind, shape)

    def count(self) -> None:
        """Make the loop as long as the run, where nothing else that it scans may do so."""
        if not self._counts:
            self._counts = True
            steps = self.frame.steps or step_numbers(self.g, self.frame, f"{self.name}/")
            self.scan(steps, f"{self.name}/step_now", [], "int64")

    def close(self, doc: str, told: str) -> None:
        """Add the Scan; its outputs are the states' names and the rows' keys."""
        if not self.scanned:
            self.count()
        self.body.inputs[:0] = self._befores
        for state in self.states:
            self.body.output(state.after, state.kind, state.shape)
        for value, kind, shape in self.rows.values():
            self.body.output(value, kind, shape)
        self.g.node(
            "Scan",
            [*(state.initial for state in self.states), *self.scanned],
            [*(state.name for state in self.states), *self.rows],
            f"{self.name}/steps",
            doc=doc,
            body=self.body.graph(f"{self.name}/step", told),
            num_scan_inputs=len(self.scanned),
        )


def step_numbers(g: GraphBuilder, frame: Frame, scope: str = "", *, down: bool = False) -> str:
    """Make 0..time - 1, or time..1 if ``down``, int64."""
    length = g.op("Squeeze", [frame.time], f"{scope}number_of_steps")
    first, last, step = g.number(0, "int64"), length, g.number(1, "int64")
    if down:
        first, last, step = length, first, g.number(-1, "int64")
    return g.op(
        "Range", [first, last, step], f"{scope}steps_left" if down else f"{scope}step_numbers"
    )


def add_populations(
    g: GraphBuilder, members: dict[int, Member], frame: Frame
) -> dict[int, Population]:
    """Add the loop over all steps of a layer's neurons, or of all layers on a common cycle."""
    layers = [member.layer for member in members.values()]
    name = layers[0].name
    loop = _Loop(g, frame, name, GraphBuilder(g, f"{name}/step/"))
    sent = _Sent(loop, members)
    made = {i: _add_member(loop, member, sent, i) for i, member in members.items()}
    sent.close()
    told = ", ".join(f"{type(layer.neuron).__name__} {layer.name}" for layer in layers)
    if len(layers) == 1:
        doc = f"All steps of {name}: {type(layers[0].neuron).__name__} on its own clock"
    else:
        doc = f"All steps of {', '.join(layer.name for layer in layers)}, which feed each other"
    loop.close(doc, f"One step of {told} ('Integer semantics')")
    return made


class _Sent:
    """The spikes that layers of a loop send each other: of this step, and of those before."""

    def __init__(self, loop: _Loop, members: dict[int, Member]) -> None:
        """Hand on as many steps' spikes of each layer as its longest lag within the loop."""
        self.loop, self.now = loop, dict[int, str]()
        self.layers = {i: member.layer for i, member in members.items()}
        self._longest: dict[int, int] = {}
        for member in members.values():
            for one in member.within:
                self._longest[one.source] = max(one.lag, self._longest.get(one.source, 0))
        self._kept: dict[int, tuple[str, _State]] = {}
        self._read: dict[tuple[int, int], str] = {}
        for i, longest in self._longest.items():
            if longest:
                rows = longest if longest > 1 else 0
                self._kept[i] = loop.state(self.layers[i], "sent", kind="bool", rows=rows)

    def at(self, source: int, lag: int) -> str:
        """Return the spikes of a layer ``lag`` steps ago, (batch, *neurons)."""
        if lag == 0:
            return self.now[source]
        before, longest = self._kept[source][0], self._longest[source]
        if longest == 1:
            return before
        key = source, lag
        if key not in self._read:
            body, name = self.loop.body, f"{self.layers[source].name}/sent_{lag}_before"
            row = body.number(longest - lag, "int64")
            self._read[key] = body.op("Gather", [before, row], name, axis=0)
        return self._read[key]

    def close(self) -> None:
        """Move all spikes on by a step; the oldest come first and are dropped."""
        body = self.loop.body
        for i, (before, state) in self._kept.items():
            name, spike = self.layers[i].name, self.now[i]
            if self._longest[i] == 1:
                state.after = body.op("Identity", [spike], f"{name}/sent_after")
                continue
            start = body.constant(f"{name}/sent_start", [1], "int64")
            end = body.constant(f"{name}/sent_end", [self._longest[i]], "int64")
            axis = body.constant(f"{name}/sent_axis", [0], "int64")
            later = body.op("Slice", [before, start, end], f"{name}/sent_later")
            row = body.op("Unsqueeze", [spike, axis], f"{name}/sent_row")
            state.after = body.op("Concat", [later, row], f"{name}/sent_after", axis=0)


def _add_member(loop: _Loop, member: Member, sent: _Sent, index: int) -> Population:
    """Add one step of a layer's neurons to the body, and say what the loop gives of it."""
    g, layer, arriving = loop.g, member.layer, member.arriving
    name, neuron = layer.name, layer.neuron
    shape: list[int | str] = [BATCH, *layer.shape]
    v_before, v_state = loop.state(layer, "v", neuron.initial)
    u, u_now = arriving.current, ""
    if member.within or (u is not None and neuron.filters):
        u_before, u_state = loop.state(layer, "u") if neuron.filters else ("", None)
        now, worst = u and _each_step(loop, layer, u, arriving), arriving.worst
        for k, one in enumerate(member.within):
            back = one.add(loop.body, sent.at(one.source, one.lag))
            now, worst = _plus(loop.body, now, back, f"{name}/current_now_{k}"), worst + one.worst
        if not now:
            raise ValueError(f"{name}: nothing reaches it")
        if u_state is None:
            u_now = _wrapped(loop.body, now, f"{name}/u_now", worst)
        else:
            u_now = u_state.after = _filter(loop.body, layer, u_before, now, worst)
        drive = _plus(loop.body, u_now, arriving.bias, f"{name}/drive_now")
    else:
        u = u and _wrapped(g, u, f"{name}/u_wrapped", arriving.worst)
        drive = _each_step(loop, layer, _plus(g, u, arriving.bias, f"{name}/drive"), arriving)
    v, v_state.after, spike = _membrane(loop, layer, v_before, drive)
    spikes, v_by_time, u_by_time = "", "", ""
    if spike:
        sent.now[index], spikes = spike, f"{name}/spikes"
        loop.rows[spikes] = spike, "bool", shape
    # A state is handed on and given as well; each output of a body is a value of its own.
    if "v" in member.keep:
        v_by_time = f"{name}/v_steps"
        loop.rows[v_by_time] = loop.body.op("Identity", [v], f"{v}_row"), "int32", shape
    if u_now and "u" in member.keep:
        u_by_time = f"{name}/u_steps"
        loop.rows[u_by_time] = loop.body.op("Identity", [u_now], f"{u_now}_row"), "int32", shape
    u_constant = ""
    if not u_now and u:
        u_by_time, u_constant = ("", u) if arriving.constant else (u, "")
    return Population(f"{name}/v_last", spikes, v_by_time, u_by_time, u_constant)


def _each_step(loop: _Loop, layer: chip.ChipLayer, value: str, arriving: Arriving) -> str:
    """Return the body's name for one step of ``value``.

    A constant is seen from the graph around; the loop is then as long as the step numbers.
    """
    if arriving.constant:
        loop.count()
        return value
    return loop.scan(value, f"{layer.name}/arriving_now", [BATCH, *layer.shape])


def _filter(
    body: GraphBuilder, layer: chip.ChipLayer, before: str, arriving: str, worst: int
) -> str:
    """Update u: wrap(trunc0(u (4096 - (du + 1)) / 4096) + 64 a)."""
    name, keep = layer.name, np.asarray(layer.neuron.u_keep)
    shared = int(keep.flat[0]) if keep.size == 1 else body.constant(f"{name}/u_keep", keep, "int32")
    decayed = _decay(body, before, shared, f"{name}/u_decayed")
    total = _plus(body, arriving, decayed, f"{name}/u_sum")
    # Rounding toward zero only shrinks, so a geometric series bounds u over any number of steps.
    return _wrapped(
        body, total, f"{name}/u_now", worst * fx.DECAY_ONE // (fx.DECAY_ONE - int(keep.max()))
    )


def _membrane(
    loop: _Loop, layer: chip.ChipLayer, before: str, drive: str
) -> tuple[str, str, str | None]:
    """Update v: clip(trunc0(v leak / 4096) + u + bias); return it, it after the reset, and s."""
    body, name, neuron = loop.body, layer.name, layer.neuron
    leak: int | str
    if neuron.stepwise:
        steps = loop.frame.timesteps
        leaks, thresholds = neuron.leaks(steps), neuron.thresholds(steps)
        rows = _table(loop, name, leaks, "leak")
        leak = loop.scan(rows, f"{name}/leak_now", list(leaks.shape[1:]))
        rows = _table(loop, name, thresholds, "threshold")
        threshold = loop.scan(rows, f"{name}/threshold_now", list(thresholds.shape[1:]))
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


def _table(loop: _Loop, name: str, table: chip.Ints, what: str) -> str:
    """Cut a table to the steps that are run; a run longer than the table ends in an error."""
    g = loop.g
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
