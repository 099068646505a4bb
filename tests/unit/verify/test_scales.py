"""No scale that the conversion would not choose excuses a layer's integers (V2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from seeding import CALIBRATION, Made, float_network, judged, make, stages_of

from spikeproof.convert.options import ConvertOptions
from spikeproof.ir.floats import Flatten, FloatNetwork, Lif, Linear, Readout
from spikeproof.verify.compensated import moments, targets
from spikeproof.verify.requantise.exact import exact_layers
from spikeproof.verify.rounding import _Reaching, check_rounding

PLAIN = ConvertOptions(compensate=False)
FIXED = ConvertOptions(compensate=False, search=False)


def images(*shape: int) -> Any:
    return np.random.default_rng(1).integers(0, 256, (64, *shape)).astype(np.uint8)


def wide_network() -> FloatNetwork:
    """Return a multilayer perceptron whose first layer, fed with grey levels, fills its sums."""
    rng = np.random.default_rng(3)

    def weights(*shape: int, scale: float) -> Any:
        return (rng.normal(size=shape) * scale).astype(np.float32)

    first = Linear("d1", weights(16, 100, scale=0.06) + np.float32(0.003), weights(16, scale=0.1))
    return FloatNetwork(
        "wide",
        (1, 10, 10),
        6,
        (
            Flatten("f"),
            first,
            Lif("l1", 1 - 41 / 4096, 1.0),
            Linear("d2", weights(4, 16, scale=0.3), None),
            Readout("out"),
        ),
    )


def verdict(network: FloatNetwork, name: str, scale: float, options: ConvertOptions) -> str:
    """Return V2's verdict on a right rounding at a scale nobody declared."""
    forced = options.model_copy(update={"scale": {name: scale}})
    made = make(network, images(*network.input_shape), forced)
    record = {**made.record, "options": options.model_dump(mode="json")}
    check = judged(replace(made, record=record))["V2"]
    assert {r["layer"] for r in check["reasons"]} <= {name}
    return str(check["verdict"])


def chosen(network: FloatNetwork, name: str, options: ConvertOptions) -> float:
    made = make(network, images(*network.input_shape), options)
    return float(made.record["units"][name]) / 64


@pytest.mark.parametrize(
    ("options", "share", "expected"),
    [
        (PLAIN, 0.30, "fail"),
        (PLAIN, 0.37, "pass"),
        (PLAIN, 2.45, "pass"),
        (PLAIN, 2.85, "fail"),
        (FIXED, 0.95, "fail"),
        (FIXED, 1.0, "pass"),
        (FIXED, 1.05, "fail"),
    ],
)
def test_a_scale_is_one_of_those_searched(
    options: ConvertOptions, share: float, expected: str
) -> None:
    network = float_network()
    assert verdict(network, "out", share * chosen(network, "out", FIXED), options) == expected


@pytest.mark.parametrize(("share", "expected"), [(0.7, "fail"), (0.85, "pass"), (1.0, "pass")])
def test_a_host_current_fills_its_mantissa(share: float, expected: str) -> None:
    network, options = float_network(), PLAIN.model_copy(update={"input_coding": "bias"})
    fixed = options.model_copy(update={"search": False})
    assert verdict(network, "l1", share * chosen(network, "l1", fixed), options) == expected


@pytest.mark.parametrize(("share", "expected"), [(0.2, "fail"), (0.4, "pass"), (1.0, "pass")])
def test_ranges_excuse_no_smaller_scale_than_they_force(share: float, expected: str) -> None:
    """At the largest scale that fits, grey levels leave this layer few bits; none to give away."""
    network = wide_network()
    graded = PLAIN.model_copy(update={"input_coding": "graded"})
    fixed = graded.model_copy(update={"search": False})
    largest = chosen(network, "l1", fixed)
    assert verdict(network, "l1", share * largest, graded) == expected


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_a_layer_without_any_weight_left_fails_whatever_the_ranges(scale: float) -> None:
    options = ConvertOptions(input_coding="graded", compensate=False)
    made = make(wide_network(), images(1, 10, 10), options)

    def empty(neuron: Any) -> Any:
        return replace(neuron, threshold=round(scale), bias=np.zeros_like(neuron.bias))

    units = {**made.record["units"], "l1": 64 * scale}
    seeded = made.with_weights("l1", lambda w: 0 * w).with_neuron("l1", empty)
    found = judged(replace(seeded, record={**made.record, "units": units}))["V2"]
    assert found["verdict"] == "fail"
    assert "number of weights that are not zero" in str(found["reasons"])


def test_a_compensated_weight_may_miss_its_target_by_a_hair_only() -> None:
    made = make(float_network(), images(1, 6, 6), ConvertOptions(search=False))
    index, towards = _next_best(made, "l2")

    def moved(weight: Any) -> Any:
        weight[index] += towards
        return weight

    assert judged(made)["V2"]["verdict"] == "pass"
    wrong = made.with_weights("l2", moved)
    stages = stages_of(wrong)
    found = check_rounding(stages, wrong.x[:CALIBRATION], wrong.x[CALIBRATION:])
    row = next(row for row in found.layers or [] if row.layer == "l2")
    assert ("weight", index) in {(v.parameter, tuple(v.index)) for v in row.violations}


def _next_best(made: Made, name: str) -> tuple[tuple[int, ...], float]:
    """Return the weight whose target lies nearest to the middle of two steps, and the other one."""
    stages = stages_of(made)
    layer = next(x for x in exact_layers(stages.folded) if x.end.name == name)
    held = made.layer(name).synapse.weight.astype(np.float64)  # type: ignore[union-attr]
    reaching = _Reaching(stages.folded, made.x[:CALIBRATION:2])
    second = moments(layer.linear, layer.end, reaching.at(layer, "l1"), layer.timesteps)
    target = targets(layer.weight * made.record["units"][name] / 64, held, second).weight
    off = (target - held) / 2
    inside = np.where(abs(off) < 0.49, abs(off), 0.0)
    index = np.unravel_index(int(inside.argmax()), inside.shape)
    assert inside[index] > 0.4
    return tuple(int(i) for i in index), float(2 * np.sign(off[index]))
