"""Two linear maps become one exactly when they are one; what they keep; and their biases."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.errors import GraphError
from spikeproof.ir import chip
from spikeproof.ir.floats import Conv2d, Linear
from spikeproof.ir.shapes import Shape, output_shape
from spikeproof.numerics.affine import (
    Affine,
    Elementwise,
    Parallel,
    Step,
    add_maps,
    apply,
    as_matrix,
    bias_map,
    compose,
    dense_kernel,
    padding_problem,
)

Array = NDArray[np.float64]


def draw_conv(rng: np.random.Generator, name: str, channels: int) -> Conv2d:
    groups = int(rng.choice([g for g in (1, 2, channels) if channels % g == 0]))
    out = groups * int(rng.integers(1, 3))
    kernel = rng.integers(1, 4, 2).tolist() if rng.random() < 0.7 else [1, 1]
    stride, dilation = (tuple(rng.integers(1, 3, 2).tolist()) for _ in range(2))
    padding = tuple(rng.integers(0, 2, 2).tolist()) if rng.random() < 0.5 else (0, 0)
    bias = rng.normal(size=out) if rng.random() < 0.6 else None
    weight = rng.normal(size=(out, channels // groups, *kernel))
    return Conv2d(name, weight, bias, stride, padding, dilation, groups)


def by_definition(node: Conv2d, x: Array) -> Array:
    """Cross-correlate one image, output by output."""
    out, per_group, kh, kw = node.weight.shape
    padded = np.pad(x, ((0, 0), *((p, p) for p in node.padding)))
    found = np.zeros(output_shape(node, x.shape))
    for o, i, j in np.ndindex(*found.shape):
        first = o // (out // node.groups) * per_group
        top, left = i * node.stride[0], j * node.stride[1]
        for c, a, b in np.ndindex(per_group, kh, kw):
            pixel = padded[first + c, top + a * node.dilation[0], left + b * node.dilation[1]]
            found[o, i, j] += node.weight[o, c, a, b] * pixel
    return found


def with_bias(node: Affine, x: Array) -> Array:
    linear = apply(node, x)
    return linear if node.bias is None else linear + bias_map(node.bias, linear.shape[1:])


def draw_chain(seed: int) -> tuple[Conv2d, Conv2d, Shape, Array] | None:
    """Draw two convolutions and an input that fits them, or nothing."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.choice([1, 2, 4])), *rng.integers(4, 9, 2).tolist())
    first = draw_conv(rng, "first", shape[0])
    second = draw_conv(rng, "second", len(first.weight))
    try:
        output_shape(second, output_shape(first, shape))
    except GraphError:
        return None
    return first, second, shape, rng.normal(size=(2, *shape))


@pytest.mark.parametrize("seed", range(12))
def test_a_convolution_is_what_its_definition_says(seed: int) -> None:
    chain = draw_chain(seed)
    if chain is None:
        return
    first, _, shape, x = chain
    expected = np.stack([by_definition(first, image) for image in x])
    np.testing.assert_allclose(apply(first, x), expected, atol=1e-12)
    np.testing.assert_allclose(apply(first, x, 2 * first.weight), 2 * expected, atol=1e-12)
    synapse = chip.ConvSynapse(
        np.rint(8 * first.weight).astype(np.int16),
        (shape[0], shape[1], shape[2]),
        first.stride,
        first.padding,
        first.dilation,
        first.groups,
    )
    np.testing.assert_array_equal(
        apply(synapse, x), apply(Conv2d("c", synapse.weight, None, *first_geometry(first)), x)
    )


def first_geometry(node: Conv2d) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int]:
    return node.stride, node.padding, node.dilation, node.groups


