"""Reports of small real verifications, one of each verdict."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from verified import build_case, changed, verified, wide_config

Report = dict[str, Any]
COMMAND = "spikeproof verify tiny.spk --against tiny.ckpt --suite quick --engine fast"


def verify_all(folder: Path) -> dict[str, Report]:
    """Verify a good conversion, one with a wrong threshold, and one on too few images."""
    good = build_case()
    config = wide_config()
    perturbations = {"gaussian": (32, 48), "fgsm": (32,), "pgd": (32,)}
    config = config.model_copy(
        update={
            "perturbations": config.perturbations.model_copy(update=perturbations),
            "margins": config.margins.model_copy(
                update={"fgsm": 0.2, "pgd": 0.2, "worst_case": 0.3}
            ),
            "samples": config.samples.model_copy(update={"worst_case": 60}),
            "worst_case": config.worst_case.model_copy(update={"epsilons": (4, 16)}),
        }
    )
    threshold = good.bundle.network.layers[1].neuron.threshold
    wrong = changed(good.bundle.network, "l2", "neuron", threshold=2 * threshold)
    few = replace(good, x=good.x[:150], y=good.y[:150])
    cases = {"pass": good, "fail": good.with_network(wrong), "inconclusive": few}
    return {
        verdict: verified(case, config, folder / verdict, command=COMMAND, calibration=good.x[:32])
        for verdict, case in cases.items()
    }


@pytest.fixture(scope="session")
def real_reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    found = verify_all(tmp_path_factory.mktemp("verified"))
    assert {k: r["verdict"] for k, r in found.items()} == {k: k for k in found}
    return found


@pytest.fixture
def make_report(real_reports: dict[str, Report]) -> Callable[..., Report]:
    """Give a copy of the report of a verdict, to be changed at will."""
    return lambda verdict="pass": copy.deepcopy(real_reports[verdict])
