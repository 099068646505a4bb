"""The time a verification takes is told from the size of the network and what is asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    LifNeuron,
    ReadoutNeuron,
)
from spikeproof.verify.config import load_config
from spikeproof.verify.effort import affordable, effort, rounding_milliseconds
from spikeproof.verify.material import Material
from spikeproof.verify.perturbations import (
    perturb_with_torch,
    perturbations,
    worst_cases,
)
from spikeproof.verify.work import time_told, total_cost

NO_BIAS = np.zeros(1, np.int32)


def _network(inputs: int, neurons: int) -> ChipNetwork:
    first = np.zeros((neurons, inputs), np.int16)
    last = np.zeros((10, neurons), np.int16)
    layers = (
        ChipLayer("l1", (Connection(DenseSynapse(first)),), LifNeuron(9, 0, NO_BIAS), (neurons,)),
        ChipLayer("out", (Connection(DenseSynapse(last)),), ReadoutNeuron(NO_BIAS), (10,)),
    )
    return ChipNetwork("n", (1, 1, inputs), 4, layers)


SMALL, LARGE = _network(100, 100), _network(3000, 5000)


def _material(network: ChipNetwork, images: int, **values: Any) -> Material:
    config = load_config(values={"engine": "fast", "validity.samples": 0, **values})
    stages: Any = SimpleNamespace(chip=network)
    x, y = np.zeros((images, 1, 1, network.input_shape[2]), np.uint8), np.zeros(images, np.int64)
    return Material(
        stages,
        x,
        y,
        config,
        planned=perturbations(config, images),
        worst=worst_cases(config, images),
        victims={},
        perturb=perturb_with_torch,
        folder=Path("unused"),
    )


def test_effort_counts_products_of_all_steps() -> None:
    assert effort(SMALL) == pytest.approx(4 * (100 * 100 + 100 * 10) / 3.4e6)
    assert effort(LARGE) == pytest.approx(4 * (3000 * 5000 + 5000 * 10) / 3.4e6)


def test_a_small_network_s_time_is_not_told_and_a_large_one_s_is_with_what_takes_most() -> None:
    assert time_told(_material(SMALL, 1000)) is None
    huge = ChipNetwork("n", (1, 1, 3000), 40, LARGE.layers)
    told = time_told(_material(huge, 1000))
    assert told is not None
    assert "most of it: sp-quick-1 on trained" in told
    examined = time_told(_material(huge, 1000, **{"validity.samples": 32}))
    assert examined is not None and "validity.samples=N" in examined
    assert "most of it: validity of attacks on the trained network" in examined
    minutes = total_cost(_material(huge, 1000)) / 60_000
    assert f"about {minutes:,.0f} minutes" in told


def test_costs_follow_the_images_there_are() -> None:
    many, few = (total_cost(_material(LARGE, n)) for n in (1000, 20))
    assert few < many / 3
    no_attacks = total_cost(_material(LARGE, 20, **{"worst_case.epsilons": []}))
    assert no_attacks < few
    assert rounding_milliseconds(LARGE, 20) < rounding_milliseconds(LARGE, 400)


def test_attacks_on_a_large_network_are_cut_and_only_those() -> None:
    config = load_config()
    assert affordable(config, SMALL, 60) == {}
    huge = ChipNetwork("n", (1, 1, 3000), 400, LARGE.layers)
    cut = affordable(config, huge, 20)
    assert cut == {"samples.worst_case": 4, "validity.samples": 4}
    assert "samples.pgd" in affordable(load_config(values={"perturbations.pgd": [8]}), huge, 20)
    assert affordable(config, huge, 2) == {}
    load_config(values=cut)  # they are settings
