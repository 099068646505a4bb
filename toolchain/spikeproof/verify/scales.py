"""Judge whether a layer's scale is one the conversion may choose (check V2).

A scale S gives units of weight times spike per unit of float membrane. Every S gives the same
spikes up to rounding, so a wrong one is not a wrong number; but a far too small one wastes the
bits of the weights, a far too large one cuts them off, and a bundle could excuse anything by it.
The conversion searches around ``max-abs``, at which the largest weight is the largest that fits;
it goes lower only where the ranges of sums and states leave no choice, and then starts from the
largest S that fits. That is sought here once more: the layer is rounded to nearest and bounded
(:mod:`spikeproof.verify.interval`) at one scale after the other, each half of the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spikeproof.convert.options import ConvertOptions
from spikeproof.ir import chip
from spikeproof.ir.floats import Conv2d, Lif
from spikeproof.numerics.affine import Parallel
from spikeproof.verify.interval import Ints, bound_layer, extreme_sums
from spikeproof.verify.requantise.biases import bias_exponent
from spikeproof.verify.requantise.exact import Exact, part_of
from spikeproof.verify.requantise.findings import Findings
from spikeproof.verify.requantise.neurons import general_numbers
from spikeproof.verify.requantise.weights import weight_grid

_LOWEST, _HIGHEST, _STEPS, _BESIDE = 0.35, 2.5, 16, 0.6
"""Scales searched, in times max-abs; the best is refined by up to .6 of one of the 16 steps."""

_REFINED = (_HIGHEST / _LOWEST) ** (_BESIDE / _STEPS)

_HOST_LOWEST = 0.8
"""Least scale tried for a host current, in times the one that fills its mantissa."""

_WASTED, _CUT, _COARSE_HOST = 0.25, 0.05, 1 / 64
"""A forced scale is doubted below this share of the least that is searched, above this share of
weights cut off, and below this share of a host current's mantissa."""

_MARGIN = 0.98
"""A scale is only taken for one that surely fits if nothing reaches the last 2 % of its limit."""


def judge_scale(
    layer: Exact,
    built: chip.ChipLayer,
    scale: float,
    highest: Sequence[Ints],
    options: ConvertOptions,
    found: Findings,
) -> None:
    """Compare a scale with the range the conversion may choose it from.

    ``highest``: for each connection the largest payload that can reach the layer from each input.
    """
    step = _mantissa_step(layer)
    _require_weights(layer, built, found)
    forced = (options.scale or {}).get(layer.end.name)
    if forced is not None:
        low, high = forced - step / 2, max(forced + step / 2, step)
        _doubt_forced(layer, built, forced, highest, options, found)
    elif built.host and len(built.inputs) > 1:
        low, high = _beside_a_current(layer, built, scale, highest, options)
        refined = _REFINED if options.search else 1.0
        low, high = low / refined - step, max(high, step) * refined + 2 * step
    elif built.host:
        high = _filling(layer, built.neuron.bias_exponent)
        low, high = _HOST_LOWEST * high - step / 2, max(high + step / 2, step)
    else:
        low, high = _searched(layer, built, scale, highest, options)
        # The scale is put on a mantissa before it is refined, and again after it.
        refined = _REFINED if options.search else 1.0
        low = (low - step / 2) / refined - step / 2
        high = max((max(high, step) + step / 2) * refined + step / 2, step)
    slack = 1e-9 * scale
    found.compare("scale", scale, low - slack, high + slack, expected=min(max(scale, low), high))


def _beside_a_current(
    layer: Exact,
    built: chip.ChipLayer,
    scale: float,
    highest: Sequence[Ints],
    options: ConvertOptions,
) -> tuple[float, float]:
    """Return the least and the largest scale of weights beside a current of the host.

    Each must fit; where both fit alone at a scale, they do together at half of it.
    """
    spikes = [k for k, one in enumerate(built.inputs) if one.host is None]
    pixels = [k for k, one in enumerate(built.inputs) if one.host is not None]
    part, held = part_of(layer, built, spikes, None)
    low, high = _searched(part, held, scale, [highest[k] for k in spikes], options)
    current, _ = part_of(layer, built, pixels, layer.linear.bias)
    only = bias_exponent(options)
    least = _LOWEST if options.search else 1.0
    return min(low, least * _filling(current, 7 if only is None else only)) / 2, high


def _require_weights(layer: Exact, built: chip.ChipLayer, found: Findings) -> None:
    """Fail a connection of zeros where the checkpoint has weights: no scale excuses that."""
    for linear, one in zip(layer.maps, built.inputs, strict=True):
        if linear.weight.any() and not one.synapse.weight.any():
            count = int(np.count_nonzero(linear.weight))
            found.compare("number of weights that are not zero", 0, 1, count, expected=count)


def _doubt_forced(
    layer: Exact,
    built: chip.ChipLayer,
    forced: float,
    highest: Sequence[Ints],
    options: ConvertOptions,
    found: Findings,
) -> None:
    """Doubt a forced scale that leaves little of the weights, or cuts many off."""
    if built.host and len(built.inputs) > 1:
        return
    if built.host:
        share = forced / _filling(layer, built.neuron.bias_exponent)
        if share < _COARSE_HOST:
            found.doubts.append(
                f"the forced scale {forced:g} lets the currents fill {share:.2g} of their mantissa"
            )
        return
    least, _ = _searched(layer, built, forced, highest, options)
    if forced < _WASTED * least:
        found.doubts.append(
            f"the forced scale {forced:g} wastes the bits of the weights: none below {least:.3g} "
            "is ever chosen"
        )
    if (found.clipped_share or 0.0) > _CUT:
        found.doubts.append(
            f"the forced scale {forced:g} cuts off {100 * (found.clipped_share or 0.0):.3g} % of "
            "the weights"
        )


