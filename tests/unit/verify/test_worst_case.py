"""The worst case: both networks attacked themselves, and shown what fooled the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verified import Case, verified, wide_config

from spikeproof.attacks.suites import SP_QUICK_1, SUITES, Suite
from spikeproof.attacks.worst_case import WorstCase
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.floats import run_float
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.perturbations import Perturbation
from spikeproof.verify.responses import CLEAN, Responded, Responses
from spikeproof.verify.statistics import holm
from spikeproof.verify.worst_case import attack_part, victims_of, worst_cases_of

RADII = (8, 24)


def _attacked_config(images: int = 60) -> VerifyConfig:
    config = wide_config()
    return config.model_copy(
        update={
            "worst_case": config.worst_case.model_copy(update={"epsilons": RADII}),
            "samples": config.samples.model_copy(update={"worst_case": images}),
            "margins": config.margins.model_copy(update={"worst_case": 0.3}),
        }
    )


def _v7(report: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in report["checks"] if c["id"] == "V7")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worst")


@pytest.fixture(scope="module")
def report(case: Case, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = verified(case, _attacked_config(), folder)
    return found


def _answers(case: Case, images: Any) -> dict[str, Any]:
    return {
        "float": run_float(case.source, images).predictions,
        "chip": FastEngine().run(case.bundle.network, images).predictions,
    }


def test_the_figures_are_what_both_networks_say_of_the_stored_examples(
    case: Case, report: dict[str, Any], folder: Path
) -> None:
    """Recount from the images on the disk, without the code that counted."""
    y = case.y[:60]
    alive = {name: said == y for name, said in _answers(case, case.x[:60]).items()}
    figures = _v7(report)["figures"]
    assert (figures["suite"], figures["samples"]) == ("sp-quick-1", 60)
    stored = {
        side: np.concatenate(
            [
                np.load(folder / "images" / f"sp-quick-1-on-{side}-{start}.npy").reshape(
                    len(RADII), -1, *case.x.shape[1:]
                )
                for start in (0, 50)
            ],
            axis=1,
        )
        for side in ("trained", "chip")
    }
    for i, radius in enumerate(RADII):
        for side in ("trained", "chip"):
            images = stored[side][i]
            assert np.abs(images.astype(int) - case.x[:60]).max() <= radius
            for name, said in _answers(case, images).items():
                alive[name] = alive[name] & (said == y)
        assert figures["worst_case_float"][str(radius)] == alive["float"].mean()
        assert figures["worst_case_chip"][str(radius)] == alive["chip"].mean()
    assert figures["worst_case_float"]["24"] < figures["worst_case_float"]["8"] < 1


def test_rows_name_their_suite_and_the_naive_figure_stands_beside_them(
    report: dict[str, Any],
) -> None:
    rows = [r for r in _v7(report)["data"]["rows"] if r["part"] == "worst_case"]
    assert [(r["perturbation"], r["strength"]) for r in rows] == [
        ("worst case", radius) for radius in RADII
    ]
    assert {r["bound"] for r in rows} == {"upper bound: sp-quick-1"}
    for row in rows:  # a weaker attack on the same images
        assert row["naive_accuracy"] >= row["float_accuracy"]
        assert row["clean_float_accuracy"] >= row["naive_accuracy"]
    assert "PGD-7, which papers quote" in _v7(report)["summary"]


def test_images_are_attacked_as_if_all_were_attacked_at_once(case: Case, folder: Path) -> None:
    """The second part's random starts belong to its images, not to their place in the part."""
    stages = case.stages
    victim = victims_of(stages)["chip"]
    found, _ = SP_QUICK_1.run(victim, case.x[:60], case.y[:60], RADII, names=range(60))
    path = folder / "images" / "sp-quick-1-on-chip-50.npy"
    stored = np.load(path).reshape(len(RADII), 10, *case.x.shape[1:])
    np.testing.assert_array_equal(stored, found.images[:, 50:])


def test_all_rows_are_one_family_and_the_worst_case_comes_second(report: dict[str, Any]) -> None:
    rows = _v7(report)["data"]["rows"]
    assert [row["part"] for row in rows] == ["accuracy", "worst_case", "worst_case", "gaussian"]
    adjusted = holm([row["mcnemar_p"] for row in rows])
    assert [row["mcnemar_p_holm"] for row in rows] == adjusted


def test_an_image_that_is_wrong_anyway_is_not_right_under_the_naive_attack(case: Case) -> None:
    victim = victims_of(case.stages)["trained"]
    y = (case.y[:8] + 1) % 3
    found = attack_part(victim, SP_QUICK_1, case.x[:8], y, [2], range(8), seed=0, naive=True)
    assert not found.naive.any() and (found.broken_by == -2).all()


