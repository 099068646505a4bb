"""Compensated rounding against the same algorithm written plainly, column by column."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.convert import compensate
from spikeproof.convert.compensate import Compensation, Sections, compensation
from spikeproof.convert.quantise import FloatLayer, Grid, round_layer, weight_grid
from spikeproof.convert.score import score
from spikeproof.convert.search import Setting, choose
from spikeproof.ir.floats import Conv2d, Lif, Linear, Readout
from spikeproof.verify import compensated

F64 = NDArray[np.float64]
GRID = Grid("mixed", 2, -254, 254)


def _spikes(rng: np.random.Generator, *shape: int) -> NDArray[np.uint8]:
    """Draw spikes (N, T, *shape) that follow a few common causes."""
    width = int(np.prod(shape[2:]))
    causes = rng.normal(size=(*shape[:2], 4)) @ rng.normal(size=(4, width))
    return (causes > 0.7).astype(np.uint8).reshape(shape)


def _plain(rows: F64, factor: F64, grid: Grid) -> F64:
    """Round column after column; each error goes to all columns behind it at once."""
    rows = rows.copy()
    for i in range(rows.shape[1] - 1):
        wanted = grid.step * np.rint(rows[:, i] / grid.step)
        error = (rows[:, i] - np.clip(wanted, grid.low, grid.high)) / factor[i, i]
        rows[:, i:] -= error[:, None] * factor[i, i:]
        rows[:, i] = wanted
    return rows


def _dense(seed: int, fan_in: int, scale: float = 1.0) -> tuple[FloatLayer, Compensation]:
    rng = np.random.default_rng(seed)
    linear = Linear("fc", scale * rng.normal(size=(7, fan_in)), scale * rng.normal(size=7))
    layer = FloatLayer(linear, Lif("l1", 0.9, 1.0), (fan_in,), 3, False)
    return layer, compensation(layer, _spikes(rng, 300, 3, fan_in))


@pytest.mark.parametrize("fan_in", [63, 64, 65, 150])
@pytest.mark.parametrize("scale", [20.0, 200.0])
def test_blocks_change_nothing(fan_in: int, scale: float) -> None:
    layer, rounding = _dense(1, fan_in, scale)
    weight, bias = rounding(layer.weight, layer.bias, GRID)
    rows = np.concatenate([layer.weight, layer.bias[:, None]], axis=1)
    expected = _plain(rows, rounding.factors[0], GRID)
    np.testing.assert_allclose(weight, expected[:, :-1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(bias, expected[:, -1], rtol=0, atol=1e-6)
    clips = (np.abs(weight) > 254).mean()
    assert clips > 0.1 if scale == 200.0 else clips == 0


@pytest.mark.parametrize("wide", [64, 100, 149, 150])
def test_blocks_of_blocks_change_ties_at_most(wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, rounding = _dense(1, 150, 20.0)
    rows = np.concatenate([layer.weight, layer.bias[:, None]], axis=1)
    expected = _plain(rows, rounding.factors[0], GRID)
    monkeypatch.setattr(compensate, "_ROUND_WORK", 0)
    monkeypatch.setattr(compensate, "_WIDE", wide)
    weight, bias = rounding(layer.weight, layer.bias, GRID)
    np.testing.assert_array_equal(weight, expected[:, :-1])
    np.testing.assert_allclose(bias, expected[:, -1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_large_layer_uses_some_of_its_sums(
    stepwise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    linear = Conv2d("c", rng.normal(size=(4, 2, 3, 3)), None, (1, 1), (1, 1), groups=2)
    layer = FloatLayer(linear, Lif("l1", 0.9, 1.0), (4, 6, 6), 4, False)
    inputs = _spikes(rng, 200, 4 if stepwise else 1, 4, 6, 6)
    whole = compensation(layer, inputs)
    used: list[int] = []
    monkeypatch.setattr(compensate, "_MOMENT_WORK", 7200 * 19**2)  # a quarter of 200 * 36 * 4 sums
    monkeypatch.setattr(compensate, "_CHUNK_VALUES", 7 * 18 * 36 * 4)
    monkeypatch.setattr(compensate, "_ROW_VALUES", 9000)
    factored = compensate._factor
    monkeypatch.setattr(
        compensate, "_factor", lambda m: used.append(round(m[-1, -1])) or factored(m)
    )
    some = compensation(layer, inputs)
    # The last input is 1: its leaky sums are 1, 1.9, 2.71, 3.439, and all steps are used alike.
    of_all = np.mean([1, 1.9**2, 2.71**2, 3.439**2])
    assert used == pytest.approx([7200 * of_all] * 2, rel=0.02)
    for one, other in zip(whole.factors, some.factors, strict=True):
        ratio = np.linalg.norm(one) / np.linalg.norm(other)
        assert np.linalg.norm(one - other * ratio) < 0.1 * np.linalg.norm(one)


@pytest.mark.parametrize(
    "end",
    [Lif("l1", 0.6, 1.0, True, np.array([1.0, 2.0, 0.7])), Lif("l1", 0.6, 1.0), Readout("out")],
)
def test_the_factor_comes_from_the_leaky_sums_of_the_inputs(end: Any) -> None:
    rng = np.random.default_rng(2)
    layer = FloatLayer(Linear("fc", rng.normal(size=(3, 9)), None), end, (9,), 3, False)
    inputs = _spikes(rng, 80, 3, 9)
    if isinstance(end, Readout):
        leak = np.ones(3)
    else:
        gain = np.ones(3) if end.gain is None else end.gain
        leak = np.array([0.0, *(0.6 * gain[:-1] / gain[1:])])
    moments, kept = np.zeros((10, 10)), np.zeros((80, 10))
    for t in range(3):
        kept = leak[t] * kept + np.concatenate([inputs[:, t], np.ones((80, 1))], axis=1)
        moments += kept.T @ kept
    factor = compensation(layer, inputs).factors[0]
    assert not np.tril(factor, -1).any()
    difference = np.linalg.inv(factor.T @ factor) - moments
    damping = difference[0, 0]  # the same small amount on each diagonal entry, nothing elsewhere
    assert 0 < damping < 0.1 * np.trace(moments) / 10
    np.testing.assert_allclose(difference, damping * np.eye(10), rtol=0, atol=1e-3 * damping)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_the_verification_finds_the_same_sums_by_itself(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(9)
    linear = Conv2d("c", rng.normal(size=(4, 2, 3, 3)), None, (2, 1), (1, 1), groups=2)
    layer = FloatLayer(linear, Lif("l1", 0.9, 1.0), (4, 6, 6), 4, False)
    inputs = _spikes(rng, 200, 4, 4, 6, 6)
    factored: list[F64] = []
    work = 1500 * 19**2
    monkeypatch.setattr(compensate, "_MOMENT_WORK", work)
    monkeypatch.setattr(compensate, "_CHUNK_VALUES", chunk * 18 * 18 * 4)
    monkeypatch.setattr(compensate, "_factor", lambda m: factored.append(m.copy()) or m)
    compensation(layer, inputs)
    monkeypatch.setattr(compensated, "_WORK", work)
    ((_, again),) = compensated.moments(linear, layer.end, inputs, 4)
    assert factored[0][-1, -1] < 10_000  # of all 14 400 sums it would be 85 600
    np.testing.assert_allclose(again, np.array(factored), rtol=1e-5)


def _in_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compensate, "_WHOLE", 60)
    monkeypatch.setattr(compensate, "_SECTION", 30)
    monkeypatch.setattr(compensated, "WHOLE", 60)
    monkeypatch.setattr(compensated, "SECTION", 30)


def test_a_wide_layer_is_rounded_section_by_section(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    layer = FloatLayer(
        Linear("fc", 20 * rng.normal(size=(7, 100)), 20 * rng.normal(size=7)),
        Lif("l1", 0.9, 1.0),
        (100,),
        3,
        False,
    )
    inputs = _spikes(rng, 300, 3, 100)
    _in_sections(monkeypatch)
    rounding = compensation(layer, inputs)
    assert isinstance(rounding, Sections)
    assert [(p.start, p.stop) for p, _ in rounding.parts] == [
        (0, 25),
        (25, 50),
        (50, 75),
        (75, 100),
    ]
    expected, bias = [], layer.bias[:, None]
    for part, one in rounding.parts:
        alone = Linear("fc", layer.weight[:, part], None)
        of_part = compensation(replace(layer, linear=alone, input_shape=(25,)), inputs[..., part])
        assert isinstance(of_part, Compensation)
        np.testing.assert_allclose(one.factors[0], of_part.factors[0], rtol=1e-4, atol=1e-7)
        rows = _plain(np.concatenate([layer.weight[:, part], bias], axis=1), one.factors[0], GRID)
        expected.append(rows[:, :-1])
        bias = rows[:, -1:]
    weight, moved = rounding(layer.weight.copy(), layer.bias, GRID)
    np.testing.assert_allclose(weight, np.concatenate(expected, axis=1), rtol=0, atol=1e-6)
    np.testing.assert_allclose(moved, bias[:, 0], rtol=0, atol=1e-6)


def test_the_verification_finds_what_sections_rounded_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(12)
    linear = Conv2d("c", rng.normal(size=(4, 8, 3, 3)), None, (1, 1), (1, 1))
    layer = FloatLayer(linear, Lif("l1", 0.9, 1.0), (8, 6, 6), 4, False)
    inputs = _spikes(rng, 100, 4, 8, 6, 6)
    _in_sections(monkeypatch)
    fitted = round_layer(layer, 30.0, 8, compensation(layer, inputs))
    held = fitted.layer.synapse.weight.astype(np.float64)
    wanted = layer.weight * fitted.scale
    assert np.abs(held - wanted).max() > 1.1, "else nothing was made up for"
    second = compensated.moments(linear, layer.end, inputs, 4)
    assert [(p.start, p.stop) for p, _ in second] == [(0, 24), (24, 48), (48, 72)]
    target = compensated.targets(wanted, held, second)
    assert np.abs(held - target.weight).max() < 1.01
    bias = 64 * target.bias[:, None, None]
    assert np.abs(fitted.layer.neuron.bias - bias).max() <= 1.01  # strictly above, by at most 1
    plain = compensated.error_ratio(wanted, held, second, (2, -254, 254))
    assert plain.max() < 0.95
    mean, reach = compensated.mean_error(wanted, held, second)
    assert (np.abs(mean - target.bias) <= reach).all()


def test_sections_make_up_for_more_than_rounding_to_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(13)
    layer = FloatLayer(
        Linear("fc", rng.normal(size=(12, 120)), None), Readout("out"), (120,), 4, False
    )
    inputs = _spikes(rng, 400, 4, 120)
    scale = _max_abs(layer.weight)
    whole = round_layer(layer, scale, 4, compensation(layer, inputs[:200]))
    _in_sections(monkeypatch)
    sections = round_layer(layer, scale, 4, compensation(layer, inputs[:200]))
    nearest = round_layer(layer, scale, 4)
    best, good, plain = score(layer, inputs[200:], [whole, sections, nearest])
    assert best.error < good.error < 0.5 * plain.error


def test_both_sides_cut_the_same_sections() -> None:
    assert (compensate._WHOLE, compensate._SECTION) == (compensated.WHOLE, compensated.SECTION)


def _with_a_bias_per_position(seed: int) -> tuple[FloatLayer, NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    linear = Conv2d(
        "c", rng.normal(size=(5, 3, 3, 3)) / 4, rng.normal(size=(5, 6, 6)), (1, 1), (1, 1)
    )
    layer = FloatLayer(linear, Lif("l1", 0.9, 1.0), (3, 6, 6), 2, False)
    return layer, _spikes(rng, 120, 2, 3, 6, 6)


def test_a_bias_per_position_moves_by_what_is_left_of_its_channel() -> None:
    layer, inputs = _with_a_bias_per_position(3)
    rounding = compensation(layer, inputs)
    weight, bias = rounding(100 * layer.weight, 100 * layer.bias, GRID)
    rows = np.concatenate([100 * layer.weight.reshape(5, -1), np.zeros((5, 1))], axis=1)
    expected = _plain(rows, rounding.factors[0], GRID)
    np.testing.assert_allclose(weight.reshape(5, -1), expected[:, :-1], rtol=0, atol=1e-6)
    moved = bias - 100 * layer.bias
    assert np.abs(moved).min() > 1e-3
    np.testing.assert_allclose(moved, np.broadcast_to(expected[:, -1, None, None], (5, 6, 6)))


def test_clipped_weights_are_made_up_for_by_the_others() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        weight = rng.normal(size=(12, 60)) / 8
        layer = FloatLayer(Linear("fc", weight, None), Readout("out"), (60,), 4, False)
        inputs = _spikes(rng, 400, 4, 60)
        rounding = compensation(layer, inputs[:200])
        nearest = round_layer(layer, 1200.0, 8)
        assert nearest.clipped_share > 0.05
        fitted = round_layer(layer, 1200.0, 8, rounding)
        plain, compensated = score(layer, inputs[200:], [nearest, fitted])
        assert compensated.error < 0.5 * plain.error


def test_a_rounding_that_only_suits_the_images_it_was_fitted_to_is_not_chosen() -> None:
    rng = np.random.default_rng(4)
    weight = rng.normal(size=(1, 40))
    layer = FloatLayer(Linear("fc", weight, None), Readout("out"), (40,), 1, False)
    fitted = np.repeat(rng.integers(0, 2, (60, 1, 1)), 40, axis=2)  # all inputs alike
    judged = np.eye(40, dtype=np.int64)[rng.integers(0, 40, 60)][:, None]  # one at a time
    inputs = np.stack([fitted, judged], axis=1).reshape(120, 1, 40).astype(np.uint8)
    plain = round_layer(layer, _max_abs(weight), 4)
    special = round_layer(layer, _max_abs(weight), 4, compensation(layer, inputs[::2]))
    on_all, on_judged = (score(layer, x, [plain, special]) for x in (inputs, inputs[1::2]))
    assert on_all[1].error < on_all[0].error  # judged on all images it would win
    assert on_judged[1].error > on_judged[0].error
    setting = Setting(inputs, [np.ones(40, np.int64)], bits=4, search=False)
    best = choose(layer, setting, "spikes").candidate.layer.synapse
    expected: Any = plain.layer.synapse
    np.testing.assert_array_equal(getattr(best, "weight", None), expected.weight)
    assert (special.layer.synapse.weight != expected.weight).any()  # type: ignore[union-attr]


def test_the_images_that_judge_are_not_fitted_to() -> None:
    rng = np.random.default_rng(6)
    weight = rng.normal(size=(1, 40))
    layer = FloatLayer(Linear("fc", weight, None), Readout("out"), (40,), 1, False)
    inputs = _spikes(rng, 120, 1, 40)
    halves = [
        round_layer(layer, _max_abs(weight), 4, compensation(layer, x)).layer.synapse
        for x in (inputs[::2], inputs)
    ]
    setting = Setting(inputs, [np.ones(40, np.int64)], bits=4, search=False)
    best: Any = choose(layer, setting, "spikes").candidate.layer.synapse
    on_half, on_all = (np.asarray(getattr(h, "weight", None)) for h in halves)
    np.testing.assert_array_equal(best.weight, on_half)
    assert not np.array_equal(best.weight, on_all)


def _max_abs(weight: F64) -> float:
    return weight_grid(weight, 4).high / float(np.abs(weight).max())
