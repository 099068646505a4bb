"""The corpus of seeded conversion bugs; ``tests/unit/verify/test_seeded_bugs.py`` catches each.

The bugs are planted in a real conversion: in its code while it runs (the source of a pass with one
piece replaced), or in the integers and the record it made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from seeding import Made, exact_host_weights

from spikeproof.convert import compensate, fold, gain, host, quantise, search

GAIN = [1.0, 1.3, 0.8, 1.1]
ROUNDING, FOLDING, STATES = "folded to integers", "trained to folded", "quantised to chip"
PARAMETERS = "folded to quantised"
PLAIN = {"search": False, "compensate": False}
COMPENSATED = {"search": False, "compensate": True}
GRADED = {**PLAIN, "input_coding": "graded"}
HOST = {**PLAIN, "input_coding": "bias"}
BASES: dict[str, tuple[bool, bool, dict[str, Any]]] = {
    # gain, fires at equality, options
    "plain": (False, False, GRADED),
    "host": (False, False, HOST),
    "compensated": (False, False, {**COMPENSATED, "input_coding": "graded"}),
    "equality": (False, True, GRADED),
    "host at equality": (False, True, HOST),
    "loihi": (False, False, {**HOST, "profile": "loihi", "compensate": True}),
    "gain": (True, False, GRADED),
    "found": (False, False, {}),
}


@dataclass(frozen=True, eq=False)
class Code:
    """A bug in the conversion's code: one piece of a pass replaced."""

    name: str
    base: str
    layer: str
    module: Any
    old: str
    new: str
    also: tuple[Any, str, str] | None = None
    """A second piece replaced, without which the conversion would avoid the first."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """A bug in the integers or the record: how the right ones are changed."""

    name: str
    base: str
    layer: str
    change: Callable[[Made], Made]


@dataclass(frozen=True, eq=False)
class Declared:
    """A wrong relation in the record of right numbers: its stage, and words of V2's reason."""

    name: str
    stage: str
    change: Callable[[Made], Made]
    told: str


def weights(layer: str, change: Callable[[Any], Any]) -> Callable[[Made], Made]:
    return lambda made: made.with_weights(layer, change)


def neuron(layer: str, change: Callable[[Any], Any]) -> Callable[[Made], Made]:
    return lambda made: made.with_neuron(layer, change)


def synapse(layer: str, change: Callable[[Any], Any]) -> Callable[[Made], Made]:
    return lambda made: made.with_synapse(layer, change)


def current(layer: str, change: Callable[[Any], Any]) -> Callable[[Made], Made]:
    return lambda made: made.with_host(layer, change)


def flipped(share: float) -> Callable[[Any], Any]:
    def change(w: Any) -> Any:
        chosen = np.random.default_rng(3).random(w.shape) < share
        assert (chosen & (w != 0)).sum() >= 2
        return np.where(chosen, -w, w)

    return change


def one_small_sign(w: Any) -> Any:
    """Flip one weight of the smallest size there is."""
    sizes = np.where(w == 0, np.inf, np.abs(w))
    at = np.unravel_index(int(sizes.argmin()), w.shape)
    changed = w.copy()
    changed[at] = -w[at]
    return changed


def with_rows(*rows: int, factor: float) -> Callable[[Any], Any]:
    def change(w: Any) -> Any:
        changed = w.copy()
        changed[list(rows)] = 2 * np.rint(factor * changed[list(rows)] / 2)
        return changed

    return change


def in_record(part: str, layer: str, change: Callable[[Any], Any]) -> Callable[[Made], Made]:
    def edit(made: Made) -> Made:
        record = dict(made.record)
        if part == "units":
            record["units"] = {**record["units"], layer: change(record["units"][layer])}
        else:
            record["table"] = [
                {**row, part: change(row[part])} if row["layer"] == layer else row
                for row in record["table"]
            ]
        return replace(made, record=record)

    return edit


def rescaled(factor: float) -> Callable[[Made], Made]:
    """Multiply the readout's scale, weights, bias and record alike: consistent, but silly."""

    def edit(made: Made) -> Made:
        made = made.with_weights("out", lambda w: np.clip(2 * np.rint(factor * w / 2), -254, 254))
        return in_record("units", "out", lambda u: factor * u)(
            in_record("scale", "out", lambda s: factor * s)(made)
        )

    return edit


def floored_host_weights(made: Made) -> Made:
    return made.with_weights("l1", lambda _: np.floor(exact_host_weights(made, "l1")))


def declared(name: str, **fields: Any) -> Callable[[Made], Made]:
    """Let the record declare something else of one pass."""

    def edit(made: Made) -> Made:
        relations = made.record["relations"]
        relations = {**relations, name: {**relations[name], **fields}}
        return replace(made, record={**made.record, "relations": relations})

    return edit


