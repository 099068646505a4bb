"""No check ends in anything but a pass without saying why, where, by how much and what to try."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from spikeproof.attacks.weak import WEAK as ATTACK
from spikeproof.document.values import dump
from spikeproof.jobs.journal import Audit
from spikeproof.reasons import Reason
from spikeproof.verify.accuracy_rows import accuracy_rows
from spikeproof.verify.advice import Supply
from spikeproof.verify.certificate import RangeLayer, SecondBound
from spikeproof.verify.checked_relation import CheckedRelation
from spikeproof.verify.checks import (
    accuracy,
    bit_exact,
    identity,
    overflow,
    records,
    relations,
    response,
    threshold,
)
from spikeproof.verify.checks.accuracy import accuracy_reasons
from spikeproof.verify.checks.base import Nothing, Outcome
from spikeproof.verify.checks.bit_exact import EngineComparison, EngineComparisons
from spikeproof.verify.checks.response import judge_perturbations
from spikeproof.verify.checks.threshold import BoundaryLayer, Quantiles
from spikeproof.verify.compare import LayerComparison
from spikeproof.verify.config import load_config
from spikeproof.verify.extremes import Reached
from spikeproof.verify.first_difference import FirstDifference
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.responses import Responded, Responses
from spikeproof.verify.ties import EngineTies, TieLayer, Ties
from spikeproof.verify.verdict import Verdict

Json = dict[str, Any]
Drive = Callable[[Any], Json]


def _reason(verdict: str) -> Reason:
    return Reason.model_validate({"verdict": verdict, "criterion": "c"})


def _judged(verdict: str, reasons: list[str]) -> Json:
    figures = bit_exact.ExactFigures(
        compared=0, mismatches=0, samples=0, engine="lava", reference="reference"
    )
    why = [_reason(r) for r in reasons]
    told = Outcome(Verdict(verdict), "", figures, bit_exact.BitExact(), why)
    return dump(bit_exact.CHECK.check(told))


def test_a_check_gives_figures_and_data_of_the_types_it_declares() -> None:
    for figures, data in ((Nothing(), bit_exact.BitExact()), (Nothing(), Nothing())):
        with pytest.raises(ValueError, match="V1 gives Nothing, but declares"):
            bit_exact.CHECK.check(Outcome(Verdict.PASS, "", figures, data))  # type: ignore[arg-type]


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_a_check_that_did_not_pass_needs_a_reason(verdict: str) -> None:
    with pytest.raises(ValueError, match=f"V1 is {verdict}, but its reasons say none"):
        _judged(verdict, [])


@pytest.mark.parametrize(
    ("verdict", "reasons"),
    [
        ("pass", ["fail"]),
        ("info", ["fail"]),
        ("fail", ["inconclusive"]),
        ("inconclusive", ["fail", "inconclusive"]),
    ],
)
def test_reasons_may_not_contradict_the_verdict(verdict: str, reasons: list[str]) -> None:
    with pytest.raises(ValueError, match="its reasons say"):
        _judged(verdict, reasons)


def test_a_failed_check_may_hold_open_questions_and_lists_failures_first() -> None:
    made = _judged("fail", ["inconclusive", "fail"])
    assert [r["verdict"] for r in made["reasons"]] == ["fail", "inconclusive"]
    assert _judged("pass", [])["reasons"] == []


def _engine(mismatches: int, values: int, verdict: str) -> EngineComparisons:
    row = EngineComparison(
        name="lava",
        layers=[LayerComparison(name="l1", values=values, mismatches=mismatches)],
        verdict=Verdict(verdict),
        divergence=FirstDifference(source="reference", target="lava", found=False),
    )
    return EngineComparisons(samples=20, engines=[row])


def _v1(measured: EngineComparisons) -> Json:
    return dump(bit_exact.CHECK.check(bit_exact.exact_outcome(measured, "lava")))


def _stage(**fields: Any) -> CheckedRelation:
    usual = {
        "from": "quantised",
        "to": "chip",
        "relation": "bounded",
        "bound": 1.0,
        "unit": "v-units",
        "max_difference": 0.5,
        "flipped_spikes": 0,
        "spikes": 9,
        "agreement": 1.0,
        "unexcused_spikes": 0,
        "verdict": "fail",
    }
    return CheckedRelation.model_validate(usual | fields)


def _v2(row: CheckedRelation, clean: str = "pass") -> Json:
    exact = _engine(0, 9, "pass")
    return dump(
        relations.CHECK.check(relations.relations_outcome([row], exact, Verdict(clean), 200))
    )


def _supply(used: int, available: int) -> Supply:
    return Supply(available, available, dict.fromkeys(("accuracy", "gaussian", "pgd"), used))


def _v5(in_float: Any, in_chip: Any, config: Any, available: int = 1000) -> Json:
    sides = {"float": np.asarray(in_float, float), "chip": np.asarray(in_chip, float)}
    layer: Json = {k: {"sample": v.tolist(), "step": [v.sum()]} for k, v in sides.items()}
    layer["direction"] = [1.0] * len(sides["float"])
    limits = config.mppd.model_copy(
        update={
            "median_difference": 0.02,
            "p99_difference": 0.1,
            "spearman": 0.95,
            "ratio": (0.95, 1.05),
        }
    )
    strict = config.model_copy(update={"mppd": limits})
    part = Responded.model_validate({"float": [], "chip": [], "layers": {"l2": layer}})
    merged = {"gaussian 4/255": part}
    return _response(merged, strict, _supply(len(in_float), available))


def _response(merged: Responses, config: Any, supply: Supply) -> Json:
    kinds = dict.fromkeys(merged, "gaussian")
    judged = judge_perturbations(merged, kinds, config, supply)
    return dump(response.CHECK.check(response.response_outcome(*judged)))


def _energies(samples: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).gamma(3.0, size=samples)


def _v7(in_float: Any, in_chip: Any, config: Any, available: int = 1000) -> Json:
    """Judge clean images and attacked ones; 1: classified right."""
    clean_float, clean_chip, attacked = (np.asarray(x).tolist() for x in (*in_float, in_chip))
    merged = {
        "clean": Responded(trained=clean_float, chip=clean_chip),
        "pgd-20 8/255": Responded(trained=attacked, chip=attacked),
    }
    planned = [Perturbation(ATTACK.at("pgd", 8), len(attacked))]
    labels = np.ones(len(clean_float), np.int64)
    margins = config.margins.model_copy(update={"clean": 0.02, "pgd": 0.03})
    strict = config.model_copy(update={"margins": margins})
    strict = strict.model_copy(
        update={"samples": config.samples.model_copy(update={"accuracy": len(clean_float)})}
    )
    rows = accuracy_rows(merged, planned, labels, strict)
    reasons = accuracy_reasons(rows, strict, _supply(len(clean_float), available))
    return dump(accuracy.CHECK.check(accuracy.accuracy_outcome(rows, reasons)))


def _right(share: float, samples: int) -> Any:
    return (np.arange(samples) < round(share * samples)).astype(np.int64)


def _v13(ties: int = 3, expected: int = 3, mismatches: int = 0) -> Json:
    engines = {"lava": EngineTies(states=9, mismatches=mismatches)}
    row = TieLayer(name="l1", ties=ties, expected=expected, engines=engines)
    layer = BoundaryLayer(
        name="l1",
        states=100,
        on_threshold=1,
        within_1_lsb=2,
        float_within_1_lsb=None,
        margin_quantiles=Quantiles(p01=0.1, p10=0.2, p50=0.5),
    )
    found = threshold.boundary_outcome([layer], Ties(engines=["lava"], layers=[row]), 30)
    return dump(threshold.CHECK.check(found))


def _range(ok: bool, second: bool = True, unsound: tuple[str, ...] = ()) -> RangeLayer:
    """One layer: judged by its certificate, by the second bound, and the one by the other."""
    figures = {"sum_bound": 1, "u_bound": 1, "v_low": -1, "v_high": 1, "host_bound": 0}
    return RangeLayer(
        name="l3",
        ok=ok,
        headroom_bits=1.0 if ok else -0.41,
        independent=SecondBound(ok=second, headroom_bits=0.9 if second else -0.2, **figures),
        unsound=list(unsound),
        neuron=[2, 5],
        reached=Reached(inputs=4, engine="fast", u=0, v_low=0, v_high=0, lowest=(0,), highest=(0,)),
    )


def _v9(*layers: RangeLayer) -> Json:
    return dump(overflow.CHECK.check(overflow.ranges_outcome(list(layers))))


def _v16(audit: Audit) -> Json:
    return dump(records.CHECK.check(records.records_outcome(audit)))


# Every way of every check to end in something else than a pass: verdict, words of the sentence,
# words of the advice.
WAYS: dict[str, tuple[Drive, str, list[str], str]] = {
    "V1 other integers": (
        lambda _: _v1(_engine(7, 90, "fail")),
        "fail",
        ["reference to lava, l1", "differ from the specification 7", "exactly 0", "20 images"],
        "--self-test --engine lava",
    ),
    "V1 nothing compared": (
        lambda _: _v1(_engine(0, 0, "fail")),
        "fail",
        ["values compared with the specification 0", "more than 0"],
        "--engine",
    ),
    "V2 bound exceeded": (
        lambda _: _v2(_stage(max_difference=3.2)),
        "fail",
        [
            "quantised to chip: largest difference of a membrane 3.2 v-units",
            "at most 1 v-units",
            "200 images",
        ],
        "convert it again",
    ),
    "V2 spikes clear of the threshold": (
        lambda _: _v2(_stage(unexcused_spikes=4)),
        "fail",
        ["clear of the threshold 4", "exactly 0"],
        "convert it again",
    ),
    "V2 no bound": (
        lambda _: _v2(_stage(bound=None, verdict="inconclusive")),
        "inconclusive",
        ["declares no bound", "0.5 v-units"],
        "writes the bound",
    ),
    "V2 rounding": (
        lambda _: _v2(
            _stage(relation="exact", verdict="inconclusive", excused_share=0.2, excused_limit=0.01)
        ),
        "inconclusive",
        ["rounding alone", "20 %", "at most 1 %"],
        "--set stages.excused",
    ),
    "V2 behaviour": (
        lambda _: _v2(_stage(relation="behavioural", bound=None), "inconclusive"),
        "inconclusive",
        ["equal accuracy"],
        "V7",
    ),
    "V5 99th percentile": (
        lambda c: _v5(e := _energies(400), np.where(np.arange(400) % 10, e, e * 2.25), c),
        "fail",
        [
            "l2, gaussian 4/255",
            "99th percentile of the relative difference 50 %",
            "at most 10 %",
            "400 images",
        ],
        "--set mppd.p99_difference=0.501",
    ),
    "V5 ratio": (
        lambda c: _v5(e := _energies(400), e * 1.3, c),
        "fail",
        ["chip / trained 1.3 (limit: between 0.95 and 1.05"],
        "--set mppd.ratio",
    ),
    "V5 ranks": (
        lambda c: _v5(e := _energies(400), e[::-1], c),
        "fail",
        ["rank correlation", "at least 0.95"],
        "No other limit helps: mppd.p99_difference would have to be",
    ),
    "V5 few images": (
        lambda c: _v5(e := _energies(250), e, c),
        "inconclusive",
        [
            "99th percentile of the relative difference 0 %",
            "250 images used, about 299 needed to show a pass",
        ],
        "--set samples.gaussian=299",
    ),
    "V5 fewer images than it takes": (
        lambda c: _v5(e := _energies(250), e, c, 250),
        "inconclusive",
        ["about 299 needed to show a pass"],
        "Give at least 299 images (verify --data; there were 250)",
    ),
    "V5 too few to rank": (
        lambda c: _v5(e := _energies(50), e, c),
        "inconclusive",
        ["rank correlation over the images 1", "50 images used, about 100 needed"],
        "--set samples.gaussian=100",
    ),
    "V5 silent layer": (
        lambda c: _v5(np.zeros(400), np.zeros(400), c),
        "inconclusive",
        ["energy of the perturbation in the trained network 0", "more than 0"],
        "stronger ones",
    ),
    "V5 on the limit": (
        lambda c: _v5(e := _energies(400), np.where(np.arange(400) % 100, e, e * 2.25), c),
        "inconclusive",
        ["99th percentile of the relative difference 50 %", "at most 10 %"],
        "not even a million images",
    ),
    "V5 nothing compared": (
        lambda c: _response({}, c, _supply(1, 100)),
        "inconclusive",
        ["perturbations compared in a spiking layer 0", "at least 1"],
        "--set perturbations",
    ),
    "V5 all alike": (
        lambda c: _v5(np.ones(400), np.ones(400), c),
        "inconclusive",
        ["rank correlation over the images (limit: at least 0.95"],
        "differ more",
    ),
    "V7 unequal": (
        lambda c: _v7((_right(0.9, 1000), _right(0.8, 1000)), _right(0.5, 1000), c),
        "fail",
        [
            "clean: accuracy of the chip network minus that of the trained network −10 points",
            "between −2 and 2 points",
            "1,000 images",
        ],
        "convert --calibration",
    ),
    "V7 few images": (
        lambda c: _v7((_right(0.9, 60), _right(0.9, 60)), _right(0.5, 60), c),
        "inconclusive",
        [
            "clean",
            "minus that of the trained network 0 points",
            "60 images used, about 133 needed to show a pass",
        ],
        "--set samples.accuracy=133",
    ),
    "V7 masked": (
        lambda c: _v7((_right(0.8, 1000), _right(0.8, 1000)), _right(0.9, 1000), c),
        "inconclusive",
        ["pgd-20 8/255", "under attack 90 %", "at most 80 %"],
        "adapts to it",
    ),
    "V9": (
        lambda _: _v9(_range(True), _range(False)),
        "fail",
        ["l3: worst-case headroom over all inputs −0.41 bits", "at least 0 bits"],
        "--scale",
    ),
    "V9 second bound": (
        lambda _: _v9(_range(True, False)),
        "fail",
        ["l3: worst-case headroom over all inputs −0.2 bits", "at least 0 bits"],
        "--scale",
    ),
    "V9 unsound certificate": (
        lambda _: _v9(_range(True, True, ("v reaches 7, claimed 5",))),
        "fail",
        ["l3, neuron [2, 5]: the range certificate does not hold: v reaches 7, claimed 5"],
        "which is a defect",
    ),
    "V2 declared bound too wide": (
        lambda _: _v2(_stage(declared_bound=1e30)),
        "fail",
        ["bound on a membrane that the bundle declares", "at most 1 v-units"],
        "convert it again",
    ),
    "V13 decided differently": (
        lambda _: _v13(mismatches=2),
        "fail",
        ["l1: states that lava decides differently 2", "exactly 0"],
        "fuzz",
    ),
    "V13 missed": (
        lambda _: _v13(ties=2),
        "fail",
        ["forced onto the threshold 2", "at least 3"],
        "report it",
    ),
    "V13 none forced": (
        lambda _: _v13(ties=0, expected=0),
        "inconclusive",
        ["l1 (lava): states forced onto the threshold 0", "at least 1"],
        "--engine",
    ),
    "V16": (
        lambda _: _v16(Audit(12, 11, 1)),
        "fail",
        ["whose record is whole 11", "exactly 12"],
        "fresh folder",
    ),
    "V16 no work": (
        lambda _: _v16(Audit(0, 0, 0)),
        "fail",
        ["0 (limit: exactly 1)"],
        "disk",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_not_to_pass_has_its_reason(way: str, config: Any) -> None:
    drive, verdict, told, advice = WAYS[way]
    made = drive(config)
    assert made["verdict"] == verdict
    reasons = [Reason.model_validate(r) for r in made["reasons"]]
    sentences = [r.sentence for r in reasons]
    fitting = [r for r in reasons if all(part in r.sentence for part in told)]
    assert fitting, sentences
    assert any(advice in r.try_ for r in fitting), [r.try_ for r in fitting]
    assert all(r.try_ for r in reasons)
    named = {key for r in reasons for key in re.findall(r"--set ([\w.]+?)=", r.try_)}
    assert named <= set(_settings(load_config().resolved())), "advice names a setting there is not"


def _settings(resolved: Json, prefix: str = "") -> list[str]:
    nested = [k for k, v in resolved.items() if isinstance(v, dict)]
    inner = [key for k in nested for key in _settings(resolved[k], f"{prefix}{k}.")]
    return [prefix + k for k in resolved if k not in nested] + inner


def test_identity_is_no_check_that_can_fail() -> None:
    """V15: another checkpoint or altered bytes stop the verification before anything runs."""
    hashes = dict.fromkeys(("bundle_hash", "checkpoint_hash", "data_hash"), "a")
    assert identity.identity_outcome(hashes).verdict is Verdict.PASS


def test_v5_says_what_is_shown_and_never_an_impossible_cosine(config: Any) -> None:
    energy = _energies(250)
    summary = _v5(energy, energy, config)["summary"]
    assert "0 of 1 comparisons (each perturbation in each layer) are shown to meet" in summary
    assert "the median cosine is 1." in summary
    assert "Hardest to decide: l2, gaussian 4/255" in summary
    assert response._at_least(0.99996) == "0.999 or more"


def test_v5_gives_the_median_the_same_figure_everywhere(config: Any) -> None:
    """The reason took the upper of two middle images, the table their mean: 1.91 and 1.90 %."""
    energy = _energies(400)
    made = _v5(energy, energy * np.where(np.arange(400) < 200, 1.05, 1.06), config)
    (reason,) = [r for r in made["reasons"] if r["criterion"].startswith("median")]
    assert reason["value"] == 100 * made["figures"]["largest_median_difference"]
    shown = Reason.model_validate(reason).measured
    assert f"the largest median difference is {shown};" in made["summary"]


def test_v13_counts_forced_states_and_compared_states_apart() -> None:
    summary = _v13()["summary"]
    assert "force 3 more states onto it; 0 of the 9 states compared in these runs" in summary


@pytest.mark.parametrize(
    ("available", "verdict"), [(3, "pass"), (19, "inconclusive"), (20, "inconclusive")]
)
def test_few_images_on_the_target_are_too_few_where_there_are_more(
    available: int, verdict: str
) -> None:
    measured = _engine(0, 10, "pass").model_copy(update={"samples": 3})
    told = bit_exact.exact_outcome(measured, "lava", available)
    assert str(told.verdict) == verdict
    assert [r.limit for r in told.reasons] == ([available] if verdict == "inconclusive" else [])
    assert all(f"--lava-samples {available}" in r.try_ for r in told.reasons)
