"""V9: a certificate is judged by other code, and every unsound one fails and names the layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from seeding import Made, judged, make, mutated_certificate

from spikeproof.certify import ranges
from spikeproof.convert.options import ConvertOptions
from spikeproof.document.values import dump
from spikeproof.io.record import TableRow, read_table
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    HostCurrent,
    LifNeuron,
    ReadoutNeuron,
    TableLifNeuron,
)
from spikeproof.verify.certificate import judge_certificate
from spikeproof.verify.checks.overflow import CHECK, ranges_outcome

NO_BIAS = np.zeros(1, np.int32)


def dense(name: str, weights: Any, neuron: Any) -> ChipLayer:
    weight = np.array(weights, np.int16)
    return ChipLayer(name, (Connection(DenseSynapse(weight)),), neuron, (len(weight),))


def spikes(steps: int, *layers: ChipLayer) -> ChipNetwork:
    width = layers[0].synapse.weight.shape[1]  # type: ignore[union-attr]
    return ChipNetwork("hand", (1, 1, width), steps, layers, "spikes")


PLAIN = spikes(
    6,
    dense("l1", [[40, -80, 20], [30, 12, -6]], LifNeuron(50, 41, np.array([70, -30], np.int32), 1)),
    dense("out", [[20, -90], [6, 40]], ReadoutNeuron(np.array([3], np.int32), 2)),
)
INHIBITED = spikes(5, dense("l1", [[-100, -80, 2], [-4, 2, 6]], LifNeuron(50, 41, NO_BIAS)))
LOWERED = spikes(5, dense("l1", [[10, -20]], LifNeuron(50, 41, np.array([-300], np.int32))))
FILTERED = spikes(5, dense("l1", [[60, -20]], LifNeuron(3000, 100, NO_BIAS, 0, 2000)))
LEVEL = np.array([9000, 9000, 9000, 9000])
RISING = spikes(
    4, dense("l1", [[60, -20]], TableLifNeuron(np.array([0, 4000, 2000, 8000]), LEVEL, NO_BIAS))
)
FADING = spikes(
    4, dense("l1", [[60, -20]], TableLifNeuron(np.array([0, 8000, 4000, 0]), LEVEL, NO_BIAS))
)
EXACTLY_AT_IT = spikes(3, dense("l1", [[6]], LifNeuron(10, 0, np.array([640], np.int32))))
"""Its bias alone brings v exactly to the threshold, where it stays silent and is kept."""

HOST = ChipNetwork(
    "host",
    (1, 1, 2),
    3,
    (
        ChipLayer(
            "l1",
            (
                Connection(
                    DenseSynapse(np.array([[8, -40]], np.int32)),
                    host=HostCurrent(np.array([16]), 4),
                ),
            ),
            LifNeuron(1000, 41, NO_BIAS, 3),
            (1,),
        ),
    ),
)
PADDED = ChipNetwork(
    "padded",
    (2, 4, 4),
    3,
    (
        ChipLayer(
            "c1",
            (
                Connection(
                    ConvSynapse(
                        np.array([[[[10, -20], [30, -40]]], [[[-6, 8], [-2, 4]]]], np.int16),
                        (2, 4, 4),
                        (1, 1),
                        (1, 1),
                        (2, 2),
                        2,
                    )
                ),
            ),
            LifNeuron(60, 41, NO_BIAS.reshape(1, 1, 1)),
            (2, 4, 4),
        ),
    ),
    "spikes",
)
NETWORKS = {
    "plain": PLAIN,
    "inhibited": INHIBITED,
    "filtered": FILTERED,
    "rising": RISING,
    "fading": FADING,
    "lowered": LOWERED,
    "at the threshold": EXACTLY_AT_IT,
    "host": HOST,
    "padded": PADDED,
}

KEEP_NOTHING = "v_high = np.clip(fx.scale_toward_zero(high, leak)"
U_KEEPS = "fx.scale_toward_zero(u_high, neuron.u_keep)"
WIDEST = "np.minimum(v_low, state.v_low), np.maximum(v_high, state.v_high)"
MUTANTS = [
    ("reach of the least sum", "inhibited", "l1", "-low.min()", "-low.max()"),
    (
        "reach forgets what inhibits",
        "inhibited",
        "l1",
        "return int(max(-low.min(), high.max()))",
        "return int(max(high.max(), 0))",
    ),
    (
        "a reset forgets the silent",
        "plain",
        "l1",
        "np.where(silent, np.maximum(threshold, fired_high), fired_high)",
        "fired_high",
    ),
    (
        "on the threshold counts as fired",
        "at the threshold",
        "l1",
        "silent = v_low <= threshold",
        "silent = v_low < threshold",
    ),
    ("nobody fires", "plain", "out", "fires | state.may_fire", "fires & state.may_fire"),
    (
        "a reset lifts what inhibits",
        "plain",
        "l1",
        "np.where(silent, np.minimum(v_low, fired_low), fired_low)",
        "fired_low",
    ),
    ("bias forgotten", "plain", "l1", "+ u_high + bias[1], -", "+ u_high, -"),
    ("bias forgotten from below", "lowered", "l1", "+ u_low + bias[0], -", "+ u_low, -"),
    (
        "bias not shifted",
        "plain",
        "l1",
        "bias = [neuron.bias_units(m) for m in drive.mantissa]",
        "bias = [neuron.bias + m for m in drive.mantissa]",
    ),
    (
        "one step too few",
        "plain",
        "l1",
        "for t in range(timesteps):",
        "for t in range(timesteps - 1):",
    ),
    ("what was kept is forgotten", "plain", "l1", KEEP_NOTHING, KEEP_NOTHING.replace("leak", "0")),
    (
        "the leak of the step before",
        "rising",
        "l1",
        "neuron.leak_at(t)",
        "neuron.leak_at(max(t - 1, 0))",
    ),
    ("u keeps nothing", "filtered", "l1", U_KEEPS, "fx.scale_toward_zero(u_high, 0)"),
    (
        "a hidden + 1 forgotten",
        "filtered",
        "l1",
        U_KEEPS,
        U_KEEPS.replace("u_keep", "u_keep - 1"),
    ),
    (
        "only the last step counts",
        "fading",
        "l1",
        WIDEST,
        "np.minimum(v_low, state.v_low), state.v_high",
    ),
    (
        "only the last step counts from below",
        "fading",
        "l1",
        WIDEST,
        "state.v_low, np.maximum(v_high, state.v_high)",
    ),
    (
        "spikes weigh nothing when they inhibit",
        "inhibited",
        "l1",
        "np.minimum(weight, 0)",
        "0 * np.minimum(weight, 0)",
    ),
    ("half of the payload", "host", "l1", "network.input_max", "network.input_max // 2"),
    (
        "offset forgotten",
        "host",
        "l1",
        "one.host.mantissa(most)",
        "one.host.mantissa(most - one.host.offset)",
    ),
    (
        "rounded down",
        "host",
        "l1",
        "one.host.mantissa(most)",
        "((most + one.host.offset) >> one.host.shift)",
    ),
    ("headroom of the best quantity", "plain", "l1", "headroom_bits=min(", "headroom_bits=max("),
    ("average bound", "plain", "l1", "int(v_high.max())", "int(v_high.min())"),
    ("average bound from below", "plain", "l1", "int(v_low.min())", "int(v_low.max())"),
]


def _v9(rows: Any) -> dict[str, Any]:
    return dump(CHECK.check(ranges_outcome(rows)))


@pytest.mark.parametrize(
    ("name", "network", "layer", "old", "new"), MUTANTS, ids=[m[0] for m in MUTANTS]
)
def test_unsound_certificate_fails_and_names_layer_and_neuron(
    name: str, network: str, layer: str, old: str, new: str
) -> None:
    unsound = mutated_certificate(old, new)
    found = _v9(judge_certificate(NETWORKS[network], None, unsound.certify_ranges))
    assert found["verdict"] == "fail"
    reason = next(r for r in found["reasons"] if r["layer"] == layer)
    assert len(reason["neuron"]) >= 1
    assert not next(row for row in found["data"]["layers"] if row["name"] == layer)["ok"]
    assert layer in found["summary"]


@pytest.mark.parametrize("network", NETWORKS)
def test_sound_certificate_holds_and_is_nearly_reached(network: str) -> None:
    rows = judge_certificate(NETWORKS[network], None)
    assert _v9(rows)["verdict"] == "pass"
    for row in rows:
        assert not row.unsound
        assert row.v_low <= row.reached.v_low <= row.reached.v_high <= row.v_high
        assert row.reached.v_low <= 0.9 * row.v_low or row.v_low >= -64
        assert row.reached.v_high >= 0.6 * row.v_high
        assert row.reached.engine == "reference"


def test_runs_alone_refute_a_certificate_that_forgets_resets(monkeypatch: Any) -> None:
    """Even if the second bound had the same mistake, an input shows it."""
    wrong = mutated_certificate(
        "np.where(silent, np.maximum(threshold, fired_high), fired_high)", "fired_high"
    )
    rows = judge_certificate(PLAIN, None, wrong.certify_ranges)
    assert any("an input drives v of neuron" in text for text in rows[0].unsound)


def _claimed(true: ranges.LayerRange) -> TableRow:
    told = {
        "layer": true.name,
        "v_high": true.v_high,
        "v_low": true.v_low,
        "sum_bound": true.sum_bound,
        "headroom_bits": round(true.headroom_bits, 3),
        "host_bound": 0,
    }
    (row,) = read_table([told], None)
    return row


@pytest.mark.parametrize(
    ("key", "value"),
    [("v_high", 100), ("v_low", -1), ("sum_bound", 10), ("headroom_bits", 23.0)],
)
def test_record_that_claims_too_much_fails(key: str, value: float) -> None:
    rows = {row.name: _claimed(row) for row in ranges.certify_ranges(PLAIN)}
    assert _v9(judge_certificate(PLAIN, rows))["verdict"] == "pass"
    lying = {**rows, "l1": rows["l1"].model_copy(update={key: value})}
    found = _v9(judge_certificate(PLAIN, lying))
    assert found["verdict"] == "fail"
    assert (
        "wrong figure in the bundle's record (not an overflow)" in found["reasons"][0]["criterion"]
    )
    assert not {"value", "limit"} & set(found["reasons"][0])
    assert found["summary"].startswith("No input can leave the chip's ranges.")
    assert found["summary"].endswith("But what the bundle's record says of l1 is wrong.")


def test_certificate_that_leaves_a_layer_out_fails() -> None:
    rows = judge_certificate(PLAIN, None, lambda network: ranges.certify_ranges(network)[:1])
    found = _v9(rows)
    assert found["verdict"] == "fail"
    assert "no certificate for out" in found["reasons"][0]["criterion"]


def test_planted_mutant_fails_the_verification_of_a_conversion(case: Any) -> None:
    made = make(case.source, case.x, ConvertOptions(search=False, compensate=False))
    for old, new in (
        ("-low.min()", "-low.max()"),
        ("np.where(silent, np.maximum(threshold, fired_high), fired_high)", "fired_high"),
    ):
        certify = mutated_certificate(old, new).certify_ranges
        assert judged(made, certify=certify)["V9"]["verdict"] == "fail"


def _edited(made: Made, layer: str, edit: Any) -> Made:
    table = [edit(dict(row)) if row["layer"] == layer else row for row in made.record["table"]]
    return replace(made, record={**made.record, "table": [row for row in table if row]})


RANGES = ("sum_bound", "host_bound", "v_low", "v_high", "headroom_bits")
SCALES = ("scale", "clipped_share")


@pytest.mark.parametrize("claim", [*RANGES, *SCALES])
def test_claim_that_is_missing_or_renamed_is_inconclusive_and_named(case: Any, claim: str) -> None:
    made = make(case.source, case.x, ConvertOptions(search=False, compensate=False))
    check = "V9" if claim in RANGES else "V2"
    for edit in (
        lambda row: {k: v for k, v in row.items() if k != claim},
        lambda row: {f"{k}_x" if k == claim else k: v for k, v in row.items()},
        lambda row: {**row, claim: None},
    ):
        found = judged(_edited(made, "l2", edit))
        assert {k for k, v in found.items() if v["verdict"] == "inconclusive"} == {check}
        (reason,) = found[check]["reasons"]
        assert (reason["verdict"], reason["layer"]) == ("inconclusive", "l2")
        assert reason["criterion"].endswith(f"so that they cannot be judged: {claim}")


def test_all_claims_or_whole_rows_that_are_missing_are_named(case: Any) -> None:
    made = make(case.source, case.x, ConvertOptions(search=False, compensate=False))
    for edit in (lambda row: {"layer": row["layer"]}, lambda row: {}):
        found = judged(_edited(made, "out", edit))
        assert (found["V2"]["verdict"], found["V9"]["verdict"]) == ("inconclusive",) * 2
        assert found["V2"]["reasons"][0]["criterion"].endswith(": scale, clipped_share")
        assert found["V9"]["reasons"][0]["criterion"].endswith(": " + ", ".join(RANGES))
        assert found["V9"]["reasons"][0]["layer"] == "out" and "lacks" in found["V9"]["summary"]
    nothing = judged(replace(made, record={**made.record, "table": []}))
    assert {r["layer"] for r in nothing["V9"]["reasons"]} == {"l1", "l2", "out"}


def test_a_wrong_claim_beside_a_missing_one_fails(case: Any) -> None:
    made = make(case.source, case.x, ConvertOptions(search=False, compensate=False))

    def edit(row: Any) -> Any:
        return {**{k: v for k, v in row.items() if k != "v_low"}, "headroom_bits": 20}

    assert judged(_edited(made, "l2", edit))["V9"]["verdict"] == "fail"
