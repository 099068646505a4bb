"""V2 and V9 raise no false alarm: whatever is converted, with whatever options, passes both."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seeding import CALIBRATION, make, stages_of

from spikeproof.certify.ranges import certify_ranges
from spikeproof.convert.options import ConvertOptions
from spikeproof.errors import RangeError
from spikeproof.fuzz.draw.networks import random_network
from spikeproof.ir.floats import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    FloatNetwork,
    InputScale,
    Lif,
    Linear,
    Readout,
)
from spikeproof.verify.certificate import judge_certificate
from spikeproof.verify.checks.overflow import ranges_outcome
from spikeproof.verify.checks.relations import rounding_reasons
from spikeproof.verify.interval import bound_network
from spikeproof.verify.rounding import check_rounding


def draw_network(rng: np.random.Generator) -> FloatNetwork:
    """Draw a network of one convolution or none, one or two dense layers and a readout."""
    steps = int(rng.integers(1, 6))
    channels, size = int(rng.integers(1, 3)), int(rng.integers(4, 8))

    def lif(name: str) -> Lif:
        gain = rng.uniform(0.7, 1.4, steps) if rng.random() < 0.4 else None
        leak = float(rng.choice([0.0, 1.0, 0.99, rng.uniform(0, 1)]))
        threshold = float(rng.choice([1.0, 0.5, rng.uniform(0.05, 20)]))
        return Lif(name, leak, threshold, bool(rng.random() < 0.7), gain)

    def weights(*shape: int) -> Any:
        spread = rng.normal(0, 10 ** rng.uniform(-2, 0.5), shape)
        kind = rng.random()
        if kind < 0.15:
            return np.abs(spread)
        if kind < 0.25:
            return -np.abs(spread)
        return np.full(shape, spread.flat[0]) if kind < 0.3 else spread * (rng.random(shape) < 0.8)

    def bias(*shape: int) -> Any:
        return None if rng.random() < 0.3 else rng.normal(0, rng.choice([0.05, 0.5]), shape)

    nodes: list[Any] = []
    if rng.random() < 0.4:
        nodes.append(InputScale("in", rng.uniform(0, 0.6, channels), rng.uniform(0.2, 1, channels)))
    width = channels * size * size
    if rng.random() < 0.6:
        groups = channels if rng.random() < 0.3 else 1
        out = groups * int(rng.integers(1, 4))
        pad = 0 if nodes else int(rng.integers(0, 2))
        conv = Conv2d(
            "c1",
            weights(out, channels // groups, 3, 3),
            bias(out),
            (1, 1),
            (pad, pad),
            (1, 1),
            groups,
        )
        side = size + 2 * pad - 2
        nodes += [conv]
        if rng.random() < 0.5:
            nodes.append(
                BatchNorm2d(
                    "b1",
                    rng.uniform(0.3, 2, out),
                    rng.normal(0, 0.3, out),
                    rng.normal(0, 0.3, out),
                    rng.uniform(0.2, 2, out),
                )
            )
        if rng.random() < 0.4 and side >= 2:
            nodes.append(AvgPool2d("p1", (2, 2), (2, 2)))
            side //= 2
        nodes += [lif("l1"), Flatten("f")]
        width = out * side * side
    else:
        nodes += [Flatten("f"), Linear("d0", weights(10, width), bias(10)), lif("l1")]
        width = 10
    hidden = int(rng.integers(2, 80))
    nodes += [
        Linear("d1", weights(hidden, width), bias(hidden)),
        lif("l2"),
        Linear("d2", weights(3, hidden), bias(3)),
        Readout("out"),
    ]
    return FloatNetwork("drawn", (channels, size, size), steps, tuple(nodes))


options = st.builds(
    ConvertOptions,
    input_coding=st.sampled_from(["auto", "graded", "bias"]),
    weight_bits=st.integers(2, 8),
    compensate=st.booleans(),
    search=st.booleans(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), options)
def test_right_conversions_are_never_accused(seed: int, chosen: ConvertOptions) -> None:
    rng = np.random.default_rng(seed)
    network = draw_network(rng)
    x = rng.integers(0, 256, (CALIBRATION + 16, *network.input_shape)).astype(np.uint8)
    try:
        made = make(network, x, chosen)
    except RangeError:  # no scale fits: refused, so nothing to verify
        return
    stages = stages_of(made)
    exact = check_rounding(stages, x[:CALIBRATION], x[CALIBRATION:])
    assert exact.verdict == "pass", rounding_reasons(exact)
    assert ranges_outcome(judge_certificate(made.network, stages.claims)).verdict == "pass"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1), options)
def test_without_calibration_images_nothing_right_fails(seed: int, chosen: ConvertOptions) -> None:
    rng = np.random.default_rng(seed)
    network = draw_network(rng)
    x = rng.integers(0, 256, (CALIBRATION + 16, *network.input_shape)).astype(np.uint8)
    try:
        made = make(network, x, chosen)
    except RangeError:
        return
    stages = stages_of(made)
    loose = check_rounding(stages, None, x[CALIBRATION:])
    assert loose.verdict != "fail", rounding_reasons(loose)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_both_range_analyses_give_the_same_bounds(seed: int) -> None:
    """Two programs that share no code; a mutant of either one differs somewhere."""
    network = random_network(np.random.default_rng(seed))
    for first, second in zip(certify_ranges(network), bound_network(network), strict=True):
        figures = second.figures
        assert first.sum_bound == figures["synaptic sum"][0]
        assert first.u_bound == figures["u"][0]
        assert first.host_bound == figures["host mantissa"][0]
        assert (first.v_low, first.v_high) == (second.v_low.min(), second.v_high.max())
        assert first.ok == (second.headroom >= 0)
        assert abs(first.headroom_bits - second.headroom) < 1e-9
        widest = np.maximum(-second.v_low, second.v_high)
        assert widest[first.worst_neuron] == widest.max()
