"""Layers on a torch device: exact sums for all steps at once, then T neuron updates.

Written with the methods of tensors alone, so that importing it loads no torch. Arrays are
time-major, (T, N, *neurons): what one step touches is contiguous. Layers on a cycle go on step by
step together, and only what comes from outside the cycle is summed for all steps at once.

Why the sums are exact. Weights and payloads are integers, and no partial sum of their products,
in whatever order and grouping, exceeds the sum of the largest payload times |weights| of a row.
Where that bound stays below 2^24, float32 holds every partial sum (and fused or separate rounding
makes no difference); below 2^53, float64 does. check_chip keeps every sum below 2^53.
Convolutions are unfolded and multiplied the same way: the libraries' own convolutions may choose
Winograd or Fourier forms, whose transforms leave the integers.

Why the neuron update is exact: see fixedpoint.scale_exact_floats; the same operations are done
here on float64 tensors. Powers of two scale without rounding, so shifts are products, and the
shift to the right (a floor) is the floor of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spikeproof import fixedpoint as fx
from spikeproof.engines.torch.load import DeviceConnection, DeviceLayer, Tensor
from spikeproof.ir import chip

_PRODUCTS = 1 << 15
"""Small matrix products in one call; some versions of CUDA's library end at 2^16."""


@dataclass(frozen=True, eq=False)
class LayerRun:
    """What a layer did: spikes (T, N, *neurons) or None for a readout; u and v, int32.

    u has all steps, or is None; v has the last steps, as many as were asked for.
    """

    spikes: Tensor | None
    u: Tensor | None
    v: Tensor


@dataclass(frozen=True)
class Form:
    """What a batch's layers have in common: T, the samples, and how many values windows may hold.

    trace: whether u is kept.
    """

    steps: int
    samples: int
    chunk: int
    trace: bool


def run_group(
    group: Mapping[int, DeviceLayer],
    sent: Mapping[int, Tensor],
    form: Form,
    kept: Mapping[int, int],
) -> dict[int, LayerRun]:
    """Run one batch through a layer, or through layers on a common cycle.

    Args:
        group: the layers by position, in the network's order.
        sent: payloads (T, N, *inputs) of all sources outside the group; T is 1 where the input is
            constant.
        form: what the batch's layers have in common.
        kept: of how many steps, the last ones, each layer's v is kept.
    """
    populations = {i: _Population(loaded, sent, form, kept[i]) for i, loaded in group.items()}
    within = {
        i: [(one, populations[one.source]) for one in loaded.inputs if one.source in group]
        for i, loaded in group.items()
    }
    for t in range(form.steps):
        for i, population in populations.items():
            population.step(
                t, [(one, source.sent_at(t - one.lag)) for one, source in within[i] if t >= one.lag]
            )
    return {i: population.done() for i, population in populations.items()}


class _Population:
    """All neurons of a layer for a batch: what drives them, their state, and what they did."""

    def __init__(
        self, loaded: DeviceLayer, sent: Mapping[int, Tensor], form: Form, kept: int
    ) -> None:
        """Begin with what arrives from outside at all steps; ``kept``: steps of v."""
        self.loaded, self.chunk = loaded, form.chunk
        neuron, shape = loaded.layer.neuron, loaded.layer.shape
        self.drive = _sums_outside(loaded, sent, form)
        self.bias = _bias(loaded, sent, form.chunk)
        v = loaded.inputs[0].weight.new_zeros((form.samples, *shape)).double()
        self.u = v.clone() if neuron.filters or loaded.wraps or form.trace else None
        full = (form.steps, *v.shape)
        self.spikes = v.new_empty(full).bool() if neuron.spiking else None
        self.us = v.new_empty(full).int() if form.trace else None
        self.vs = v.new_empty((kept, *v.shape)).int()
        self.first_kept = form.steps - kept
        self.v = v.add_(loaded.initial)

    def sent_at(self, t: int) -> Tensor:
        """Return the spikes of one step, (1, N, *neurons)."""
        spikes: Any = self.spikes
        return spikes[t : t + 1]

    def step(self, t: int, within: Sequence[tuple[DeviceConnection, Tensor]]) -> None:
        """Go on by one step, in a handful of kernels; ``within``: what the group itself sent."""
        loaded, u, v = self.loaded, self.u, self.v
        shape = loaded.layer.shape
        arriving = [_sums(one, spikes, shape, self.chunk)[0] for one, spikes in within]
        if self.drive is not None:
            arriving.append(self.drive[t if len(self.drive) > 1 else 0])
        _scale(v, loaded.leak[t])
        if u is not None:
            _scale(u, loaded.u_keep)
            for sums in arriving:
                u.add_(sums, alpha=fx.CURRENT_UNIT)
            if loaded.wraps:
                _wrap(u)
            v.add_(u)
        else:
            for sums in arriving:
                v.add_(sums, alpha=fx.CURRENT_UNIT)
        if self.bias is not None:
            v.add_(self.bias)
        v.clamp_(-fx.STATE_MAX, fx.STATE_MAX)
        if self.us is not None:
            self.us[t] = u
        if t >= self.first_kept:
            self.vs[t - self.first_kept] = v
        if self.spikes is not None:
            fired = v > loaded.threshold[t]
            self.spikes[t] = fired
            if loaded.taken is None:
                v.masked_fill_(fired, 0)
            else:
                v.sub_(fired * loaded.taken)

    def done(self) -> LayerRun:
        """Return what was kept of all steps."""
        return LayerRun(self.spikes, self.us, self.vs)


