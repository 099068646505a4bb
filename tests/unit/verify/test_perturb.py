"""V5: the filter is the method's, and a chip that responds otherwise fails."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pytest

from spikeproof.ir import chip
from spikeproof.ir.floats import Lif
from spikeproof.reasons import Reason
from spikeproof.verify.advice import Supply
from spikeproof.verify.checks.response import judge_perturbations
from spikeproof.verify.config import load_config
from spikeproof.verify.layer_match import LayerMatch, relative_difference
from spikeproof.verify.mppd import (
    chip_drives,
    chip_epsilon,
    direction,
    float_drives,
    float_epsilon,
)
from spikeproof.verify.responses import Responded, Responses, measure_batch, merge_batches


def test_float_filter_by_hand() -> None:
    difference = np.array([[[1.0], [0.0], [-0.5]]])
    plain = float_epsilon(Lif("l", 0.5, 2.0), difference)
    assert plain.ravel().tolist() == [0.5, 0.25, -0.125]
    gain = np.array([1.0, 2.0, 4.0])
    scaled = float_epsilon(Lif("l", 0.5, 2.0, True, gain), difference)
    assert scaled.ravel().tolist() == [0.5, 0.25, (0.5 * 0.5 - 4 * 0.5) / 2]


def test_chip_filter_truncates_toward_zero() -> None:
    neuron = chip.LifNeuron(1, 2048, np.zeros(1, np.int32))  # leak 1/2, threshold 64
    layer = chip.ChipLayer(
        "l", (chip.Connection(chip.DenseSynapse(np.zeros((1, 1), np.int16))),), neuron, (1,)
    )
    found = chip_epsilon(layer, np.array([[[-3], [0], [64]]]))
    assert (found * 64).ravel().tolist() == [-3, -1, 64]


def test_table_filter_equals_the_gain_filter() -> None:
    """w = v / a: with leak and threshold tables the normalised filter is the float one."""
    gain, scale = np.array([1.0, 2.0, 0.5]), 1e5
    leak = np.rint(4096 * 0.9 * np.array([1.0, 0.5, 4.0])).astype(np.int64)
    table = chip.TableLifNeuron(leak, (scale / gain).astype(np.int64), np.zeros(1, np.int32))
    layer = chip.ChipLayer(
        "l", (chip.Connection(chip.DenseSynapse(np.zeros((1, 1), np.int16))),), table, (1,)
    )
    current = np.array([[[0.3], [-0.2], [0.7]]])
    real = float_epsilon(Lif("l", 0.9, 1.0, True, gain), current)
    found = chip_epsilon(layer, np.rint(current * scale).astype(np.int64))
    assert found == pytest.approx(real, abs=1e-3)


@pytest.mark.parametrize("kind", ["case", "table_case"])
def test_first_layer_differs_by_rounding_alone(kind: str, request: Any, perturb: Any) -> None:
    """The first layer sees pixels only, so its perturbation differs by rounding alone."""
    case = request.getfixturevalue(kind)
    item = type("P", (), {"kind": "gaussian", "strength": 16.0})()
    images = perturb(item, case.source, case.x, case.y, seed=0, compare=False).images
    found = measure_batch(case.source, case.bundle.network, case.x, {"g": images})
    layer = found["g"].layers["l1"]
    assert layer.chip.sample == pytest.approx(layer.trained.sample, rel=0.03)
    assert layer.chip.step == pytest.approx(layer.trained.step, rel=0.02)


def test_responses_predict_as_the_networks_do(case: Any) -> None:
    assert (float_drives(case.source, case.x).predictions == case.y).all()
    drives = chip_drives(case.bundle.network, case.x).layers
    assert set(drives) == {"l1", "l2"}


def _merged(in_float: Any, in_chip: Any) -> Responses:
    sides = {"float": np.asarray(in_float, float), "chip": np.asarray(in_chip, float)}
    layer: dict[str, Any] = {k: {"sample": v.tolist(), "step": [v.sum()]} for k, v in sides.items()}
    layer["direction"] = [None, *np.linspace(0.9, 1.0, len(sides["float"]) - 1).tolist()]
    return {"g": Responded.model_validate({"float": [], "chip": [], "layers": {"l1": layer}})}


def _strict(config: Any) -> Any:
    limits = config.mppd.model_copy(
        update={
            "median_difference": 0.02,
            "p99_difference": 0.1,
            "spearman": 0.99,
            "ratio": (0.95, 1.05),
        }
    )
    return config.model_copy(update={"mppd": limits})


def _judged(merged: dict[str, Any], config: Any) -> LayerMatch:
    return _reasoned(merged, config)[0]


def _reasoned(merged: dict[str, Any], config: Any) -> tuple[LayerMatch, list[Reason]]:
    """Judge one layer; return its row and the reasons why it did not pass, 1,000 at hand."""
    data, reasons = judge_perturbations(
        merged, {"g": "gaussian"}, _strict(config), Supply(1000, 1000, {"gaussian": 1})
    )
    return data.attacks[0].layers[0], reasons


def test_equal_energies_pass(config: Any) -> None:
    energy = np.random.default_rng(0).gamma(3.0, size=400)
    row = _judged(_merged(energy, energy * 1.004), config)
    assert row.verdict == "pass"
    assert set(row.criteria.values()) == {"pass"}
    assert row.would_pass.p99_difference < 0.01
    assert row.direction == pytest.approx(0.95)


def test_a_handful_of_images_in_equal_order_establishes_no_rank_correlation(config: Any) -> None:
    for samples, expected in ((4, "inconclusive"), (99, "inconclusive"), (400, "pass")):
        energy = np.random.default_rng(0).gamma(3.0, size=samples)
        row = _judged(_merged(energy, energy), config)
        assert row.criteria["spearman"] == expected, samples


def test_rare_images_out_of_order_are_not_hidden_by_the_many_in_order(config: Any) -> None:
    """10 of 1000 images fall from the top to the bottom: rho is .96, its interval reaches lower."""
    energy = np.arange(1.0, 1001.0)
    moved = np.where(np.arange(1000) % 100 == 99, -energy, energy) + 1001
    row = _judged(_merged(energy, moved), config)
    assert 0.95 < row.spearman < 0.98
    assert row.would_pass.spearman < row.spearman - 0.01


def test_few_images_of_which_some_do_not_react_at_all_are_inconclusive(config: Any) -> None:
    """A draw of these four may hold none that react: the ratio's interval begins at 0."""
    row = _judged(_merged(np.ones(4), np.array([0.0, 0.0, 0.9, 1.1])), config)
    assert row.ratio_ci[0] == 0
    assert row.criteria["ratio"] == "inconclusive"


