"""V7: equality is claimed against a margin, never from the absence of a difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikeproof.verify.accuracy import accuracy_reasons, accuracy_row, accuracy_rows
from spikeproof.verify.checks import accuracy_check
from spikeproof.verify.perturbations import Perturbation

ITEM = Perturbation("pgd", 8, 1000, 20)


def _row(only_float: int, only_chip: int, total: int = 1000, margin: float = 0.02) -> Any:
    in_float, in_chip = np.ones(total, bool), np.ones(total, bool)
    in_chip[:only_float] = False
    in_float[only_float : only_float + only_chip] = False
    return accuracy_row(ITEM, in_float, in_chip, margin, 0.05)


def test_row_has_both_directions() -> None:
    row = _row(6, 2)
    assert (row["only_float"], row["only_chip"]) == (6, 2)
    assert row["difference"] == pytest.approx(-0.004)
    assert row["float_accuracy"] == 0.998 and row["chip_accuracy"] == 0.994
    assert row["ci"][0] < row["difference"] < row["ci"][1]
    assert row["perturbation"] == "pgd-20" and row["strength"] == 8


def test_three_verdicts() -> None:
    assert _row(5, 5)["tost"] == "pass"
    assert _row(80, 5)["tost"] == "fail"
    assert _row(0, 0, total=50)["tost"] == "inconclusive"
    assert _row(20, 5)["tost"] == "inconclusive"


def test_rows_start_with_clean_and_use_their_own_margin(config: Any) -> None:
    merged = {
        "clean": {"float": [0, 1, 2, 0], "chip": [0, 1, 1, 0]},
        "gaussian 16/255": {"float": [0, 1], "chip": [0, 1]},
    }
    planned = [Perturbation("gaussian", 16, 2)]
    rows = accuracy_rows(merged, planned, np.array([0, 1, 2, 1]), config)
    assert [r["perturbation"] for r in rows] == ["clean", "gaussian"]
    assert [r["samples"] for r in rows] == [4, 2]
    assert rows[0]["float_accuracy"] == 0.75 and rows[0]["chip_accuracy"] == 0.5
    assert all(r["mcnemar_p_holm"] >= r["mcnemar_p"] for r in rows)


def test_mcnemar_is_corrected_for_the_number_of_rows(config: Any) -> None:
    truth = np.zeros(40, int)
    worse = [1] * 6 + [0] * 34  # six images lost: p = 2 / 2**6 alone, twice that with two rows
    merged = {
        "clean": {"float": [0] * 40, "chip": worse},
        "gaussian 16/255": {"float": [0] * 40, "chip": [0] * 40},
    }
    row = accuracy_rows(merged, [Perturbation("gaussian", 16, 40)], truth, config)[0]
    assert row["mcnemar_p"] == pytest.approx(2 / 64)
    assert row["mcnemar_p_holm"] == pytest.approx(4 / 64)


def test_clean_row_has_as_many_images_as_were_asked_for(config: Any) -> None:
    """Perturbations that use more images need more clean runs, which are not the clean row."""
    samples = config.samples.model_copy(update={"accuracy": 10})
    merged = {
        "clean": {"float": [0] * 30, "chip": [0] * 10 + [1] * 20},
        "fgsm 8/255": {"float": [0] * 30, "chip": [0] * 30},
    }
    rows = accuracy_rows(
        merged, [Perturbation("fgsm", 8, 30)], np.zeros(30, int),
        config.model_copy(update={"samples": samples}),
    )  # fmt: skip
    assert [r["samples"] for r in rows] == [10, 30]
    assert rows[0]["chip_accuracy"] == 1.0


def test_an_attack_that_helps_makes_the_check_inconclusive(config: Any) -> None:
    truth = np.zeros(400, int)
    clean = np.r_[np.ones(60, int), np.zeros(340, int)].tolist()
    attacked = np.r_[np.ones(20, int), np.zeros(380, int)].tolist()
    merged = {
        name: {"float": answers, "chip": answers}
        for name, answers in (("clean", clean), ("fgsm 8/255", attacked))
    }
    rows = accuracy_rows(merged, [Perturbation("fgsm", 8, 400)], truth, config)
    assert [r["attack_helps"] for r in rows] == [False, True]
    found = accuracy_check(rows, accuracy_reasons(rows, config, 400))
    (reason,) = found["reasons"]
    assert (reason["value"], reason["limit"], reason["images"]) == (95.0, 85.0, 400)
    assert found["verdict"] == "inconclusive" and "masked" in found["summary"]
    rows = accuracy_rows({**merged, "clean": merged["fgsm 8/255"], "fgsm 8/255": merged["clean"]},
                         [Perturbation("fgsm", 8, 400)], truth, config)  # fmt: skip
    assert accuracy_check(rows, [])["verdict"] == "pass"
