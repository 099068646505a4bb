"""LIF and DLIF neurons: pure step functions over an explicit state, and modules on top.

One step of a layer is charge, fire, reset: v = leak v+ + gain I; s = 1 if v > threshold else 0;
v+ = (1 - s) v. Gradients flow through both factors of the reset; with ``detach_reset`` the backward
pass takes s in it for a constant, as many attacks do, and the forward pass is the same.
Source: "Robust Stable Spiking Neural Networks", ICML 2024, sections on LIF and DLIF.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spikeproof.errors import InputError
from spikeproof.ir import floats
from spikeproof_models.neuron_choices import DEFAULT_LEAK, GainForm


class LifOutput(NamedTuple):
    """What one step or one sequence gives: spikes 0/1, v before the reset, v after it."""

    s: Tensor
    v: Tensor
    v_after: Tensor


class _TriangleSpike(torch.autograd.Function):
    """Spike with the triangular surrogate ds/dv = max(0, w - |v - threshold|) / w^2."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: float, strict: bool, width: float) -> Tensor:
        ctx.save_for_backward(v)
        ctx.threshold, ctx.width = threshold, width
        return (v > threshold if strict else v >= threshold).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (v,) = ctx.saved_tensors
        return grads[0] * triangle(v, ctx.threshold, ctx.width), None, None, None


def triangle(v: Tensor, threshold: float, width: float) -> Tensor:
    """Return the surrogate slope max(0, width - |v - threshold|) / width^2."""
    # In place on one fresh tensor: this is the largest cost of training on a CPU.
    slope = (v - threshold).abs_().neg_().add_(width).clamp_(min=0)
    return slope if width == 1 else slope.div_(width * width)


def charge(v_after: Tensor, current: Tensor, leak: float, gain: Tensor | None = None) -> Tensor:
    """Return v before firing: leak * v_after + gain * current."""
    drive = current if gain is None else gain * current
    return v_after * leak + drive


def fire(v: Tensor, threshold: float, strict: bool = True, width: float = 1.0) -> Tensor:
    """Return spikes 0/1: v > threshold, or v >= threshold when not ``strict``."""
    spikes: Tensor = _TriangleSpike.apply(v, threshold, strict, width)
    return spikes


def reset(v: Tensor, s: Tensor, detach_reset: bool = False) -> Tensor:
    """Return v after the hard reset to zero; differentiable in v, and in s unless detached."""
    return (1 - (s.detach() if detach_reset else s)) * v


def lif_step(
    current: Tensor,
    v_after: Tensor,
    *,
    leak: float = DEFAULT_LEAK,
    threshold: float = 1.0,
    gain: Tensor | None = None,
    strict: bool = True,
    width: float = 1.0,
    detach_reset: bool = False,
) -> LifOutput:
    """Advance one timestep; ``gain`` is a scalar tensor a[t] (DLIF) or None (LIF)."""
    v = charge(v_after, current, leak, gain)
    s = fire(v, threshold, strict, width)
    return LifOutput(s, v, reset(v, s, detach_reset))


class _LifSequence(torch.autograd.Function):
    """All timesteps of :func:`lif_step` with one hand-written backward pass (about twice as fast).

    ``current`` is (T, ...) or (1, ...): a constant current shared by all steps.
    """

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        gain: Tensor | None,
        timesteps: int,
        leak: float,
        threshold: float,
        strict: bool,
        width: float,
        detach_reset: bool,
    ) -> tuple[Tensor, Tensor]:
        v_all = current.new_empty((timesteps, *current.shape[1:]))
        s_all = torch.empty_like(v_all)
        after: Tensor | None = None
        for t in range(timesteps):
            drive = current[t if current.shape[0] > 1 else 0]
            drive = drive if gain is None else gain[t] * drive
            v = v_all[t].copy_(drive) if after is None else v_all[t].copy_(after.mul_(leak) + drive)
            spiked = v > threshold if strict else v >= threshold
            s = s_all[t].copy_(spiked)
            after = (1 - s).mul_(v)
        ctx.save_for_backward(v_all, s_all, current, gain)
        ctx.numbers = leak, threshold, width, detach_reset
        ctx.mark_non_differentiable(v_all)
        return s_all, v_all

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        v_all, s_all, current, gain = ctx.saved_tensors
        leak, threshold, width, detach_reset = ctx.numbers
        grad_v = triangle(v_all, threshold, width)
        carried: Tensor | None = None
        for t in reversed(range(v_all.shape[0])):
            if carried is None:
                grad_v[t].mul_(grads[0][t])
            else:
                keep = carried * (1 - s_all[t])
                through_reset = 0 if detach_reset else carried.mul_(v_all[t])
                grad_v[t].mul_(grads[0][t] - through_reset).add_(keep)
            carried = grad_v[t] * leak
        return *_input_gradients(grad_v, current, gain), *[None] * 6


