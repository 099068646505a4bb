"""LIF and DLIF neurons: pure step functions over an explicit state, and modules on top.

One step of a layer is charge, fire, reset: v = leak v+ + gain I; s = 1 if v > threshold else 0;
v+ = (1 - s) v. An estimator says how gradients flow: which slope stands for that of a spike, and
whether the backward pass takes s in the reset for a constant, as many attacks do. It never changes
the forward pass.
Source: "Robust Stable Spiking Neural Networks", ICML 2024, sections on LIF and DLIF.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.surrogates import SURROGATES
from spikeproof.errors import InputError
from spikeproof.ir import floats
from spikeproof_models.neuron_choices import DEFAULT_LEAK, GainForm


class LifOutput(NamedTuple):
    """What one step or one sequence gives: spikes 0/1, v before the reset, v after it."""

    s: Tensor
    v: Tensor
    v_after: Tensor


DEFAULT = Estimator()


class _Spike(torch.autograd.Function):
    """Spike with the slope of an estimator's surrogate in place of its derivative."""

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, threshold: float | Tensor, strict: bool, estimator: Estimator
    ) -> Tensor:
        ctx.save_for_backward(v)
        ctx.threshold, ctx.estimator = threshold, estimator
        return (v > threshold if strict else v >= threshold).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (v,) = ctx.saved_tensors
        return grads[0] * slope(v, ctx.threshold, ctx.estimator), None, None, None


def slope(v: Tensor, threshold: float | Tensor, estimator: Estimator) -> Tensor:
    """Return what an estimator takes for the derivative of a spike at v."""
    if isinstance(threshold, Tensor):  # surrogates look at the distance only
        return SURROGATES.get(estimator.surrogate)(v - threshold, 0.0, estimator.width)
    return SURROGATES.get(estimator.surrogate)(v, threshold, estimator.width)


def charge(
    v_after: Tensor, current: Tensor, leak: float | Tensor, gain: Tensor | None = None
) -> Tensor:
    """Return v before firing: leak * v_after + gain * current."""
    drive = current if gain is None else gain * current
    return v_after * leak + drive


def fire(
    v: Tensor, threshold: float | Tensor, strict: bool = True, estimator: Estimator = DEFAULT
) -> Tensor:
    """Return spikes 0/1: v > threshold, or v >= threshold when not ``strict``."""
    spikes: Tensor = _Spike.apply(v, threshold, strict, estimator)
    return spikes


def reset(
    v: Tensor, s: Tensor, detach_reset: bool = False, amount: Tensor | float | None = None
) -> Tensor:
    """Return v after its reset: to zero, or less ``amount``.

    Differentiable in v, and in s unless detached.
    """
    fired = s.detach() if detach_reset else s
    return (1 - fired) * v if amount is None else v - fired * amount


def lif_step(
    current: Tensor,
    v_after: Tensor,
    *,
    leak: float = DEFAULT_LEAK,
    threshold: float = 1.0,
    gain: Tensor | None = None,
    strict: bool = True,
    estimator: Estimator = DEFAULT,
) -> LifOutput:
    """Advance one timestep; ``gain`` is a scalar tensor a[t] (DLIF) or None (LIF)."""
    v = charge(v_after, current, leak, gain)
    s = fire(v, threshold, strict, estimator)
    return LifOutput(s, v, reset(v, s, estimator.reset == "detached"))


class _Cell(NamedTuple):
    """What a layer's sequence needs besides tensors."""

    timesteps: int
    leak: float
    threshold: float
    strict: bool
    estimator: Estimator


