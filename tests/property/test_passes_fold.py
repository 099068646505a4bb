"""Random chains: folding keeps the function, conversions stay inside their certificate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof.convert.base import apply_pass
from spikeproof.convert.fold import FOLD
from spikeproof.convert.gain import FOLD_GAIN
from spikeproof.convert.mappable import mapping_problems
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.floats import run_float
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import GraphError, RangeError, UnsupportedError
from spikeproof.ir.check_float import check_float
from spikeproof.ir.floats import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    FloatNetwork,
    FloatNode,
    InputScale,
    Lif,
    Linear,
    Readout,
)
from spikeproof.ir.shapes import output_shape

STEPS = 3
THRESHOLD = 2**-0.5  # no average of grey levels lies on it, so rounding flips no spike


def _conv(rng: np.random.Generator, name: str, channels: int) -> Conv2d:
    groups = int(rng.choice([g for g in (1, 2, channels) if channels % g == 0]))
    kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
    out = groups * int(rng.integers(1, 3))
    bias = rng.normal(size=out) if rng.random() < 0.5 else None
    pair = rng.integers([[1, 0, 1]], [[3, 3, 3]], (2, 3))
    return Conv2d(
        name,
        rng.normal(size=(out, channels // groups, *kernel)),
        bias,
        (int(pair[0, 0]), int(pair[1, 0])),
        (int(pair[0, 1]), int(pair[1, 1])),
        (int(pair[0, 2]), int(pair[1, 2])),
        groups,
    )


def _image_node(rng: np.random.Generator, name: str, channels: int) -> FloatNode:
    kind = rng.integers(4)
    if kind == 0:
        k, s = (int(n) for n in rng.integers(1, 4, 2))
        return AvgPool2d(name, (k, k), (s, s))
    if kind == 1:
        stats = rng.normal(size=(3, channels))
        var = rng.uniform(0.1, 2, channels)
        return BatchNorm2d(name, stats[0], stats[1], stats[2], var)
    if kind == 2:
        return InputScale(name, rng.normal(size=channels), rng.uniform(0.3, 2, channels))
    return _conv(rng, name, channels)


def _random_network(seed: int) -> FloatNetwork:
    """Chain maps and neurons at random; maps that no longer fit are left out."""
    rng = np.random.default_rng(seed)
    shape: tuple[int, ...] = (int(rng.choice([1, 2, 4])), *(int(n) for n in rng.integers(5, 10, 2)))
    first, nodes = shape, []
    for i in range(int(rng.integers(1, 7))):
        node = _image_node(rng, f"n{i}", shape[0])
        try:
            shape = output_shape(node, shape)
        except GraphError:
            continue
        nodes.append(node)
        if rng.random() < 0.25 or (i == 0 and rng.random() < 0.3):
            gain = rng.uniform(0.5, 2, STEPS) if rng.random() < 0.5 else np.full(STEPS, 1.7)
            nodes.append(Lif(f"lif{i}", 0.9, THRESHOLD, True, gain if rng.random() < 0.5 else None))
    nodes.append(Flatten("flat"))
    for i in range(int(rng.integers(1, 3))):
        width = int(np.prod(shape))
        nodes.append(Linear(f"fc{i}", rng.normal(size=(4, width)), rng.normal(size=4)))
        shape = (4,)
    network = FloatNetwork("random", first, STEPS, (*nodes, Readout("out")))
    check_float(network)
    return network


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_folded_network_is_the_same_function(seed: int) -> None:
    network = _random_network(seed)
    if mapping_problems(network):
        with pytest.raises(UnsupportedError):
            apply_pass(FOLD, network)
        return
    folded = apply_pass(FOLD_GAIN, apply_pass(FOLD, network))
    x = np.random.default_rng(seed).integers(0, 256, (3, *network.input_shape), np.uint8)
    before, after = run_float(network, x, trace=True), run_float(folded, x, trace=True)
    scale = 1 + np.abs(before.logits).max()
    for name, trace in before.traces.items():
        if trace.v is None:
            continue
        other = after.traces[name]
        assert other.v is not None
        np.testing.assert_allclose(
            other.v.reshape(trace.v.shape), trace.v, rtol=0, atol=1e-9 * (1 + np.abs(trace.v).max())
        )
    np.testing.assert_allclose(after.logits, before.logits, rtol=0, atol=1e-9 * scale)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pooling_before_a_padded_convolution_folds_exactly_or_is_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, s, pad, size = (int(n) for n in rng.integers([1, 1, 0, 4], [4, 4, 3, 11]))
    shape = (2, size, size + int(rng.integers(0, 2)))
    pool = AvgPool2d("pool", (k, k), (s, s))
    conv = Conv2d("conv", rng.normal(size=(3, 2, 3, 3)), rng.normal(size=3), (1, 1), (pad, pad))
    try:
        width = int(np.prod(output_shape(conv, output_shape(pool, shape))))
    except GraphError:
        return
    fc = Linear("fc", rng.normal(size=(2, width)), None)
    chain = (pool, conv, Lif("l1", 0.9, 1.0), Flatten("f"), fc, Readout("out"))
    network = FloatNetwork("pool", shape, 2, chain)
    # Exact whenever no window overlaps into the padding and no dropped row is reached.
    even = all((n - k) % s == 0 for n in shape[1:])
    expected = pad == 0 or (k <= s and even and k == s)
    refused = bool(mapping_problems(network))
    assert not (refused and expected)
    if not refused:
        x = rng.integers(0, 256, (2, *shape), np.uint8)
        folded = apply_pass(FOLD, network)
        after, before = (run_float(n, x, trace=True).traces["l1"].v for n in (folded, network))
        assert after is not None and before is not None
        np.testing.assert_allclose(after, before, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.floats(-4, 3), st.booleans(), st.sampled_from(["graded", "bias"])
)
def test_a_conversion_is_refused_or_stays_inside_its_certificate(
    seed: int, magnitude: float, strict: bool, coding: str
) -> None:
    network = _random_network(seed)
    nodes = tuple(
        replace(n, threshold=10**magnitude, strict=strict) if isinstance(n, Lif) else n
        for n in network.nodes
    )
    x = np.random.default_rng(seed).integers(0, 256, (4, *network.input_shape), np.uint8)
    options = ConvertOptions.model_validate({"input_coding": coding, "search": seed % 2 == 0})
    try:
        done = convert_network(replace(network, nodes=nodes), x, options)
    except (RangeError, UnsupportedError):
        return
    traces = ReferenceEngine().run(done.chip, x, trace=True).traces
    assert traces is not None
    for row in done.table:
        v = traces[row.layer].v
        assert row.v_low <= v.min() and v.max() <= row.v_high