def _input_gradients(
    grad_v: Tensor, current: Tensor, gain: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of the current (summed if it was shared) and of the gain."""
    shared = current.shape[0] == 1
    if gain is None:
        return (grad_v.sum(0, keepdim=True) if shared else grad_v), None
    grad_gain = (grad_v * current).flatten(1).sum(1)
    scaled = grad_v * gain.reshape(-1, *[1] * (grad_v.ndim - 1))
    return (scaled.sum(0, keepdim=True) if shared else scaled), grad_gain


def lif_sequence(
    current: Tensor,
    timesteps: int,
    *,
    leak: float = DEFAULT_LEAK,
    threshold: float = 1.0,
    gain: Tensor | None = None,
    strict: bool = True,
    width: float = 1.0,
    detach_reset: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run a layer from rest over all timesteps.

    Args:
        current: (T, B, ...), or (1, B, ...) for a current that is the same at every step.
        timesteps: T.
        leak: factor on v between steps, 0..1.
        threshold: firing threshold.
        gain: (T,) for DLIF, None for LIF.
        strict: fire at v > threshold instead of >=.
        width: half-width of the surrogate.
        detach_reset: let no gradient flow through the spike that resets.

    Returns:
        Spikes and v before the reset, both (T, B, ...). v carries no gradient.

    Raises:
        InputError: the first axis of ``current`` or ``gain`` does not fit ``timesteps``.
    """
    if current.shape[0] not in (1, timesteps):
        raise InputError(f"current has {current.shape[0]} steps, expected 1 or {timesteps}")
    if gain is not None and gain.shape != (timesteps,):
        raise InputError(f"gain has shape {tuple(gain.shape)}, expected ({timesteps},)")
    s, v = _LifSequence.apply(
        current, gain, timesteps, leak, threshold, strict, width, detach_reset
    )
    return s, v


class LifLayer(nn.Module):
    """A layer of LIF or DLIF neurons over all timesteps, built from its float node.

    The gain is positive by construction (exp of a parameter that starts at 0, so exactly 1) or,
    with ``gain_form="free"``, the parameter itself as in the paper; "free" also reproduces a
    stored gain exactly. ``width`` and ``detach_reset`` say how gradients are taken and may be
    changed at any time; they never change what the layer computes.
    """

    def __init__(self, node: floats.Lif, timesteps: int, gain_form: GainForm = "free") -> None:
        super().__init__()
        self.node, self.timesteps, self.gain_form = node, timesteps, gain_form
        self.width, self.detach_reset = 1.0, False
        self.raw_gain: nn.Parameter | None = None
        if node.gain is not None:
            start = torch.from_numpy(np.array(node.gain))
            self.raw_gain = nn.Parameter(start.log() if gain_form == "positive" else start)

    def gain(self) -> Tensor | None:
        """Return a[t], shape (T,), or None for LIF."""
        if self.raw_gain is None:
            return None
        return self.raw_gain.exp() if self.gain_form == "positive" else self.raw_gain

    def forward(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Return spikes and v before the reset, (T, B, ...), from current (1 or T, B, ...)."""
        node = self.node
        return lif_sequence(
            current,
            self.timesteps,
            leak=node.leak,
            threshold=node.threshold,
            gain=self.gain(),
            strict=node.strict,
            width=self.width,
            detach_reset=self.detach_reset,
        )
