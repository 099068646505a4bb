"""Torch modules for the nodes of the float dialect, and their way back to nodes."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeproof.convert.fold import as_affine
from spikeproof.errors import GraphError
from spikeproof.ir import floats
from spikeproof.ir.windows import Shape
from spikeproof.numerics.affine import Elementwise, as_matrix
from spikeproof_models.neuron_choices import GainForm
from spikeproof_models.neurons import LifLayer

BN_MOMENTUM = 0.1


class Scale(nn.Module):
    """(x - mean) / std per channel."""

    def __init__(self, node: floats.InputScale) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", _channels(node.mean))
        self.register_buffer("std", _channels(node.std))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled images (B, C, H, W)."""
        return (x - self.mean) / self.std


class Conv(nn.Module):
    """Convolution whose bias may be per channel or per position."""

    def __init__(self, node: floats.Conv2d) -> None:
        super().__init__()
        self.node = node
        self.weight = nn.Parameter(_tensor(node.weight))
        self.bias = None if node.bias is None else nn.Parameter(_tensor(node.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved maps (B, O, H, W)."""
        node, bias = self.node, self.bias
        flat = bias if bias is not None and bias.ndim == 1 else None
        y = F.conv2d(x, self.weight, flat, node.stride, node.padding, node.dilation, node.groups)
        return y if bias is None or flat is not None else y + bias


class Dense(nn.Module):
    """W x + b on the flattened input."""

    def __init__(self, node: floats.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(_tensor(node.weight))
        self.bias = None if node.bias is None else nn.Parameter(_tensor(node.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out)."""
        return F.linear(x.flatten(1), self.weight, self.bias)


class Norm(nn.Module):
    """Batch normalisation over the merged (T*B) batch: statistics are pooled over time."""

    def __init__(self, node: floats.BatchNorm2d) -> None:
        super().__init__()
        self.eps = node.eps
        self.weight, self.bias = nn.Parameter(_tensor(node.gamma)), nn.Parameter(_tensor(node.beta))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", _tensor(node.mean))
        self.register_buffer("running_var", _tensor(node.var))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised maps; running statistics move in training mode only."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            BN_MOMENTUM,
            self.eps,
        )


class Pool(nn.Module):
    """Mean over windows, without padding."""

    def __init__(self, node: floats.AvgPool2d) -> None:
        super().__init__()
        self.kernel, self.stride = node.kernel, node.stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled maps."""
        return F.avg_pool2d(x, self.kernel, self.stride)


class AnySpike(nn.Module):
    """Whether anything in a window spiked."""

    def __init__(self, node: floats.MaxPool2d) -> None:
        super().__init__()
        self.kernel, self.stride = node.kernel, node.stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima of binary maps."""
        return F.max_pool2d(x, self.kernel, self.stride)

    def counts(self, x: Tensor) -> Tensor:
        """Return how many spikes each window has."""
        return F.avg_pool2d(x, self.kernel, self.stride, divisor_override=1)


@singledispatch
def build_layer(node: Any, timesteps: int, gain_form: GainForm, shape: Shape) -> nn.Module:
    """Return the module that computes a node on inputs of ``shape``.

    A node without a module of its own is the affine map it is converted as, and is not trained.

    Raises:
        GraphError: there is neither for this kind of node.
    """
    name = getattr(node, "name", "")
    if as_affine.dispatch(type(node)) is as_affine.dispatch(object):
        raise GraphError(
            f"no torch module for {type(node).__name__}, nor an affine map", where=name
        )
    affine = as_affine(node, shape)
    if affine is None:
        return nn.Identity()
    if isinstance(affine, Elementwise):
        affine = as_matrix(affine, shape)
    bias = None if affine.bias is None else affine.bias.astype(np.float32)
    single = replace(affine, weight=affine.weight.astype(np.float32), bias=bias)
    return build_layer(single, timesteps, gain_form, shape).requires_grad_(False)


_PLAIN: dict[type, type[nn.Module]] = {
    floats.InputScale: Scale,
    floats.Conv2d: Conv,
    floats.Linear: Dense,
    floats.BatchNorm2d: Norm,
    floats.AvgPool2d: Pool,
    floats.MaxPool2d: AnySpike,
}
"""Modules that a node alone describes."""
for _kind, _module in _PLAIN.items():
    build_layer.register(_kind, lambda node, *_, module=_module: module(node))
build_layer.register(floats.Flatten, lambda *_: nn.Flatten())
build_layer.register(floats.Readout, lambda *_: nn.Identity())


@build_layer.register
def _(node: floats.Lif, timesteps: int, gain_form: GainForm, shape: Shape) -> nn.Module:
    return LifLayer(node, timesteps, gain_form)


def export_node(node: floats.FloatNode, layer: nn.Module) -> floats.FloatNode:
    """Return the node with the layer's present numbers as float32 arrays."""
    if isinstance(node, floats.Conv2d | floats.Linear) and isinstance(layer, Conv | Dense):
        bias = None if layer.bias is None else _array(layer.bias)
        return replace(node, weight=_array(layer.weight), bias=bias)
    if isinstance(layer, Norm):
        return floats.BatchNorm2d(
            node.name,
            gamma=_array(layer.weight),
            beta=_array(layer.bias),
            mean=_array(layer.running_mean),
            var=_array(layer.running_var),
            eps=layer.eps,
        )
    if isinstance(layer, LifLayer):
        gain = layer.gain()
        return replace(layer.node, gain=None if gain is None else _array(gain))
    return node


def _tensor(array: floats.FloatArray) -> Tensor:
    return torch.from_numpy(np.array(array))


def _channels(array: floats.FloatArray) -> Tensor:
    return _tensor(array).reshape(-1, 1, 1)


def _array(tensor: Tensor) -> floats.FloatArray:
    return tensor.detach().cpu().numpy().astype(np.float32)
