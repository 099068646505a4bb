"""A trained network as anybody writes it in torch: a loop over time, and autograd for the rest.

What people have who attack spiking networks with SpikingJelly or torchattacks: twins are compared
with it, their gradients by the tests, their speed by ``spikeproof bench --gradients``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spikeproof.attacks.estimators import Estimator
from spikeproof.ir import floats


class Spike(torch.autograd.Function):
    """A step with a slope of one's own in its place; ``slope`` is a function of v - threshold."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, strict: bool, slope: Any) -> Tensor:
        """Return 1 where the threshold is passed."""
        ctx.save_for_backward(distance)
        ctx.slope = slope
        return (distance > 0 if strict else distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient times the slope."""
        return grads[0] * ctx.slope(ctx.saved_tensors[0]), None, None


def slope_of(estimator: Estimator, unit: float) -> Any:
    """Return the slope as a function of v - threshold, written from its definition."""
    w = estimator.width * unit
    return {
        "triangle": lambda d: (1 - d.abs() / w).clamp(min=0) / w,
        "arctangent": lambda d: 1 / (w * (1 + (torch.pi * d / w) ** 2)),
        "rectangular": lambda d: (d.abs() < w).to(d.dtype) / (2 * w),
        "exponential": lambda d: torch.exp(-d.abs() / w) / (2 * w),
        "straight-through": lambda d: torch.ones_like(d) / w,
    }[estimator.surrogate]


def run(network: floats.FloatNetwork, x: Tensor, estimator: Estimator, kind: Any) -> Tensor:
    """Return logits (N, K) of images in [0, 1]; every step of every node in turn."""
    sent: list[dict[int, Tensor]] = []
    state: dict[int, Tensor] = {}
    currents = []

    def number(value: Any) -> Tensor:
        return torch.as_tensor(np.asarray(value), dtype=kind)

    for t in range(network.timesteps):
        now: dict[int, Tensor] = {-1: x}
        for i, node in enumerate(network.nodes):
            total: Any = 0
            for one in network.incoming[i]:
                if one.lag > t:
                    blank = sent[0][one.source] if sent else now[one.source]
                    total = total + torch.zeros_like(blank)
                else:
                    came = now if one.lag == 0 else sent[t - one.lag]
                    total = total + one.coefficient * came[one.source]
            if isinstance(node, floats.Lif):
                before = state.get(i, torch.zeros_like(total) + number(node.initial))
                before = before.detach() if estimator.leak == "detached" else before
                gain = 1 if node.gain is None else number(node.gain[t])
                v = number(node.leak) * before + gain * total
                unit = float(np.mean(node.threshold)) or 1.0
                slope = slope_of(estimator, unit)
                s = Spike.apply(v - number(node.threshold), node.strict, slope)
                back = s.detach() if estimator.reset == "detached" else s
                state[i] = (1 - back) * v if node.reset is None else v - back * number(node.reset)
                now[i] = s
            elif isinstance(node, floats.Readout):
                currents.append(total)
                now[i] = total
            else:
                now[i] = apply(node, total, kind)
        sent.append(now)
    return answer(network.nodes[-1], torch.stack(currents))


def apply(node: Any, x: Tensor, kind: Any) -> Tensor:
    """Apply a node that has no state."""

    def array(value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=kind)

    if isinstance(node, floats.InputScale):
        return (x - array(node.mean)[:, None, None]) / array(node.std)[:, None, None]
    if isinstance(node, floats.Conv2d):
        bias = None if node.bias is None else array(node.bias)
        return F.conv2d(
            x, array(node.weight), bias, node.stride, node.padding, node.dilation, node.groups
        )
    if isinstance(node, floats.Linear):
        return F.linear(
            x.flatten(1), array(node.weight), None if node.bias is None else array(node.bias)
        )
    if isinstance(node, floats.BatchNorm2d):
        mean, var = array(node.mean), array(node.var)
        return F.batch_norm(x, mean, var, array(node.gamma), array(node.beta), eps=node.eps)
    if isinstance(node, floats.AvgPool2d):
        return F.avg_pool2d(x, node.kernel, node.stride)
    if isinstance(node, floats.MaxPool2d):
        return F.max_pool2d(x, node.kernel, node.stride)
    return x.flatten(1) if isinstance(node, floats.Flatten) else x


def answer(node: Any, currents: Tensor) -> Tensor:
    """Return what a readout makes of the currents (T, N, K)."""
    membrane = currents.cumsum(0)
    return {
        "auto": lambda: currents.mean(0),
        "last": lambda: membrane[-1],
        "mean": lambda: membrane.mean(0),
        "max": lambda: membrane.amax(0),
        "max-abs": lambda: membrane.abs().amax(0),
        "count": lambda: currents.sum(0),
    }[node.rule]()


def gradient(
    network: floats.FloatNetwork, x: Any, of_logits: Any, estimator: Estimator, kind: Any
) -> tuple[Any, Any]:
    """Return logits and the gradient of images uint8 (N, C, H, W) in [0, 1], as arrays."""
    point = torch.as_tensor(x, dtype=kind).div_(255).requires_grad_()
    logits = run(network, point, estimator, kind)
    (found,) = torch.autograd.grad(logits, point, torch.as_tensor(of_logits, dtype=kind))
    return logits.detach().numpy(), found.numpy()
