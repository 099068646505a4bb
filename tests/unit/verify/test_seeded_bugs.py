"""Every seeded conversion bug makes a check fail, and the check names its stage and its layer.

Each is judged by V2 (stages and re-quantisation), V3 (the layer) and V9 (ranges), without looking
at accuracy. The corpus is ``tests/seeded_bugs.py``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seeded_bugs import (
    BASES,
    BUGS,
    CODE,
    DECLARED,
    FOLDING,
    GAIN,
    NUMBERS,
    PLAIN,
    ROUNDING,
    STATES,
    Code,
    Declared,
    Numbers,
    declared,
    flipped,
    in_record,
    page,
)
from seeding import Made, firing_at_equality, float_network, judged, make, mutated, named, replaced

from spikeproof.convert.options import ConvertOptions
from spikeproof.reasons import Reason

ANYWHERE = [b for b in NUMBERS if b.base == "plain" and not b.name.startswith("geometry")]


@pytest.fixture(scope="module")
def bases() -> dict[str, Any]:
    """Return the right conversions, made when first used."""
    return {}


def _source(base: str) -> Any:
    with_gain, at_equality, _ = BASES[base]
    network = float_network(GAIN if with_gain else None)
    return firing_at_equality(network) if at_equality else network


def _images() -> Any:
    return np.random.default_rng(1).integers(0, 256, (64, 1, 6, 6)).astype(np.uint8)


def _base(bases: dict[str, Any], name: str) -> Made:
    if name not in bases:
        bases[name] = make(_source(name), _images(), ConvertOptions(**BASES[name][2]))
    made: Made = bases[name]
    return made


def _seeded(bug: Code | Numbers, bases: dict[str, Any], monkeypatch: Any) -> Made:
    if isinstance(bug, Numbers):
        return bug.change(_base(bases, bug.base))
    with monkeypatch.context() as patch:
        if bug.also is not None:
            replaced(bug.also[0], mutated(*bug.also), patch)
        replaced(bug.module, mutated(bug.module, bug.old, bug.new), patch)
        return make(_source(bug.base), _images(), ConvertOptions(**BASES[bug.base][2]))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_seeded_bug_fails_v2_and_names_stage_and_layer(
    bug: Code | Numbers, bases: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = judged(_seeded(bug, bases, monkeypatch))
    assert found["V2"]["verdict"] == "fail"
    assert (ROUNDING, bug.layer) in named(found["V2"])
    assert found["V3"]["figures"]["layer"] == _first_wrong(found["V2"])
    assert bug.layer in found["V3"]["summary"] or isinstance(bug, Code)


def _first_wrong(check: Any) -> str:
    wrong = {layer for _, layer in named(check)}
    return next(name for name in ("l1", "l2", "out") if name in wrong)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_seeded_bug_never_passes_where_the_calibration_images_are_unknown(
    bug: Code | Numbers, bases: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _seeded(bug, bases, monkeypatch)
    assert judged(made, calibrated=False)["V2"]["verdict"] != "pass"


@pytest.mark.parametrize("base", ["compensated", "found"])
@pytest.mark.parametrize("bug", ANYWHERE, ids=lambda bug: bug.name)
def test_bug_in_compensated_numbers_never_passes(
    bug: Numbers, base: str, bases: dict[str, Any]
) -> None:
    made = bug.change(_base(bases, base))
    assert judged(made)["V2"]["verdict"] == "fail"
    assert judged(made, calibrated=False)["V2"]["verdict"] != "pass"


@pytest.mark.parametrize("base", BASES)
def test_right_conversion_without_its_calibration_images_is_told_what_to_add(
    base: str, bases: dict[str, Any]
) -> None:
    found = judged(_base(bases, base), calibrated=False)["V2"]
    compensated = base in ("compensated", "found")  # "loihi" may be, but nothing is gained by it
    assert found["verdict"] == ("inconclusive" if compensated else "pass")
    for reason in found["reasons"]:
        assert reason["criterion"].startswith(
            "weights checked one by one: these were compared only"
        )
        assert "verify --calibration FILE" in reason["try"]
        assert "--no-compensate" in reason["try"]


def test_bias_moved_beyond_what_compensation_can_fails_on_any_images(bases: dict[str, Any]) -> None:
    made = _base(bases, "compensated")
    unit = 2 ** made.layer("l2").neuron.bias_exponent
    for calibrated in (True, False):

        def moved(neuron: Any) -> Any:
            return replace(neuron, bias=neuron.bias + np.eye(16, dtype=np.int32)[3] * 4800 // unit)

        found = judged(made.with_neuron("l2", moved), calibrated=calibrated)["V2"]
        assert found["verdict"] == "fail"
        assert any("bias [3]" in r["criterion"] for r in found["reasons"])


@pytest.mark.parametrize("base", BASES)
def test_right_conversion_passes_and_v3_names_no_layer(base: str, bases: dict[str, Any]) -> None:
    found = judged(_base(bases, base))
    assert {k: v["verdict"] for k, v in found.items()} == {"V2": "pass", "V3": "info", "V9": "pass"}
    assert found["V3"]["figures"]["layer"] is None
    assert "by more than rounding explains" in found["V3"]["summary"] or (
        "No two stages" in found["V3"]["summary"]
    )


@pytest.mark.parametrize("calibrated", [True, False])
def test_clipped_share_of_the_record_is_checked_on_any_images(
    calibrated: bool, bases: dict[str, Any]
) -> None:
    made = make(
        _source("found"),
        _images(),
        ConvertOptions(search=False, input_coding="graded", scale={"l2": 900.0}),
    )
    rows = judged(made, calibrated=calibrated)["V2"]["data"]["stages"]
    layer = next(r for r in rows if r["relation"] == "rounding")["layers"][1]
    assert layer["rounding"] == ("compensated" if calibrated else "objective")
    assert layer["clipped_share"] > 0.1
    assert layer["outside"] == 0
    for stated in (0.0, 0.9):
        lying = in_record("clipped_share", "l2", lambda _, s=stated: s)(made)
        found = judged(lying, calibrated=calibrated)["V2"]
        assert found["verdict"] == "fail"
        assert any(r["criterion"].startswith("clipped share") for r in found["reasons"])


def test_free_bias_exponent_of_a_host_is_not_counted_as_compared(bases: dict[str, Any]) -> None:
    def compared(base: str) -> int:
        rows = judged(_base(bases, base))["V2"]["data"]["stages"]
        stage = next(r for r in rows if r["relation"] == "rounding")
        return int(stage["layers"][0]["values"])

    assert compared("loihi") == compared("host") + 1


def _forced(base: Made, scale: float) -> Made:
    options = ConvertOptions(**PLAIN, input_coding="graded", scale={"out": scale})
    return make(base.source, base.x, options)


def test_forced_scale_that_leaves_no_weight_fails(bases: dict[str, Any]) -> None:
    """The conversion refuses such a scale, so the weights are taken away afterwards."""
    plain = _base(bases, "plain")
    scale = 0.01 * plain.record["units"]["out"] / 64
    found = judged(_forced(plain, scale).with_weights("out", lambda w: 0 * w))["V2"]
    assert found["verdict"] == "fail"
    assert "number of weights that are not zero" in str(found["reasons"])
    assert f"scale {{'out': {scale}}}" in found["summary"]


@pytest.mark.parametrize(("factor", "doubt"), [(0.01, "wastes"), (4.0, "cuts off")])
def test_forced_scale_that_leaves_little_is_doubted(
    factor: float, doubt: str, bases: dict[str, Any]
) -> None:
    plain = _base(bases, "plain")
    usual = plain.record["units"]["out"] / 64
    assert judged(_forced(plain, usual))["V2"]["verdict"] == "pass"
    found = judged(_forced(plain, factor * usual))["V2"]
    assert found["verdict"] == "inconclusive"
    assert f"the forced scale {factor * usual:g} {doubt}" in found["reasons"][0]["criterion"]
    assert "--scale" in found["reasons"][0]["try"]


def test_the_page_lists_the_corpus(root: Path) -> None:
    assert (root / "docs" / "seeded-bugs.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("bug", DECLARED, ids=lambda bug: bug.name)
def test_wrong_declaration_fails_v2_and_names_the_stage(
    bug: Declared, bases: dict[str, Any]
) -> None:
    found = judged(bug.change(_base(bases, "plain")))["V2"]
    assert found["verdict"] == "fail"
    assert {stage for stage, _ in named(found)} == {bug.stage}
    assert bug.told in Reason.model_validate(found["reasons"][0]).sentence


def test_bound_that_is_exceeded_names_the_layer_and_both_numbers(bases: dict[str, Any]) -> None:
    made = _base(bases, "plain")
    rows = judged(made)["V2"]["data"]["stages"]
    states = next(r for r in rows if f"{r['from']} to {r['to']}" == STATES)
    largest = {layer["layer"]: layer["largest"] for layer in states["layers"]}
    first, *_, last = sorted(largest, key=lambda name: largest[name])
    between = (largest[first] + largest[last]) / 2
    reason = judged(declared("lower", bound=between)(made))["V2"]["reasons"][0]
    assert (reason["value"], reason["limit"]) == (max(largest.values()), between)
    assert reason["layer"] == next(n for n in largest if largest[n] > between) != first
    enough = declared("lower", bound=largest[last])(made)
    assert judged(enough)["V2"]["verdict"] == "pass"


def test_wrong_folding_at_verification_fails_the_folding(
    bases: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold that is wrong in both the conversion and the verification is caught by images."""
    bug = next(b for b in CODE if b.name.startswith("fold"))
    copy = mutated(bug.module, bug.old, bug.new)
    monkeypatch.setattr("spikeproof.convert.pipeline.FOLD", copy.FOLD)
    found = judged(_seeded(bug, bases, monkeypatch))
    assert found["V2"]["verdict"] == "fail"
    assert (FOLDING, "l1") in named(found["V2"])
    assert found["V3"]["figures"]["layer"] == "l1"


def test_every_violation_is_listed_with_index_value_and_bound(bases: dict[str, Any]) -> None:
    made = _base(bases, "plain")
    change = flipped(0.01)
    before = made.layer("l2").synapse.weight.astype(np.float64)  # type: ignore[union-attr]
    wanted = [list(map(int, i)) for i in np.argwhere(change(before) != before)]
    rows = judged(made.with_weights("l2", change))["V2"]["data"]["stages"]
    stage = next(r for r in rows if r["relation"] == "rounding")
    listed = next(r for r in stage["layers"] if r["layer"] == "l2")["violations"]
    assert [v["index"] for v in listed if v["parameter"] == "weight"] == wanted
    for violation in listed:
        assert violation["low"] <= violation["expected"] <= violation["high"]
        assert not violation["low"] <= violation["found"] <= violation["high"]