def test_a_failure_is_corrected_for_the_number_of_criteria(config: Any) -> None:
    """p = .02 alone is a failure; among five layers of four criteria each it is none."""
    from spikeproof.verify.layer_match import Comparison, Criterion, judge_matches
    from spikeproof.verify.verdict import Verdict

    figures = _judged(_merged(np.ones(9), np.ones(9)), config)

    def match(p: float) -> Comparison:
        told = Reason(verdict="inconclusive", criterion="median of the relative difference")
        return Comparison(figures, [Criterion("median", False, p, told)])

    assert judge_matches([match(0.02)], 0.05) == [{"median": Verdict.FAIL}]
    among = judge_matches([match(0.02)] + [match(1.0)] * 4, 0.05)
    assert among[0]["median"] is Verdict.INCONCLUSIVE


def test_direction_tells_equal_size_from_equal_perturbation() -> None:
    first = np.array([[[1.0, 0.0]], [[1.0, 1.0]], [[2.0, 0.0]], [[0.0, 0.0]]])
    second = np.array([[[0.0, 1.0]], [[2.0, 2.0]], [[-1.0, 0.0]], [[1.0, 0.0]]])
    found = direction(first, second)
    assert found[:3].tolist() == pytest.approx([0.0, 1.0, -1.0])
    assert np.isnan(found[3])


def test_measured_direction_of_a_good_conversion_is_nearly_one(case: Any, perturb: Any) -> None:
    item = type("P", (), {"kind": "gaussian", "strength": 16.0})()
    images = perturb(item, case.source, case.x, case.y, seed=0, compare=False).images
    found = measure_batch(case.source, case.bundle.network, case.x, {"g": images})
    cosines = np.array(found["g"].layers["l1"].direction)
    assert cosines.shape == (len(case.x),)
    assert cosines.min() > 0.99 and cosines.max() <= 1 + 1e-9


@pytest.mark.parametrize(
    ("spoil", "criterion"),
    [
        (lambda e: e * 1.3, "ratio"),
        (lambda e: e * 1.3, "median"),
        (lambda e: np.where(np.arange(len(e)) % 10 == 0, e * 2, e * 0.99), "p99"),
        (lambda e: e[::-1], "spearman"),
    ],
)
def test_each_criterion_fails_for_its_own_reason(spoil: Any, criterion: str, config: Any) -> None:
    energy = np.random.default_rng(0).gamma(3.0, size=400)
    row = _judged(_merged(energy, spoil(energy)), config)
    assert row.verdict == "fail"
    assert row.criteria[criterion] == "fail"


def test_too_few_samples_are_inconclusive(config: Any) -> None:
    energy = np.random.default_rng(0).gamma(3.0, size=100)
    row = _judged(_merged(energy, energy), config)
    assert row.verdict == "inconclusive"
    assert row.criteria["p99"] == "inconclusive"
    assert row.would_pass.p99_difference is None


