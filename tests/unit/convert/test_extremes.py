"""Numbers that are finite but out of proportion: bad input (exit 2), never a crash of a pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.errors import SpikeproofError, UnsupportedError
from spikeproof.ir.floats import Conv2d, FloatNetwork, Lif, Linear, Readout

Images = NDArray[np.uint8]

EXTREMES: dict[str, dict[str, Any]] = {
    "threshold is 1e+300, must be in 1e-30..1e+30": {"threshold": 1e300},
    "threshold is 1e-300, must be in 1e-30..1e+30": {"threshold": 1e-300},
    "weight reaches only 1e-320, expected at least 1e-30": {"weight": 1e-320},
    "weight reaches 1e+200, at most 1e+30": {"weight": 1e200},
    "bias reaches 1e+300, at most 1e+30": {"bias": 1e300},
    "gain reaches 1e+300": {"gain": [1e300, 1.0]},
    "gain has a value below 1e-30": {"gain": [1e-300, 1.0]},
    "which needs a leak of 4.05504e+23/4096": {"gain": [1e20, 1.0]},
    "threshold 1e+18 needs 60 bits": {"threshold": 1e30},
    "the bias needs 6.4e+31 v-units": {"bias": 1e30, "coding": "graded"},
    "the host offset": {"bias": 1e30, "threshold": 1e30, "scale": 1e30, "coding": "bias"},
    "scale of 'l1' is 1e+308, must be positive and in 1e-30..1e+30": {"scale": 1e308},
    "could reach": {"scale": 1e30, "threshold": 1e-30, "coding": "graded"},
}


@pytest.mark.parametrize("expected", EXTREMES)
def test_extreme_but_finite_parameters_are_refused_as_input(expected: str, images: Images) -> None:
    given = EXTREMES[expected]
    gain = np.array(given["gain"]) if "gain" in given else None
    nodes = (
        Linear(
            "fc", np.full((8, 64), given.get("weight", 1.0)), np.full(8, given.get("bias", 0.0))
        ),
        Lif("l1", 0.99, given.get("threshold", 1.0), True, gain),
        Linear("fc2", np.ones((3, 8)), None),
        Readout("out"),
    )
    scale = {"l1": given["scale"]} if "scale" in given else None
    options = ConvertOptions(scale=scale, input_coding=given.get("coding", "auto"))
    with pytest.raises(SpikeproofError) as caught:
        convert_network(FloatNetwork("far", (1, 8, 8), 2, nodes), images, options)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("kind", ["convolutions", "linear maps"])
@pytest.mark.parametrize(
    ("size", "text"), [(1e20, "reaches 1e+40, at most 1e+30"), (1e-20, "reaches only 1e-40")]
)
def test_maps_that_are_extreme_only_once_folded_are_refused_as_input(
    images: Images, kind: str, size: float, text: str
) -> None:
    one = np.full((1, 1, 1, 1), size)
    maps: Any = (Conv2d("a", one, None), Conv2d("b", one, None))
    if kind == "linear maps":
        maps = (Linear("a", size * np.eye(64), None), Linear("b", size * np.eye(64), None))
    ends = (Lif("l1", 0.9, 1.0), Linear("c", np.ones((3, 64)), None), Readout("out"))
    with pytest.raises(UnsupportedError, match="folded with its neighbours") as caught:
        convert_network(FloatNetwork("far", (1, 8, 8), 2, (*maps, *ends)), images)
    assert text in str(caught.value)