def test_transfers_and_tallies_count_the_same_images(report: dict[str, Any]) -> None:
    data = _v7(report)["data"]
    assert data["members"] == [m.name for m in SP_QUICK_1.members]
    assert {(t["network"], t["epsilon"]) for t in data["tallies"]} == {
        (side, radius) for side in ("trained", "chip") for radius in RADII
    }
    for found, tally in zip(
        data["transfers"], sorted(data["tallies"], key=lambda t: t["epsilon"]), strict=True
    ):
        assert (found["epsilon"], found["crafted_on"]) == (tally["epsilon"], tally["network"])
        assert 0 <= found["also"] <= found["fooled"] <= sum(tally["broken_by"])


def test_few_attacked_images_are_measured_but_not_judged_by_v5(report: dict[str, Any]) -> None:
    v5 = next(c for c in report["checks"] if c["id"] == "V5")
    found = {a["name"]: a["layers"] for a in v5["data"]["attacks"]}
    for side in ("trained", "chip"):
        layers = found[f"sp-quick-1 on {side} 24/255"]
        assert {layer["verdict"] for layer in layers} == {"info"}
        assert all(0 < layer["samples"] <= 60 for layer in layers)
    assert f"sp-quick-1 on chip {RADII[0]}/255" not in found
    assert v5["figures"]["pairs"] == 2  # one noise, two spiking layers


def test_an_interrupted_run_comes_to_the_same_report(
    case: Case, report: dict[str, Any], tmp_path: Path
) -> None:
    config, seen = _attacked_config(), 0

    def stop(done: int, total: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verified(case, config, tmp_path, progress=stop)
    again = verified(case, config, tmp_path, workers=2)
    assert again["timing"]["items_from_earlier_attempt"] > 0
    assert _v7(again) == _v7(report)


def test_another_suite_that_comes_to_the_same_images_goes_on_in_the_same_folder(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUITES, "sp-twice-1", Suite("sp-twice", 1, SP_QUICK_1.members))
    config = _attacked_config(4)
    other = config.worst_case.model_copy(update={"suite": "sp-twice-1"})
    first = verified(case, config, tmp_path)
    again = verified(case, config.model_copy(update={"worst_case": other}), tmp_path)
    assert _v7(again)["figures"]["suite"] == "sp-twice-1"
    for key in ("worst_case_float", "worst_case_chip"):
        assert _v7(again)["figures"][key] == _v7(first)["figures"][key]


def test_a_network_without_a_twin_is_inconclusive_and_says_why(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikeproof.verify.run.obstacle", lambda victims, suite: "it is a cycle")
    v7 = _v7(verified(case, _attacked_config(), tmp_path))
    assert v7["verdict"] == "inconclusive"
    assert "The suite of attacks was not run: it is a cycle." in v7["summary"]
    assert any("worst_case.epsilons=[]" in r["try"] for r in v7["reasons"])


# --- counting --------------------------------------------------------------------------------


def _said(trained: list[int], chip: list[int]) -> Responded:
    return Responded(trained=trained, chip=chip)


def test_right_means_right_about_everything_found_in_this_and_smaller_balls() -> None:
    planned = [
        Perturbation(WorstCase(radius, "s", side), 4)
        for side in ("trained", "chip")
        for radius in (2, 4)
    ]
    responses: Responses = {
        CLEAN: _said([0, 0, 0, 1], [0, 0, 0, 0]),
        "s on trained 2/255": _said([1, 0, 0, 1], [0, 0, 0, 0]),
        "s on chip 2/255": _said([0, 0, 0, 1], [0, 1, 0, 0]),
        "s on trained 4/255": _said([0, 0, 0, 1], [0, 0, 1, 0]),
        "s on chip 4/255": _said([0, 1, 0, 1], [0, 0, 0, 0]),
    }
    small, large = worst_cases_of(responses, planned, np.zeros(4, np.int64))
    assert small.right["trained"].tolist() == [False, True, True, False]
    assert small.right["chip"].tolist() == [True, False, True, True]
    # what fooled in the smaller ball counts, though the larger one's image does not fool
    assert large.right["trained"].tolist() == [False, False, True, False]
    assert large.right["chip"].tolist() == [True, False, False, True]
    assert large.shown["chip", "trained"].tolist() == [False, True, False, False]
    assert small.shown["trained", "trained"].tolist() == [True, False, False, False]