def _mantissa_step(layer: Exact) -> float:
    """Return the distance of scales at which the threshold is a whole mantissa; 0: all are."""
    if not isinstance(layer.end, Lif) or layer.end.gain is not None or layer.end.general:
        return 0.0
    return 1 / float(layer.end.threshold)


def _searched(
    layer: Exact,
    built: chip.ChipLayer,
    scale: float,
    highest: Sequence[Ints],
    options: ConvertOptions,
) -> tuple[float, float]:
    """Return the least and the largest scale that the search tries, before it refines one."""
    _, _, low, high = weight_grid(layer.weight, options.weight_bits)
    largest = float(np.abs(layer.weight).max(initial=0.0))
    if largest == 0:  # only a bias: the threshold is the yardstick
        largest = float(np.max(layer.end.threshold)) if isinstance(layer.end, Lif) else 1.0
    full = max(high, -low) / largest
    least, most = (_LOWEST, _HIGHEST) if options.search else (1.0, 1.0)
    if scale >= least * full:  # then it does not matter what fits
        return least * full, most * full
    fitting = _HIGHEST * full
    while fitting > scale and not _fits(layer, built, fitting, highest, options):
        fitting /= 2
    return least * min(full, fitting), most * full


def _fits(
    layer: Exact,
    built: chip.ChipLayer,
    scale: float,
    highest: Sequence[Ints],
    options: ConvertOptions,
) -> bool:
    """Tell whether a layer rounded to nearest at a scale surely stays inside the chip's ranges."""
    _, step, low, high = weight_grid(layer.weight, options.weight_bits)
    weight = np.clip(step * np.rint(layer.weight * scale / step), low, high).astype(np.int64)
    bias = 64 * layer.bias * scale
    worst = float(np.abs(bias).max(initial=0.0)) + 1
    only = bias_exponent(options)
    exponent = 0 if only is None else only
    while only is None and exponent < 7 and worst > _MARGIN * 4095 * 2.0**exponent:
        exponent += 1
    if worst > _MARGIN * 4095 * 2.0**exponent:
        return False
    mantissa = np.rint(bias / 2.0**exponent).astype(np.int64)
    neuron = built.neuron.changed(bias=mantissa, bias_exponent=exponent)
    end = layer.end
    if isinstance(end, Lif) and isinstance(neuron, chip.LifNeuron):
        threshold = scale * float(end.threshold)
        if threshold > _MARGIN * 131_071:
            return False
        neuron = replace(neuron, threshold=round(threshold))
    elif isinstance(end, Lif) and isinstance(neuron, chip.TableLifNeuron):
        table = np.floor(64 * scale * end.threshold / np.asarray(end.gain))
        if table.max() > _MARGIN * 8_388_607:
            return False
        neuron = replace(neuron, threshold=table.astype(np.int64))
    elif isinstance(end, Lif) and isinstance(neuron, chip.GeneralLifNeuron):
        exact = general_numbers(end, 64 * scale, layer.timesteps)
        if max(np.abs(values).max() for values in exact.values()) > _MARGIN * 8_388_607:
            return False
        neuron = neuron.changed(**{k: np.rint(v).astype(np.int64) for k, v in exact.items()})
    kernels = layer.linear.split(weight) if isinstance(layer.linear, Parallel) else [weight]
    inputs = tuple(
        one.changed(synapse=one.synapse.changed(weight=kernel))
        for one, kernel in zip(built.inputs, kernels, strict=True)
    )
    rounded = built.changed(inputs=inputs, neuron=neuron)
    bounds = bound_layer(rounded, highest, layer.timesteps, options.lower_rail)
    figures = bounds.figures.values()
    return all(reached <= _MARGIN * limit for reached, limit in figures)


def _filling(layer: Exact, exponent: int) -> float:
    """Return the scale at which the largest current any image gives fills the mantissa."""
    low, high = _extreme_currents(layer)
    worst = max(high, -low, 0.0)
    room = 4094 * 2.0**exponent / 64
    return room / worst if worst else room


def _extreme_currents(layer: Exact) -> tuple[float, float]:
    """Return the least and the largest current over all images and neurons, in float units."""
    # The taps are walked as integers: 40 bits of the weights' own scale keep 1e-9 of each sum.
    weight = layer.weight
    unit = float(np.abs(weight).max(initial=0.0)) / 2.0**40 or 1.0
    whole = np.rint(weight / unit).astype(np.int64)
    linear = layer.linear
    synapse: chip.Synapse = chip.DenseSynapse(whole)
    if isinstance(linear, Conv2d):
        c, h, w = layer.input_shape
        synapse = chip.ConvSynapse(
            whole, (c, h, w), linear.stride, linear.padding, linear.dilation, linear.groups
        )
    low, high = extreme_sums(synapse, np.full(layer.input_shape, 255, np.int64))
    bias = np.broadcast_to(layer.bias, layer.shape)
    return float((low * unit + bias).min()), float((high * unit + bias).max())