def with_field(name: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda part: replace(part, **{name: change(getattr(part, name))})


NUMBERS = [
    Numbers("weights: 1 % of the signs flipped", "compensated", "l2", weights("l2", flipped(0.01))),
    Numbers(
        "weights: 1 % of the signs flipped, rounded to nearest",
        "plain",
        "l2",
        weights("l2", flipped(0.01)),
    ),
    Numbers(
        "weights: one sign of the smallest size flipped",
        "compensated",
        "l2",
        weights("l2", one_small_sign),
    ),
    Numbers(
        "weights: one sign in the readout flipped", "found", "out", weights("out", one_small_sign)
    ),
    Numbers(
        "weights: a neuron all zero", "compensated", "l2", weights("l2", with_rows(5, factor=0))
    ),
    Numbers("weights: channel 0 halved", "plain", "l1", weights("l1", with_rows(0, factor=0.5))),
    Numbers(
        "weights: channel 0 halved on the host",
        "host",
        "l1",
        weights("l1", with_rows(0, factor=0.5)),
    ),
    Numbers(
        "weights: clipped at 126",
        "compensated",
        "l2",
        weights("l2", lambda w: np.clip(w, -126, 126)),
    ),
    Numbers("weights: one bit lost", "plain", "l2", weights("l2", lambda w: 4 * np.rint(w / 4))),
    Numbers("weights: negated", "plain", "out", weights("out", np.negative)),
    Numbers(
        "weights: one step too large",
        "plain",
        "l2",
        weights("l2", lambda w: np.clip(w + 2, -254, 254)),
    ),
    Numbers(
        "weights: an input forgotten",
        "plain",
        "l2",
        weights("l2", lambda w: np.concatenate([w[:, :-1], 0 * w[:, -1:]], axis=1)),
    ),
    Numbers(
        "weights: half the scale, threshold as before",
        "plain",
        "l2",
        weights("l2", lambda w: 2 * np.rint(w / 4)),
    ),
    Numbers(
        "order: kernel transposed", "plain", "l1", weights("l1", lambda w: w.transpose(0, 1, 3, 2))
    ),
    Numbers(
        "order: kernel turned round", "plain", "l1", weights("l1", lambda w: w[..., ::-1, ::-1])
    ),
    Numbers(
        "order: channels last when flattened",
        "plain",
        "l2",
        weights("l2", lambda w: w.reshape(16, 4, 9).transpose(0, 2, 1).reshape(16, 36)),
    ),
    Numbers(
        "order: classes shifted by one", "plain", "out", weights("out", lambda w: np.roll(w, 1, 0))
    ),
    Numbers(
        "order: two classes swapped", "compensated", "out", weights("out", lambda w: w[[1, 0, 2]])
    ),
    Numbers(
        "geometry: dilation 2 with padding 2",
        "plain",
        "l1",
        synapse("l1", lambda s: replace(s, dilation=(2, 2), padding=(2, 2))),
    ),
    Numbers(
        "geometry: stride 3 with padding 2",
        "plain",
        "l1",
        synapse("l1", lambda s: replace(s, stride=(3, 3), padding=(2, 2))),
    ),
    Numbers(
        "geometry: a weight exponent",
        "plain",
        "l2",
        synapse("l2", lambda s: replace(s, exponent=1)),
    ),
    Numbers(
        "readout: divided by the number of steps",
        "plain",
        "out",
        weights("out", lambda w: 2 * np.rint(w / 4 / 2)),
    ),
    Numbers(
        "readout: its units divided by the number of steps",
        "plain",
        "out",
        in_record("units", "out", lambda u: u / 4),
    ),
    Numbers("scale: so small that no weight is left", "plain", "out", rescaled(1e-4)),
    Numbers("scale: so large that all weights are cut off", "plain", "out", rescaled(50.0)),
    Numbers("bias: forgotten", "plain", "l2", neuron("l2", with_field("bias", lambda b: 0 * b))),
    Numbers(
        "bias: of the wrong sign", "plain", "l2", neuron("l2", with_field("bias", np.negative))
    ),
    Numbers(
        "bias: halved", "compensated", "l2", neuron("l2", with_field("bias", lambda b: b // 2))
    ),
    Numbers(
        "bias: in steps of 64",
        "compensated",
        "l2",
        neuron("l2", with_field("bias", lambda b: 64 * ((b + 32) // 64))),
    ),
    Numbers(
        "bias: of the next neuron",
        "plain",
        "l2",
        neuron("l2", with_field("bias", lambda b: np.roll(b, 1))),
    ),
    Numbers(
        "bias: one unit too small where equality fires",
        "equality",
        "l2",
        neuron("l2", with_field("bias", lambda b: b - 1)),
    ),
    Numbers(
        "threshold: one unit too high",
        "plain",
        "l2",
        neuron("l2", with_field("threshold", lambda t: t + 1)),
    ),
    Numbers(
        "threshold: doubled", "plain", "l1", neuron("l1", with_field("threshold", lambda t: 2 * t))
    ),
    Numbers(
        "decay: one step too fast", "plain", "l2", neuron("l2", with_field("dv", lambda d: d + 1))
    ),
    Numbers(
        "decay: leak and decay mixed up",
        "plain",
        "l2",
        neuron("l2", with_field("dv", lambda d: 4096 - d)),
    ),
    Numbers(
        "decay: a synaptic filter", "plain", "l2", neuron("l2", with_field("du", lambda d: d - 1))
    ),
    Numbers(
        "table: gain missing at step 0",
        "gain",
        "l2",
        neuron("l2", with_field("threshold", lambda t: np.concatenate([t[:1] * 9 // 10, t[1:]]))),
    ),
    Numbers(
        "table: thresholds one unit too high",
        "gain",
        "l2",
        neuron("l2", with_field("threshold", lambda t: t + 1)),
    ),
    Numbers(
        "table: leaks one step late",
        "gain",
        "l1",
        neuron("l1", with_field("leak", lambda k: np.roll(k, 1))),
    ),
    Numbers("host: weights floored", "host", "l1", floored_host_weights),
    Numbers(
        "host: one bit of shift too many",
        "host",
        "l1",
        current("l1", with_field("shift", lambda s: s + 1)),
    ),
    Numbers(
        "host: offset forgotten", "host", "l1", current("l1", with_field("offset", lambda o: 0 * o))
    ),
    Numbers(
        "host: offset one unit too small where equality fires",
        "host at equality",
        "l1",
        current("l1", with_field("offset", lambda o: o - 1)),
    ),
    Numbers(
        "record: clipped share understated",
        "plain",
        "l2",
        in_record("clipped_share", "l2", lambda c: c + 0.1),
    ),
]

DECLARED = [
    Declared(
        "declared: a bound that excuses every difference",
        STATES,
        declared("lower", bound=1e30),
        "bound on a membrane that the bundle declares; what its numbers give is less",
    ),
    Declared(
        "declared: a bound that the membranes exceed",
        STATES,
        declared("lower", bound=0.001),
        "largest difference of a membrane, beside the bound that the bundle declares",
    ),
    Declared(
        "declared: a bound in an unknown unit",
        STATES,
        declared("lower", unit="bananas"),
        "in the unit “bananas”; it is judged in “v-units at equal spikes”",
    ),
    Declared(
        "declared: a bound without its unit",
        STATES,
        declared("lower", unit=""),
        "in the unit “”; it is judged in “v-units at equal spikes”",
    ),
    Declared(
        "declared: a bound on rounded parameters, in a unit of its own",
        PARAMETERS,
        declared("quantise", kind="bounded", bound=1.0, unit="steps"),
        "in the unit “steps”, and no bound in any unit is known for it",
    ),
    Declared(
        "declared: a bound on rounded parameters, in the unit of their states",
        PARAMETERS,
        declared("quantise", kind="bounded", bound=1e30, unit="v-units at equal spikes"),
        "no bound in any unit is known for it",
    ),
    Declared(
        "declared: an exact pass with a unit",
        FOLDING,
        declared("fold", unit="v-units at equal spikes"),
        "no bound in any unit is known for it",
    ),
]

KEEP_COMPENSATED = (
    search,
    "winner = min(range(len(pool)), key=lambda i: scores[i])",
    "winner = len(pool) - 1",
)
"""Without it a compensation that does not help is not kept, and does no harm."""

CODE = [
    Code(
        "rounding: floor instead of nearest",
        "plain",
        "l2",
        quantise,
        "np.rint(weight, out=weight)",
        "np.floor(weight, out=weight)",
    ),
    Code(
        "rounding: toward zero instead of nearest",
        "plain",
        "l2",
        quantise,
        "np.rint(weight, out=weight)",
        "np.trunc(weight, out=weight)",
    ),
    Code(
        "rounding: table rounded up",
        "gain",
        "l2",
        quantise,
        "raw = np.where(whole, nearest, np.floor(exact))",
        "raw = np.where(whole, nearest, np.ceil(exact))",
    ),
    Code(
        "rounding: bias to nearest where equality fires",
        "equality",
        "l2",
        quantise,
        "    if not above:\n        return nearest\n",
        "    return nearest\n",
    ),
    Code(
        "rounding: leak rounded up",
        "plain",
        "l2",
        quantise,
        "return max(1, round(fx.DECAY_ONE * float(lif.leak)))",
        "return max(1, round(fx.DECAY_ONE * float(lif.leak)) + 1)",
    ),
    Code(
        "pixels: divided by 256",
        "plain",
        "l1",
        quantise,
        "return weight / 255 if self.pixels else weight",
        "return weight / 256 if self.pixels else weight",
    ),
    Code(
        "pixels: divided by 256 on the host",
        "host",
        "l1",
        quantise,
        "return weight / 255 if self.pixels else weight",
        "return weight / 256 if self.pixels else weight",
    ),
    Code(
        "bias: without the factor 64",
        "plain",
        "l2",
        quantise,
        "bias * V_UNITS, layer.fires_at_equality, bias_exponent",
        "bias, layer.fires_at_equality, bias_exponent",
    ),
    Code(
        "bias: coarser than it need be",
        "plain",
        "l2",
        quantise,
        "exponents = range(fx.BIAS_EXPONENT_MAX + 1) if forced",
        "exponents = range(6, fx.BIAS_EXPONENT_MAX + 1) if forced",
    ),
    Code(
        "host: weights floored in the code",
        "host",
        "l1",
        host,
        "weight = np.rint(layer.weight * per_unit)",
        "weight = np.floor(layer.weight * per_unit)",
    ),
    Code(
        "host: offset half a step too high",
        "host",
        "l1",
        host,
        "whole = np.rint(offset).astype(np.int64)",
        "whole = np.rint(offset).astype(np.int64) + (1 << shift >> 1)",
    ),
    Code(
        "host: not raised where equality fires",
        "host at equality",
        "l1",
        host,
        "raised: chip.Ints = np.ceil(offset).astype(np.int64) + margin + step",
        "raised: chip.Ints = np.ceil(offset).astype(np.int64) + margin",
    ),
    Code(
        "compensation: of the wrong sign",
        "compensated",
        "l2",
        compensate,
        "columns_of_block[i + 1 :] -= weights[1:, None] * errors[i]",
        "columns_of_block[i + 1 :] += weights[1:, None] * errors[i]",
        KEEP_COMPENSATED,
    ),
    Code(
        "compensation: bias not taken along",
        "compensated",
        "l2",
        compensate,
        "return rows[:, :-1].reshape(weight.shape), left if whole else bias + left",
        "return rows[:, :-1].reshape(weight.shape), bias",
        KEEP_COMPENSATED,
    ),
    Code(
        "fold: mean of the batch norm forgotten",
        "host",
        "l1",
        fold,
        "beta - mean * factor",
        "beta + 0 * mean",
    ),
    Code(
        "gain: threshold of step 0 without it",
        "gain",
        "l1",
        gain,
        "np.array([lif.threshold / row for row in rows])",
        "np.array([lif.threshold / row for row in [1.1, *rows[1:]]])",
    ),
    Code(
        "gain: ratio upside down",
        "gain",
        "l2",
        gain,
        "(before / now for before, now in pairwise(rows))",
        "(now / before for before, now in pairwise(rows))",
    ),
]
BUGS: list[Code | Numbers] = [*NUMBERS, *CODE]

RECORD = ("record", "readout: its units")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "seeded-bugs.md"
HEAD = """# Seeded bugs

Made from the corpus by `python tests/seeded_bugs.py`; a test compares the two.

Each of these {count} bugs is planted in a real conversion, in its code while it runs or in the
numbers it made, one at a time. Each makes the step "folded to integers" of V2 fail and is named
with its layer there and in V3 (`tests/unit/verify/test_seeded_bugs.py`), given the calibration
images; without them none passes. Unsound range analyses, which V9 must fail, are planted in
`tests/unit/verify/test_certificate.py`.

| bug | planted in | layer |
|---|---|---|
"""


DECLARED_HEAD = """
The record of right numbers may declare a wrong relation. Each of these makes V2 fail at the step
that it is declared of, and at no other.

| declared | step of V2 |
|---|---|
"""


def page() -> str:
    """Return the table of the corpus."""
    rows = []
    for bug in BUGS:
        place = "the record" if bug.name.startswith(RECORD) else "the numbers"
        if isinstance(bug, Code):
            place = f"`{bug.module.__name__}`"
        rows.append(f"| {bug.name} | {place} | {bug.layer} |\n")
    wrong = [f"| {bug.name.removeprefix('declared: ')} | {bug.stage} |\n" for bug in DECLARED]
    return "".join([HEAD.format(count=len(BUGS)), *rows, DECLARED_HEAD, *wrong])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