def test_silent_layer_is_inconclusive_not_a_pass(config: Any) -> None:
    row = _judged(_merged(np.zeros(400), np.zeros(400)), config)
    assert row.verdict == "inconclusive"
    assert row.ratio is None and row.ratio_ci == (None, None)


def test_relative_difference_at_zero() -> None:
    found = relative_difference(np.array([0.0, 0.0, 2.0]), np.array([0.0, 1.0, 1.0]))
    assert found.tolist() == [0.0, 1.0, 0.5]


def test_batches_merge_to_the_whole(case: Any, perturb: Any) -> None:
    item = type("P", (), {"kind": "gaussian", "strength": 16.0})()
    images = perturb(item, case.source, case.x, case.y, seed=0, compare=False).images

    def measure(part: slice) -> Any:
        return measure_batch(
            case.source, case.bundle.network, case.x[part], {"g": images[:50][part]}
        )

    whole, parts = measure(slice(None)), [measure(slice(0, 20)), measure(slice(20, 320))]
    merged = merge_batches(parts)
    assert merged["clean"] == whole["clean"]
    for side in ("trained", "chip"):
        joined, full = (getattr(m["g"].layers["l2"], side) for m in (merged, whole))
        assert joined.sample == pytest.approx(full.sample)
        assert joined.step == pytest.approx(full.step)


def _failures(differ: Any, config: Any) -> list[Reason]:
    """Judge 800 images whose membranes differ by these shares, and return what failed."""
    energy = np.random.default_rng(0).gamma(3.0, size=800)
    merged = {"gaussian 4/255": _merged(energy, energy * (1 + differ) ** 2)["g"]}
    kinds, supply = {"gaussian 4/255": "gaussian"}, Supply(1000, 1000, {"gaussian": 1})
    _, reasons = judge_perturbations(merged, kinds, _strict(config), supply)
    return [r for r in reasons if r.verdict == "fail"]


def _with_strengths(config: Any, *strengths: float) -> Any:
    wanted = config.perturbations.model_copy(update={"gaussian": strengths})
    return config.model_copy(update={"perturbations": wanted})


def test_a_limit_is_advised_only_where_one_reaches_the_value_and_then_all_that_fail(
    config: Any,
) -> None:
    rare = np.where(np.arange(800) % 20, 0.0, 1.68)
    told = {r.try_ for r in _failures(rare, config)}
    assert len(told) == 1 and "--set mppd." not in min(told)
    assert "No other limit helps: mppd.p99_difference would have to be 1.681" in min(told)
    (told_all,) = {r.try_ for r in _failures(np.where(np.arange(800) % 2, 0.5, 0.0), config)}
    changes = {w.partition("=")[0] for w in told_all.split() if w.startswith("mppd.")}
    assert {"mppd.p99_difference", "mppd.ratio"} <= changes
    assert "mppd.p99_difference=0.501" in told_all


def test_what_a_limit_is_advised_to_be_passes(config: Any) -> None:
    differ = np.where(np.arange(800) % 2, 0.5, 0.0)
    (told,) = {r.try_ for r in _failures(differ, config)}
    changes = [w.strip(".") for w in shlex.split(told.partition("verify --set")[2].strip("."))]
    limits = load_config("quick", changes=[c for c in changes if c != "--set"]).mppd
    energy = np.random.default_rng(0).gamma(3.0, size=800)
    merged = _merged(energy, energy * (1 + differ) ** 2)
    lenient = config.model_copy(update={"mppd": limits})
    supply = Supply(1000, 1000, {"gaussian": 1})
    data, _ = judge_perturbations(merged, {"g": "gaussian"}, lenient, supply)
    criteria = data.attacks[0].layers[0].criteria
    assert "fail" not in criteria.values() and criteria["p99"] == "pass"


def test_few_images_far_off_lead_with_the_perturbation_that_hardly_arrives(config: Any) -> None:
    def differing(*shares: float) -> Any:
        return np.where(np.arange(800) % 20, shares[0], np.where(np.arange(800) % 40, 0.3, -0.3))

    for strengths, stronger in (((4, 8, 16), "[8, 16]"), ((4,), "[8, 16]")):
        told = [r.try_ for r in _failures(differing(0.0), _with_strengths(config, *strengths))]
        assert told and all(t.startswith("Half of the images differ by less") for t in told)
        assert f"verify --set perturbations.gaussian='{stronger}'" in told[0]
        assert "train longer" in told[0]
    coarse = [r.try_ for r in _failures(differing(0.2), config)]
    assert coarse and not any("perturbations.gaussian" in t for t in coarse)


def test_a_failure_shows_the_side_that_proves_it(config: Any) -> None:
    found = _failures(np.where(np.arange(800) % 20, 0.0, 1.68), config)
    (p99,) = [r for r in found if "99th" in r.criterion]
    assert p99.shown == "at least 168 %"
