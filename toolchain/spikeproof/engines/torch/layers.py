"""One layer on a torch device: exact sums for all steps at once, then T neuron updates.

Written with the methods of tensors alone, so that importing it loads no torch. Arrays are
time-major, (T, N, *neurons): what one step touches is contiguous.

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

from dataclasses import dataclass
from typing import Any

from spikeproof import fixedpoint as fx
from spikeproof.engines.torch.load import DeviceLayer, Tensor
from spikeproof.ir import chip

_PRODUCTS = 1 << 15
"""Small matrix products in one call; some versions of CUDA's library end at 2^16."""


@dataclass(frozen=True, eq=False)
class LayerRun:
    """What a layer did: spikes (T, N, *neurons) or None for a readout, the last v, and a trace."""

    spikes: Tensor | None
    last_v: Tensor
    u: Tensor | None = None
    v: Tensor | None = None


def run_layer(
    loaded: DeviceLayer, source: Tensor, steps: int, *, trace: bool, chunk: int
) -> LayerRun:
    """Run one batch through one layer.

    Args:
        loaded: the layer.
        source: payloads (T, N, *inputs); T is 1 where the input is constant.
        steps: the network's T.
        trace: keep u and v of all steps, int32.
        chunk: how many values the unfolded windows may hold at a time.
    """
    total = _sums(loaded, source, chunk)
    drive, bias = total, loaded.bias
    if loaded.layer.host:
        drive, bias = None, _host_bias(loaded, total)
    return _update(loaded, drive, bias, (steps, source.shape[1], *loaded.layer.shape), trace)


def _sums(loaded: DeviceLayer, source: Tensor, chunk: int) -> Tensor:
    """Return the synaptic sums (T or 1, N, *neurons), exponent applied."""
    steps, samples = source.shape[:2]
    merged = source.reshape(steps * samples, *source.shape[2:])
    if isinstance(loaded.layer.synapse, chip.ConvSynapse):
        total = _correlate(merged, loaded.weight, loaded.layer.synapse, loaded.layer.shape, chunk)
    else:
        total = merged.flatten(1).to(loaded.weight.dtype).matmul(loaded.weight.mT)
    if loaded.layer.synapse.exponent:
        total = total.mul_(2.0**loaded.layer.synapse.exponent).floor_()
    return total.view(steps, samples, *loaded.layer.shape)


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


def _host_bias(loaded: DeviceLayer, total: Tensor) -> Tensor:
    """Return what the host writes as bias, (N, *neurons): rounded half up, << the exponent."""
    host: Any = loaded.layer.host
    exact = total[0].double().add_(loaded.offset)
    mantissa = exact.mul_(2.0**-host.shift).add_(0.5).floor_() if host.shift else exact
    return mantissa.mul_(2.0**loaded.layer.neuron.bias_exponent)


def _update(
    loaded: DeviceLayer,
    drive: Tensor | None,
    bias: Tensor | None,
    full: tuple[int, ...],
    trace: bool,
) -> LayerRun:
    """Update all neurons over T steps, in a handful of kernels per step."""
    neuron = loaded.layer.neuron
    v = loaded.weight.new_zeros(full[1:]).double()
    u = v.clone() if neuron.filters or loaded.wraps or trace else None
    spikes = v.new_empty(full).bool() if neuron.spiking else None
    v.add_(loaded.initial)
    us, vs = (v.new_empty(full).int() if trace else None for _ in "uv")
    for t in range(full[0]):
        _scale(v, loaded.leak[t])
        arriving = None if drive is None else drive[t if len(drive) > 1 else 0]
        if u is not None:
            _scale(u, loaded.u_keep)
            if arriving is not None:
                u.add_(arriving, alpha=fx.CURRENT_UNIT)
            if loaded.wraps:
                _wrap(u)
            v.add_(u)
        elif arriving is not None:
            v.add_(arriving, alpha=fx.CURRENT_UNIT)
        if bias is not None:
            v.add_(bias)
        v.clamp_(-fx.STATE_MAX, fx.STATE_MAX)
        if us is not None and vs is not None:
            us[t], vs[t] = u, v
        if spikes is not None:
            fired = v > loaded.threshold[t]
            spikes[t] = fired
            if loaded.taken is None:
                v.masked_fill_(fired, 0)
            else:
                v.sub_(fired * loaded.taken)
    return LayerRun(spikes, v, us, vs)


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