@pytest.mark.parametrize("block", range(6))
def test_two_convolutions_are_one_exactly_when_no_problem_is_named(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        chain = draw_chain(seed)
        if chain is None:
            continue
        first, second, shape, x = chain
        expected = with_bias(second, with_bias(first, x))
        try:
            one = compose(first, second, shape)
            found = with_bias(one, x)
            same = found.shape == expected.shape and np.allclose(found, expected)
        except (GraphError, ValueError):
            same = False
        assert same == (padding_problem(first, second, shape) is None), seed
        if same:
            assert one.name == "second"


@pytest.mark.parametrize(
    ("pad", "kernel", "stride", "one"),
    [
        (0, 3, 1, True),  # no zeros in the middle: overlap does not matter
        (1, 2, 2, True),  # windows side by side
        (1, 3, 2, False),
    ],
)
def test_overlap_is_a_problem_only_in_front_of_padding(
    pad: int, kernel: int, stride: int, one: bool
) -> None:
    for axis in (0, 1):
        size = [[1, 1], [1, 1]]
        size[0][axis], size[1][axis] = kernel, stride
        first = Conv2d("a", np.ones((1, 1, *size[0])), None, (size[1][0], size[1][1]))
        pads = [0, 0]
        pads[axis] = pad
        second = Conv2d("b", np.ones((1, 1, 2, 2)), None, (1, 1), (pads[0], pads[1]))
        found = padding_problem(first, second, (1, 6 + kernel, 6 + kernel - kernel % 2))
        assert found is None if one else "overlap into the zero padding" in str(found)


def test_rows_left_over_are_counted_for_the_message() -> None:
    pool = Conv2d("pool", np.ones((1, 1, 3, 3)), None, (3, 3))
    conv = Conv2d("conv", np.ones((1, 1, 3, 3)), None, (1, 1), (1, 1))
    assert padding_problem(pool, conv, (1, 9, 9)) is None
    for shape in ((1, 11, 9), (1, 9, 11)):
        found = padding_problem(pool, conv, shape)
        assert found == "it drops 2 rows at the border that the next padding reaches"
    # Zeros in front of the first map shift its windows: rows -1..10 of 0..11 are seen.
    padded = Conv2d("a", pool.weight, None, (3, 3), (1, 1))
    found = padding_problem(padded, conv, (1, 12, 11))
    assert found == "it drops 1 row at the border that the next padding reaches"
    assert padding_problem(padded, conv, (1, 11, 11)) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_linear_layer_swallows_the_convolution_in_front(seed: int) -> None:
    chain = draw_chain(seed)
    if chain is None:
        return
    first, _, shape, x = chain
    rng = np.random.default_rng(seed)
    middle = output_shape(first, shape)
    bias = rng.normal(size=3) if seed % 2 else None
    linear = Linear("fc", rng.normal(size=(3, int(np.prod(middle)))), bias)
    assert padding_problem(first, linear, shape) is None
    one = compose(first, linear, shape)
    assert isinstance(one, Linear) and one.name == "fc"
    np.testing.assert_allclose(with_bias(one, x), with_bias(linear, with_bias(first, x)))
    assert (one.bias is None) == (first.bias is None and bias is None)


def test_a_convolution_behind_a_linear_layer_is_refused() -> None:
    linear, conv = Linear("l", np.ones((4, 4)), None), Conv2d("c", np.ones((1, 1, 1, 1)), None)
    assert padding_problem(linear, conv, (4, 1, 1)) is None  # not a question of padding
    with pytest.raises(TypeError, match="cannot follow"):
        compose(linear, conv, (4, 1, 1))


def _identity(channels: int, groups: int, kernel: int = 1, **options: tuple[int, int]) -> Conv2d:
    weight = np.ones((channels, channels // groups, kernel, kernel))
    return Conv2d("c", weight, None, groups=groups, **options)


@pytest.mark.parametrize(
    ("first", "second", "groups"),
    [(4, 4, 4), (2, 4, 2), (4, 2, 2), (1, 4, 1), (4, 1, 1), (2, 2, 1)],
)
def test_channelwise_maps_keep_the_groups_of_their_partner(
    first: int, second: int, groups: int
) -> None:
    """Batch norm and pooling must not make a grouped convolution four times as large."""
    one = compose(_identity(4, first), _identity(4, second), (4, 5, 5))
    assert isinstance(one, Conv2d)
    assert one.groups == groups
    assert one.weight.shape == (4, 4 // groups, 1, 1)


def test_a_dilated_kernel_stays_small_beside_a_single_point() -> None:
    wide = _identity(1, 1, 3, dilation=(2, 3))
    for pair in ((wide, _identity(1, 1)), (_identity(1, 1), wide)):
        one = compose(*pair, (1, 9, 9))
        assert isinstance(one, Conv2d)
        assert one.weight.shape == (1, 1, 3, 3) and one.dilation == (2, 3)


def test_biases_stay_one_per_channel_while_no_border_differs() -> None:
    first = Conv2d("a", np.ones((2, 2, 1, 1)), np.array([1.0, 10.0]))
    inner = Conv2d("b", np.ones((3, 2, 2, 2)), np.array([0.0, 1.0, 2.0]))
    plain = compose(first, inner, (2, 4, 4))
    assert plain.bias is not None
    np.testing.assert_allclose(plain.bias, [44, 45, 46])
    padded = compose(first, Conv2d("b", inner.weight, inner.bias, padding=(1, 1)), (2, 4, 4))
    assert padded.bias is not None and padded.bias.shape == (3, 5, 5)
    np.testing.assert_allclose(padded.bias[0, 0], [11, 22, 22, 22, 11])
    field = Conv2d("a", first.weight, np.arange(32.0).reshape(2, 4, 4))
    kept = compose(field, Conv2d("b", np.ones((1, 2, 1, 1)), None), (2, 4, 4))
    assert kept.bias is not None
    np.testing.assert_allclose(kept.bias[0, 0], [16, 18, 20, 22])


def test_a_grouped_kernel_written_out_has_zeros_between_the_groups() -> None:
    node = Conv2d("c", np.arange(1, 9, dtype=np.float32).reshape(4, 2, 1, 1), None, groups=2)
    full = dense_kernel(node)
    assert full.dtype == np.float32
    assert full[..., 0, 0].tolist() == [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]
    single = Conv2d("c", np.ones((2, 2, 1, 1)), None)
    assert dense_kernel(single) is single.weight


def test_biases_reach_the_shape_of_the_neurons() -> None:
    assert bias_map(np.array([1.0, 2.0]), (2, 1, 2)).tolist() == [[[1, 1]], [[2, 2]]]
    assert bias_map(np.array([1.0, 2.0]), (2,)).tolist() == [1, 2]
    field = np.arange(4.0).reshape(2, 1, 2)
    assert bias_map(field, (2, 1, 2)).tolist() == field.tolist()


def test_other_weights_stand_in_for_those_of_a_synapse() -> None:
    """An engine multiplies with float copies of the integers; the map is the node's own."""
    synapse = chip.DenseSynapse(np.array([[1, 2], [3, 4]], np.int16), "excitatory")
    x = np.array([[10.0, 1.0]])
    assert apply(synapse, x).tolist() == [[12.0, 34.0]]
    halves = synapse.weight.astype(np.float64) / 2
    assert apply(synapse, x, halves).tolist() == [[6.0, 17.0]]


@pytest.mark.parametrize("seed", range(60))
def test_the_sum_of_two_maps_is_one_map_or_none(seed: int) -> None:
    rng = np.random.default_rng([11, seed])
    shape = (4, 6, 5)
    first, second = (_same_size(rng, name) for name in ("a", "b"))
    total = add_maps(first, second, shape)
    x = rng.normal(size=(3, *shape))
    expected = [whole(m, x) for m in (first, second)]
    if total is None:
        assert (first.stride, first.dilation) != (second.stride, second.dilation)
        return
    np.testing.assert_allclose(whole(total, x), expected[0] + expected[1], atol=1e-12)


def _same_size(rng: np.random.Generator, name: str) -> Conv2d:
    """Draw a convolution that keeps the size of its image, with groups or without."""
    reach, dilation = int(rng.integers(0, 3)), int(rng.integers(1, 3))
    groups = int(rng.choice([1, 2, 4]))
    kernel = 2 * reach + 1
    bias = None if rng.random() < 0.3 else rng.normal(size=4)
    weight = rng.normal(size=(4, 4 // groups, kernel, kernel))
    pad = reach * dilation
    return Conv2d(name, weight, bias, (1, 1), (pad, pad), (dilation, dilation), groups)


def whole(node: Affine, x: Array) -> Array:
    y = apply(node, x)
    return y if node.bias is None else y + bias_map(node.bias, y.shape[1:])


def test_maps_side_by_side_add_up_and_come_apart_again() -> None:
    rng = np.random.default_rng(2)
    wide = Conv2d("wide", rng.normal(size=(4, 3, 3, 3)), None, padding=(1, 1))
    grouped = Conv2d("grouped", rng.normal(size=(4, 2, 1, 1)), None, groups=2)
    shapes: tuple[Shape, ...] = ((3, 5, 4), (4, 5, 4))
    both = Parallel("both", (wide, grouped), shapes)
    parts = [rng.normal(size=(6, *shape)) for shape in shapes]
    flat = np.concatenate([part.reshape(6, -1) for part in parts], axis=1)
    np.testing.assert_allclose(apply(both, flat), apply(wide, parts[0]) + apply(grouped, parts[1]))
    assert both.weight.shape == (4, 3 * 9 + 4)
    assert both.grouped
    for found, own in zip(both.split(both.weight), (wide, grouped), strict=True):
        np.testing.assert_array_equal(found, own.weight)


SHAPE = (2, 3, 4)


def of_flat(step: Step, x: Array) -> Array:
    """Apply a map to one input of SHAPE or 24 numbers, by its definition; flat."""
    if isinstance(step, Elementwise):
        y = step.weight * x.reshape(-1)
    elif isinstance(step, Linear):
        y = step.weight @ x.reshape(-1)
    else:
        y = by_definition(step, x.reshape(SHAPE)).reshape(-1)
    if step.bias is None:
        return y
    places = 1 if step.bias.size == y.size else y.size // step.bias.size
    return y + np.repeat(step.bias.reshape(-1), places)


def flat_steps() -> dict[str, Step]:
    rng = np.random.default_rng(12)
    return {
        "scaled": Elementwise("scaled", rng.normal(size=24), rng.normal(size=24)),
        "plain": Elementwise("plain", rng.normal(size=24), None),
        "matrix": Linear("matrix", rng.normal(size=(24, 24)), rng.normal(size=24)),
        "conv": Conv2d("conv", rng.normal(size=(2, 2, 3, 3)), rng.normal(size=2), padding=(1, 1)),
        "depthwise": Conv2d("depthwise", rng.normal(size=(2, 1, 1, 3)), None, groups=2),
    }


@pytest.mark.parametrize("first", ["scaled", "plain", "matrix", "conv"])
@pytest.mark.parametrize("second", ["scaled", "plain", "matrix"])
def test_maps_of_flat_images_compose_and_add_up(first: str, second: str) -> None:
    one, two = flat_steps()[first], flat_steps()[second]
    x = np.random.default_rng(3).normal(size=SHAPE)
    composed = compose(one, two, SHAPE)
    np.testing.assert_allclose(of_flat(composed, x), of_flat(two, of_flat(one, x)))
    assert composed.name == second
    added = add_maps(one, two, SHAPE)
    if first == "conv":
        assert added is None
        return
    assert added is not None
    np.testing.assert_allclose(of_flat(added, x), of_flat(one, x) + of_flat(two, x))
    still = isinstance(one, Elementwise) and isinstance(two, Elementwise)
    assert isinstance(composed, Elementwise) == isinstance(added, Elementwise) == still


@pytest.mark.parametrize("name", sorted(flat_steps()))
def test_any_map_can_be_written_as_a_matrix(name: str) -> None:
    step, x = flat_steps()[name], np.random.default_rng(3).normal(size=SHAPE)
    np.testing.assert_allclose(of_flat(as_matrix(step, SHAPE), x), of_flat(step, x))