class _LifSequence(torch.autograd.Function):
    """All timesteps of :func:`lif_step` with one hand-written backward pass (about twice as fast).

    ``current`` is (T, ...) or (1, ...): a constant current shared by all steps.
    """

    @staticmethod
    def forward(
        ctx: Any, current: Tensor, gain: Tensor | None, cell: _Cell
    ) -> tuple[Tensor, Tensor]:
        v_all = current.new_empty((cell.timesteps, *current.shape[1:]))
        s_all = torch.empty_like(v_all)
        leak, threshold = cell.leak, cell.threshold
        after: Tensor | None = None
        for t in range(cell.timesteps):
            drive = current[t if current.shape[0] > 1 else 0]
            drive = drive if gain is None else gain[t] * drive
            v = v_all[t].copy_(drive) if after is None else v_all[t].copy_(after.mul_(leak) + drive)
            spiked = v > threshold if cell.strict else v >= threshold
            s = s_all[t].copy_(spiked)
            after = (1 - s).mul_(v)
        ctx.save_for_backward(v_all, s_all, current, gain)
        ctx.cell = cell
        ctx.mark_non_differentiable(v_all)
        return s_all, v_all

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        v_all, s_all, current, gain = ctx.saved_tensors
        cell: _Cell = ctx.cell
        detached = cell.estimator.reset == "detached"
        grad_v = slope(v_all, cell.threshold, cell.estimator)
        carried: Tensor | None = None
        for t in reversed(range(v_all.shape[0])):
            if carried is None:
                grad_v[t].mul_(grads[0][t])
            else:
                keep = carried * (1 - s_all[t])
                through_reset = 0 if detached else carried.mul_(v_all[t])
                grad_v[t].mul_(grads[0][t] - through_reset).add_(keep)
            carried = grad_v[t] * cell.leak
        return *_input_gradients(grad_v, current, gain), None


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
    estimator: Estimator = DEFAULT,
) -> tuple[Tensor, Tensor]:
    """Run a layer from rest over all timesteps.

    Args:
        current: (T, B, ...), or (1, B, ...) for a current that is the same at every step.
        timesteps: T.
        leak: factor on v between steps, 0..1.
        threshold: firing threshold.
        gain: (T,) for DLIF, None for LIF.
        strict: fire at v > threshold instead of >=.
        estimator: how gradients flow.

    Returns:
        Spikes and v before the reset, both (T, B, ...). v carries no gradient.

    Raises:
        InputError: the first axis of ``current`` or ``gain`` does not fit ``timesteps``.
    """
    if current.shape[0] not in (1, timesteps):
        raise InputError(f"current has {current.shape[0]} steps, expected 1 or {timesteps}")
    if gain is not None and gain.shape != (timesteps,):
        raise InputError(f"gain has shape {tuple(gain.shape)}, expected ({timesteps},)")
    s, v = _LifSequence.apply(current, gain, _Cell(timesteps, leak, threshold, strict, estimator))
    return s, v


class LifLayer(nn.Module):
    """A layer of LIF or DLIF neurons over all timesteps, built from its float node.

    The gain is positive by construction (exp of a parameter that starts at 0, so exactly 1) or,
    with ``gain_form="free"``, the parameter itself as in the paper; "free" also reproduces a
    stored gain exactly. ``estimator`` says how gradients are taken and may be changed at any time;
    it never changes what the layer computes.
    """

    def __init__(self, node: floats.Lif, timesteps: int, gain_form: GainForm = "free") -> None:
        super().__init__()
        self.node, self.timesteps, self.gain_form = node, timesteps, gain_form
        self.estimator = DEFAULT
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
        if node.general:
            return self._general(current)
        return lif_sequence(
            current,
            self.timesteps,
            leak=float(node.leak),
            threshold=float(node.threshold),
            gain=self.gain(),
            strict=node.strict,
            estimator=self.estimator,
        )

    def step(self, current: Tensor, after: Tensor | None, t: int) -> LifOutput:
        """Go on by step t, from v after the step before (None before the first); (B, ...)."""
        node, gain, estimator = self.node, self.gain(), self.estimator

        def number(value: float | floats.FloatArray) -> Tensor:
            return torch.as_tensor(np.asarray(value), dtype=current.dtype, device=current.device)

        before = torch.zeros_like(current) + number(node.initial) if after is None else after
        v = charge(before, current, number(node.leak), None if gain is None else gain[t])
        s = fire(v, number(node.threshold), node.strict, estimator)
        amount = None if node.reset is None else number(node.reset)
        return LifOutput(s, v, reset(v, s, estimator.reset == "detached", amount))

    def _general(self, current: Tensor) -> tuple[Tensor, Tensor]:
        """Run neurons that differ, do not begin at 0 or are not reset to 0, step by step."""
        after: Tensor | None = None
        spikes, states = [], []
        for t in range(self.timesteps):
            out = self.step(current[t if len(current) > 1 else 0], after, t)
            after = out.v_after
            spikes.append(out.s)
            states.append(out.v.detach())
        return torch.stack(spikes), torch.stack(states)
