"""V7: equality is claimed against a margin, never from the absence of a difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeproof.attacks.weak import TRANSFER, WEAK
from spikeproof.document import numbers as n
from spikeproof.document.values import dump
from spikeproof.report.tables import accuracy_notes
from spikeproof.verify.accuracy_rows import accuracy_row, accuracy_rows
from spikeproof.verify.advice import Supply
from spikeproof.verify.checks import bit_exact
from spikeproof.verify.checks.accuracy import CHECK, Accuracy, accuracy_outcome, accuracy_reasons
from spikeproof.verify.checks.base import Check, Outcome
from spikeproof.verify.checks.bit_exact import BitExact, ExactFigures
from spikeproof.verify.gates import MASKING, sentence
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.responses import Responded
from spikeproof.verify.verdict import Verdict

ITEM = Perturbation(WEAK.at("pgd", 8), 1000)


def _v7(rows: Any, reasons: Any) -> dict[str, Any]:
    return dump(CHECK.check(accuracy_outcome(rows, reasons)))


def _row(only_float: int, only_chip: int, total: int = 1000, margin: float = 0.02) -> Any:
    in_float, in_chip = np.ones(total, bool), np.ones(total, bool)
    in_chip[:only_float] = False
    in_float[only_float : only_float + only_chip] = False
    return accuracy_row(ITEM.attack.name, ITEM.strength, in_float, in_chip, margin, 0.05)


def _supply(images: int) -> Supply:
    parts = ("accuracy", "gaussian", "fgsm", "pgd")
    return Supply(images, images, dict.fromkeys(parts, images))


def test_row_has_both_directions() -> None:
    row = _row(6, 2)
    assert (row.only_float, row.only_chip) == (6, 2)
    assert row.difference == pytest.approx(-0.004)
    assert row.float_accuracy == 0.998 and row.chip_accuracy == 0.994
    assert row.ci[0] < row.difference < row.ci[1]
    assert row.perturbation == "pgd-20" and row.strength == 8


def test_three_verdicts() -> None:
    assert _row(5, 5).tost == "pass"
    assert _row(80, 5).tost == "fail"
    assert _row(0, 0, total=50).tost == "inconclusive"
    assert _row(20, 5).tost == "inconclusive"


def test_rows_start_with_clean_and_use_their_own_margin(config: Any) -> None:
    merged = {
        "clean": Responded(trained=[0, 1, 2, 0], chip=[0, 1, 1, 0]),
        "gaussian 16/255": Responded(trained=[0, 1], chip=[0, 1]),
    }
    planned = [Perturbation(WEAK.at("gaussian", 16), 2)]
    rows = accuracy_rows(merged, planned, np.array([0, 1, 2, 1]), config)
    assert [r.perturbation for r in rows] == ["clean", "gaussian"]
    assert [r.samples for r in rows] == [4, 2]
    assert rows[0].float_accuracy == 0.75 and rows[0].chip_accuracy == 0.5
    assert all(r.mcnemar_p_holm >= r.mcnemar_p for r in rows)


def test_mcnemar_is_corrected_for_the_number_of_rows(config: Any) -> None:
    truth = np.zeros(40, int)
    worse = [1] * 6 + [0] * 34  # six images lost: p = 2 / 2**6 alone, twice that with two rows
    merged = {
        "clean": Responded(trained=[0] * 40, chip=worse),
        "gaussian 16/255": Responded(trained=[0] * 40, chip=[0] * 40),
    }
    row = accuracy_rows(merged, [Perturbation(WEAK.at("gaussian", 16), 40)], truth, config)[0]
    assert row.mcnemar_p == pytest.approx(2 / 64)
    assert row.mcnemar_p_holm == pytest.approx(4 / 64)


def test_clean_row_has_as_many_images_as_were_asked_for(config: Any) -> None:
    """Perturbations that use more images need more clean runs, which are not the clean row."""
    samples = config.samples.model_copy(update={"accuracy": 10})
    merged = {
        "clean": Responded(trained=[0] * 30, chip=[0] * 10 + [1] * 20),
        "fgsm 8/255": Responded(trained=[0] * 30, chip=[0] * 30),
    }
    rows = accuracy_rows(
        merged,
        [Perturbation(WEAK.at("fgsm", 8), 30)],
        np.zeros(30, int),
        config.model_copy(update={"samples": samples}),
    )
    assert [r.samples for r in rows] == [10, 30]
    assert rows[0].chip_accuracy == 1.0


def test_an_attack_that_helps_makes_the_check_inconclusive(config: Any) -> None:
    truth = np.zeros(400, int)
    clean = np.r_[np.ones(60, int), np.zeros(340, int)].tolist()
    attacked = np.r_[np.ones(20, int), np.zeros(380, int)].tolist()
    merged = {
        name: Responded(trained=answers, chip=answers)
        for name, answers in (("clean", clean), ("fgsm 8/255", attacked))
    }
    rows = accuracy_rows(merged, [Perturbation(WEAK.at("fgsm", 8), 400)], truth, config)
    assert [r.attack_helps for r in rows] == [False, True]
    found = _v7(rows, accuracy_reasons(rows, config, _supply(400)))
    (reason,) = found["reasons"]
    assert (reason["value"], reason["limit"], reason["images"]) == (95.0, 85.0, 400)
    assert found["verdict"] == "inconclusive" and "masked" in found["summary"]
    rows = accuracy_rows(
        {**merged, "clean": merged["fgsm 8/255"], "fgsm 8/255": merged["clean"]},
        [Perturbation(WEAK.at("fgsm", 8), 400)],
        truth,
        config,
    )
    assert _v7(rows, [])["verdict"] == "pass"


def test_every_row_carries_the_clean_accuracy_on_its_own_images(config: Any) -> None:
    """Clean on 1 000 images beside noise on the first 400 made noise look like a help."""
    wrong_late = [0] * 20 + [1] * 20
    merged = {
        "clean": Responded(trained=wrong_late, chip=wrong_late),
        "gaussian 16/255": Responded(trained=[0] * 20, chip=[0] * 19 + [1]),
    }
    clean, noise = accuracy_rows(
        merged, [Perturbation(WEAK.at("gaussian", 16), 20)], np.zeros(40, int), config
    )
    assert (clean.float_accuracy, clean.clean_float_accuracy) == (0.5, 0.5)
    assert (noise.samples, noise.float_accuracy) == (20, 1.0)
    assert (noise.clean_float_accuracy, noise.clean_chip_accuracy) == (1.0, 1.0)
    assert noise.clean_float_ci[0] < 1.0 <= noise.clean_float_ci[1] + 1e-9


def _attacked(config: Any, right: dict[str, int], chip_right: int = 50, compared: int = 100) -> Any:
    """Return V7 for 100 images of which an attack leaves so many right, by estimator."""
    merged = {
        "clean": Responded(trained=[0] * 100, chip=[0] * 100),
        "pgd-20 8/255": Responded(
            trained=[0] * 50 + [1] * 50,
            chip=[0] * chip_right + [1] * (100 - chip_right),
        ),
    }
    shares = {name: [True] * n + [False] * (compared - n) for name, n in right.items()}
    planned = [Perturbation(WEAK.at("pgd", 8), 100)]
    rows = accuracy_rows(merged, planned, np.zeros(100, int), config, {"pgd-20 8/255": shares})
    return _v7(rows, accuracy_reasons(rows, config, _supply(100)))


def test_estimators_that_disagree_let_v7_suspect_gradient_masking(config: Any) -> None:
    found = _attacked(config, {"0.25 attached": 60, "0.25 detached": 50})
    assert found["figures"]["masking_suspected"] is True
    assert "Gradient masking suspected: under pgd-20 8/255" in found["summary"]
    assert (
        "60.00 % (slope half-width 0.25, gradient through the reset) and 50.00 % (slope half-width "
        "0.25, gradient not through the reset)" in found["summary"]
    )
    assert found["data"]["rows"][1]["estimators"] == {"0.25 attached": 0.6, "0.25 detached": 0.5}


def test_masking_alone_does_not_change_the_verdict_on_equality(config: Any) -> None:
    verdicts = [_attacked(config, {"a": n, "b": 50})["verdict"] for n in (50, 90)]
    assert verdicts[0] == verdicts[1]


def test_estimators_within_five_points_raise_no_suspicion(config: Any) -> None:
    found = _attacked(config, {"0.25 attached": 55, "0.25 detached": 50})
    assert found["figures"]["masking_suspected"] is False
    assert "masking" not in found["summary"]


@pytest.mark.parametrize(
    ("right", "compared", "suspected"),
    [((16, 15), 16, False), ((60, 54), 100, True), ((58, 53), 100, False)],
)
def test_masking_is_suspected_by_an_exact_test_of_pairs(
    right: tuple[int, int], compared: int, suspected: bool, config: Any
) -> None:
    """16 of 16 against 15 of 16 are 6 points apart, and one image."""
    given = {"0.25 attached": right[0], "0.25 detached": right[1]}
    found = _attacked(config, given, compared=compared)
    assert found["figures"]["masking_suspected"] is suspected
    figures = ExactFigures(
        compared=9, mismatches=0, samples=20, engine="lava", reference="reference"
    )
    exact = Outcome(Verdict.PASS, "", figures, BitExact())
    accuracy = Check.model_validate({**found, "verdict": "pass", "reasons": []})
    typed = accuracy.model_copy(update={"data": Accuracy.model_validate(found["data"])})
    plain = [typed, bit_exact.CHECK.check(exact)]
    assert (MASKING in sentence(plain)) is suspected


def test_accuracy_under_attack_is_called_an_upper_bound_of_a_named_weak_attack(config: Any) -> None:
    found = _attacked(config, {})
    assert f"is an {WEAK.bound}" in found["summary"]
    assert [row["bound"] for row in found["data"]["rows"]] == ["", WEAK.bound]
    assert found["data"]["attack"] == WEAK.describe()


def test_every_attack_is_told_with_its_own_bound() -> None:
    row = _row(20, 20)
    weak = [row.model_copy(update={"perturbation": k, "bound": WEAK.bound}) for k in ("fgsm", "x")]
    other = row.model_copy(update={"perturbation": "own-3", "bound": "upper bound: attack own-3"})
    said = [
        f"Accuracy under fgsm and x is an {WEAK.bound}; stronger attacks leave less.",
        "Accuracy under own-3 is an upper bound: attack own-3; stronger attacks leave less.",
    ]
    rows = [_row(0, 0).model_copy(update={"perturbation": "clean"}), *weak, other]
    assert " ".join(said) in _v7(rows, [])["summary"]
    assert accuracy_notes(rows)[:2] == said
    assert accuracy_notes(rows[:3])[0] == said[0].replace("fgsm and x", "attack")


def test_the_largest_difference_is_spelled_as_in_the_table() -> None:
    clean, attacked = (
        _row(2, 0).model_copy(update={"perturbation": k, "strength": s})
        for k, s in (("clean", 0), ("pgd-20", 8))
    )
    for row, told in ((clean, "clean"), (attacked, "pgd-20 8/255")):
        summary = _v7([row], [])["summary"]
        assert f"is {n.points(row.difference)} points ({told})." in summary
        assert "\N{MINUS SIGN}" in n.points(row.difference)


def test_a_chip_ahead_under_attack_is_explained_as_transfer(config: Any) -> None:
    ahead, behind = (_attacked(config, {}, chip_right=n)["summary"] for n in (55, 45))
    assert TRANSFER in ahead and "Here: pgd-20 8/255." in ahead
    assert "transfer" not in behind


def test_few_weight_bits_are_named_as_the_likely_cause(config: Any) -> None:
    rows, supply = [_row(20, 2, total=600)], _supply(600)
    fewer = _row(0, 0, total=50).model_copy(update={"part": "pgd"})
    assert rows[0].tost == "inconclusive"
    (few,) = accuracy_reasons(rows, config, supply, weight_bits=2)
    assert few.try_.startswith("The conversion used 2 bits per weight, which is the likely cause")
    assert "convert --weight-bits 8" in few.try_ and "point to a failure" in few.try_
    (many,) = accuracy_reasons(rows, config, supply, weight_bits=8)
    assert "bits per weight" not in many.try_
    (images,) = accuracy_reasons([fewer], config, _supply(50), weight_bits=2)
    assert images.request is not None and "bits per weight" not in images.try_
