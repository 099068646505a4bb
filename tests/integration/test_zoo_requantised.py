"""The shipped networks under V2 and V9: right conversions pass, tampered ones are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from seeded_bugs import flipped
from seeding import Made, record_of, stages_of

from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.verify.certificate import judge_certificate
from spikeproof.verify.checks.overflow import ranges_outcome
from spikeproof.verify.checks.relations import rounding_reasons
from spikeproof.verify.rounding import check_rounding

pytestmark = pytest.mark.slow
SETTINGS: list[dict[str, Any]] = [
    {"input_coding": "bias", "weight_bits": 8},
    {"input_coding": "graded", "weight_bits": 6, "compensate": False},
    {"input_coding": "graded", "weight_bits": 4, "search": False},
]


def _convert(name: str, options: ConvertOptions, samples: int) -> Made:
    network = load_checkpoint(zoo_networks()[name]).network
    x = load_data(zoo_calibration(), network.input_shape)[0][:samples]
    done = convert_network(network, x, options)
    return Made(network, done.chip, record_of(done, options), x)


def _rounding(made: Made, *, calibrated: bool) -> Any:
    stages = stages_of(made)
    other = load_data(zoo_images(), made.source.input_shape)[0][:64]
    return check_rounding(stages, made.x if calibrated else None, other)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s['weight_bits']} bits")
@pytest.mark.parametrize("name", zoo_networks())
def test_shipped_network_passes_with_its_calibration_images_and_never_fails_without(
    name: str, settings: dict[str, Any]
) -> None:
    made = _convert(name, ConvertOptions(**settings), 128)
    row = _rounding(made, calibrated=True)
    assert row.verdict == "pass", rounding_reasons(row)
    compensated = {x.layer for x in row.rounded if x.rounding == "compensated"}
    row = _rounding(made, calibrated=False)
    assert row.verdict == ("inconclusive" if compensated else "pass"), rounding_reasons(row)
    assert {r.layer for r in rounding_reasons(row)} == compensated
    claims = stages_of(made).claims
    assert ranges_outcome(judge_certificate(made.network, claims)).verdict == "pass"


@pytest.mark.parametrize("calibrated", [True, False])
def test_one_per_cent_of_flipped_signs_fails_and_names_the_layer(calibrated: bool) -> None:
    made = _convert("fmnist-lif-natural", ConvertOptions(search=False), 128)
    weight = made.layer("l3").synapse.weight  # type: ignore[union-attr]
    assert weight.size == 301_056
    row = _rounding(made.with_weights("l3", flipped(0.01)), calibrated=calibrated)
    assert row.verdict == "fail"
    assert {r.layer for r in rounding_reasons(row) if r.verdict == "fail"} == {"l3"}


def test_smallest_signs_flipped_and_a_bias_moved_never_pass() -> None:
    """Too small for any error of the sums to show; only the calibration images tell."""
    made = _convert("fmnist-lif-natural", ConvertOptions(search=False), 128)

    def smallest_signs(w: Any) -> Any:
        changed = w.copy()
        for row in changed:
            used = np.flatnonzero(row)
            chosen = used[np.argsort(np.abs(row[used]), kind="stable")][:23]
            row[chosen] *= -1
        assert (changed != w).sum() == 2_944
        return changed

    flipped_signs = made.with_weights("l3", smallest_signs)
    assert _rounding(flipped_signs, calibrated=True).verdict == "fail"
    assert _rounding(flipped_signs, calibrated=False).verdict == "inconclusive"

    def moved(neuron: Any) -> Any:
        bias = np.asarray(neuron.bias).copy()
        bias[0] += 20_000 >> max(3, neuron.bias_exponent)
        return replace(neuron, bias=bias)

    for calibrated in (True, False):
        assert _rounding(made.with_neuron("l3", moved), calibrated=calibrated).verdict == "fail"


@pytest.mark.parametrize("calibrated", [True, False])
def test_an_all_zero_neuron_fails(calibrated: bool) -> None:
    made = _convert("fmnist-lif-natural", ConvertOptions(search=False), 128)

    def without_neuron_5(w: Any) -> Any:
        return np.where(np.arange(len(w))[:, None] == 5, 0, w)

    row = _rounding(made.with_weights("l3", without_neuron_5), calibrated=calibrated)
    assert {r.layer for r in rounding_reasons(row) if r.verdict == "fail"} == {"l3"}
    found = next(layer for layer in row.rounded if layer.layer == "l3").violations
    assert all(v.index[0] == 5 for v in found)