def _sums_outside(loaded: DeviceLayer, sent: Mapping[int, Tensor], form: Form) -> Tensor | None:
    """Return the sums over what other groups sent, (T or 1, N, *neurons); None if there is none."""
    arriving = [
        one
        for one in loaded.inputs
        if one.offset is None and one.source in sent and one.lag < form.steps
    ]
    if not arriving:
        return None
    shape, first = loaded.layer.shape, arriving[0]
    if len(arriving) == 1 and not first.lag:
        return _sums(first, sent[first.source], shape, form.chunk)
    constant = all(not one.lag and len(sent[one.source]) == 1 for one in arriving)
    kind = first.weight.new_zeros(())
    kind = kind.float() if loaded.single else kind.double()
    total = kind.new_zeros((1 if constant else form.steps, form.samples, *shape))
    for one in arriving:
        # What would arrive after the last step is not summed; a constant fills every step.
        source = sent[one.source][: form.steps - one.lag]
        total[one.lag :].add_(_sums(one, source, shape, form.chunk))
    return total


def _bias(loaded: DeviceLayer, sent: Mapping[int, Tensor], chunk: int) -> Tensor | None:
    """Return what is added to v at every step: the bias, or what a host writes instead of it.

    A host's current is (N, *neurons): rounded half up, << the exponent.
    """
    for one in loaded.inputs:
        host = one.connection.host
        if host is not None:
            total = _sums(one, sent[one.source], loaded.layer.shape, chunk)
            exact = total[0].double().add_(one.offset)
            mantissa = exact.mul_(2.0**-host.shift).add_(0.5).floor_() if host.shift else exact
            return mantissa.mul_(2.0**loaded.layer.neuron.bias_exponent)
    return loaded.bias


def _sums(one: DeviceConnection, source: Tensor, shape: tuple[int, ...], chunk: int) -> Tensor:
    """Return the synaptic sums (T or 1, N, *neurons), exponent applied."""
    steps, samples = source.shape[:2]
    merged = source.reshape(steps * samples, *source.shape[2:])
    synapse = one.connection.synapse
    if isinstance(synapse, chip.ConvSynapse):
        total = _correlate(merged, one.weight, synapse, shape, chunk)
    else:
        total = merged.flatten(1).to(one.weight.dtype).matmul(one.weight.mT)
    if synapse.exponent:
        total = total.mul_(2.0**synapse.exponent).floor_()
    return total.view(steps, samples, *shape)


def _correlate(
    x: Tensor, weight: Tensor, synapse: chip.ConvSynapse, shape: tuple[int, ...], chunk: int
) -> Tensor:
    """Correlate images (M, C, H, W) with kernels (groups, O/groups, fan-in): (M, O, H', W')."""
    groups, per_group, fan_in = weight.shape
    places = shape[1] * shape[2]
    total = weight.new_empty((len(x), groups, per_group, places))
    step = max(1, min(chunk // (groups * fan_in * places), _PRODUCTS // groups))
    for start in range(0, len(x), step):
        seen = _windows(x[start : start + step].to(weight.dtype), synapse)
        columns = seen.reshape(len(seen), groups, fan_in, places)
        total[start : start + step] = weight.matmul(columns)
    return total.view(len(x), *shape)


def _windows(x: Tensor, synapse: chip.ConvSynapse) -> Tensor:
    """Return a view of zero-padded images as windows (M, C, kH, kW, H', W')."""
    (p_h, p_w), (s_h, s_w) = synapse.padding, synapse.stride
    (d_h, d_w), (k_h, k_w) = synapse.dilation, synapse.weight.shape[2:]
    images, channels, height, width = x.shape
    if p_h or p_w:
        padded = x.new_zeros((images, channels, height + 2 * p_h, width + 2 * p_w))
        padded[:, :, p_h : p_h + height, p_w : p_w + width] = x
        x = padded
    seen = x.unfold(2, d_h * (k_h - 1) + 1, s_h).unfold(3, d_w * (k_w - 1) + 1, s_w)
    return seen[..., ::d_h, ::d_w].permute(0, 1, 4, 5, 2, 3)


def _scale(state: Tensor, numerator: Tensor | int) -> None:
    """Multiply by ``numerator / 4096`` toward zero, as fixedpoint.scale_exact_floats does."""
    if not isinstance(numerator, int):
        state.mul_(numerator / fx.DECAY_ONE).trunc_()
    elif numerator == 0:
        state.zero_()
    elif numerator != fx.DECAY_ONE:
        state.mul_(numerator / fx.DECAY_ONE).trunc_()


def _wrap(u: Tensor) -> None:
    """Bring u back once by 2^24, as fixedpoint.wrap_current does."""
    high, low = u > fx.WRAP_LIMIT, u <= -fx.WRAP_LIMIT
    u.add_(high, alpha=-2 * fx.WRAP_LIMIT).add_(low, alpha=2 * fx.WRAP_LIMIT)
