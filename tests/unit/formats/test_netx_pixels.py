"""The map of pixels to biases: exact where it exists, found wherever it exists."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from spikeproof.formats.netx.pixels import (
    PixelRange,
    file_numbers,
    fixed_point,
    mantissas,
)

RANGES: list[PixelRange] = [(0, 255), (0, 1), (-1, 1), (1, -1), (-0.5, 0.5), (-0.4242, 2.8215)]


def written(found: tuple[int, int, int]) -> list[int]:
    """Return what the host writes with these integers."""
    factor, offset, shift = found
    half = (1 << shift) >> 1
    return [(factor * pixel + offset + half) >> shift for pixel in range(256)]


def nearest_factor_only(weight: int, bias: int, pixels: PixelRange) -> bool:
    """Tell whether the nearest factor and offset of some shift do it (all that was tried once)."""
    low, high = pixels
    slope, start = weight * (high - low) / 255, weight * low + bias
    for shift in range(17):
        factor, offset = (math.floor(x * (1 << shift) + 0.5) for x in (slope, start))
        if abs(factor) > 32767:
            return False
        if written((factor, offset, shift)) == mantissas(weight, bias, pixels):
            return True
    return False


def test_mantissas_are_the_real_numbers_rounded_half_up() -> None:
    for pixels in RANGES:
        low, high = (Fraction(str(end)) for end in pixels)
        for pixel, found in enumerate(mantissas(51, -7, pixels)):
            value = 51 * (low + Fraction(pixel, 255) * (high - low)) - 7
            assert Fraction(-1, 2) <= value - found < Fraction(1, 2)


def test_minus_one_to_one_has_a_solution() -> None:
    """Refused once: the factor next to the real slope rounds some pixel the other way."""
    pixels = (-1.0, 1.0)
    assert not nearest_factor_only(76, 64, pixels)
    assert fixed_point(76, 64, pixels) == (1221, -24595, 11)
    assert written((1221, -24595, 11)) == mantissas(76, 64, pixels)


@pytest.mark.parametrize("pixels", RANGES)
def test_a_grid_of_weights_and_biases(pixels: PixelRange) -> None:
    for weight in range(-200, 240, 55):
        for bias in (-63, 0, 34):
            found = fixed_point(weight, bias, pixels)
            assert found is not None and written(found) == mantissas(weight, bias, pixels)


def test_none_means_that_no_factor_exists() -> None:
    """Every factor and offset of every shift up to 3 by brute force: the search misses none."""
    rng = np.random.default_rng(0)
    pixel = np.arange(256)
    for _ in range(20):
        weight, bias = (int(n) for n in rng.integers(-3, 4, 2))
        low, high = (float(n) for n in rng.integers(-4, 5, 2) / 2)
        wanted = np.array(mantissas(weight, bias, (low, high)))
        least = None
        for shift in range(4):
            one, half = 1 << shift, (1 << shift) >> 1
            for factor in range(-24, 25):
                floors = wanted * one - factor * pixel - half
                if floors.max() <= (floors + one - 1).min():
                    least = shift if least is None else least
        found = fixed_point(weight, bias, (low, high))
        assert found is not None
        assert found[2] == least if least is not None else found[2] > 3


def test_what_no_bias_of_a_chip_holds_is_no_map() -> None:
    assert fixed_point(32767, 0, (0.0, 1e6)) is None


@pytest.mark.parametrize("pixels", RANGES)
def test_weight_and_bias_are_found_again(pixels: PixelRange) -> None:
    for weight, bias in ((36, 34), (-76, 64), (0, -5), (1, 0), (250, -99)):
        given = mantissas(weight, bias, pixels)
        found = file_numbers(given, pixels)
        assert found is not None and mantissas(*found, pixels) == given


def test_mantissas_of_another_kind_have_no_weight_and_bias() -> None:
    assert file_numbers([p // 2 if p < 128 else 200 for p in range(256)], (0.0, 1.0)) is None
    assert file_numbers([3] * 255 + [4], (5.0, 5.0)) is None
    assert file_numbers([3] * 256, (5.0, 5.0)) == (0, 3)
