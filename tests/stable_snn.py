"""The networks of the reference code of "Robust Stable SNNs", stated a second time.

Written from the paper's equations and the names in the reference code's state dicts, with plain
torch in float64, and from nothing in ``spikeproof.formats.stable_snn``: the importer is compared
with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VGG5 = {"layer1": "CP", "layer2": "CCP"}
VGG11 = {"layer1": "CP", "layer2": "CCP", "layer3": "CCCP", "layer4": "CC"}
BLOCKS = {"vgg5": VGG5, "vgg11": VGG11}
WIDTHS = {"vgg5": (64, 128, 128), "vgg11": (64, 128, 256, 512, 512, 512, 512, 512)}
"""As in the paper; dense layers have 4096 neurons there."""
EPS = 1e-5

State = dict[str, Any]


def make_state(
    architecture: str,
    *,
    widths: tuple[int, ...] | None = None,
    dense: int = 4096,
    image: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    gains: NDArray[Any] | None = None,
    seed: int = 0,
) -> State:
    """Draw a state dict; ``gains``: (spiking layers, T) for DLIF neurons, None for LIF."""
    import torch

    rng = np.random.default_rng(seed)
    state: State = {}
    rows = iter(()) if gains is None else iter(gains)
    left = iter(WIDTHS[architecture] if widths is None else widths)
    channels, high, wide = image

    def put(name: str, values: Any) -> None:
        state[name] = torch.tensor(np.asarray(values), dtype=torch.float32)

    def neuron(name: str) -> None:
        if gains is not None:
            put(f"{name}.p", next(rows))

    for block, plan in BLOCKS[architecture].items():
        place = 0
        for kind in plan:
            if kind == "P":
                high, wide, place = high // 2, wide // 2, place + 1
                continue
            width = next(left)
            put(
                f"{block}.{place}.weight",
                rng.normal(0, (2 / 9 / width) ** 0.5, (width, channels, 3, 3)),
            )
            put(f"{block}.{place}.bias", rng.normal(0, 0.05, width))
            put(f"{block}.{place + 1}.weight", rng.uniform(0.7, 1.3, width))
            put(f"{block}.{place + 1}.bias", rng.normal(0.2, 0.2, width))
            put(f"{block}.{place + 1}.running_mean", rng.normal(0, 0.1, width))
            put(f"{block}.{place + 1}.running_var", rng.uniform(0.5, 1.5, width))
            state[f"{block}.{place + 1}.num_batches_tracked"] = torch.tensor(78200)
            neuron(f"{block}.{place + 2}")
            channels, place = width, place + 3
    inputs = channels * high * wide
    for place, outputs in ((0, dense), (2, dense), (4, classes)):
        put(f"classifier.{place}.weight", rng.normal(0, 1.6 / inputs**0.5, (outputs, inputs)))
        put(f"classifier.{place}.bias", rng.normal(0, 0.05, outputs))
        if place < 4:
            neuron(f"classifier.{place + 1}")
        inputs = outputs
    return state


def make_wide_state(
    widths: tuple[int, int, int, int] = (16, 64, 128, 256),
    *,
    inner: str = "",
    image: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    gains: NDArray[Any] | None = None,
    seed: int = 0,
) -> State:
    """Draw a state dict of WRN-16, ``gains``: (13, T) for DLIF neurons, None for LIF.

    ``inner``: ".layer" for the names of code in which a group of blocks is a module of its own.
    """
    import torch

    rng = np.random.default_rng(seed)
    state: State = {}
    rows = iter(()) if gains is None else iter(gains)

    def put(name: str, values: Any) -> None:
        state[name] = torch.tensor(np.asarray(values), dtype=torch.float32)

    def conv(name: str, outputs: int, inputs: int, side: int = 3) -> None:
        deviation = (2 / side**2 / outputs) ** 0.5
        put(f"{name}.weight", rng.normal(0, deviation, (outputs, inputs, side, side)))

    def norm_and_neuron(norm: str, neuron: str, width: int) -> None:
        put(f"{norm}.weight", rng.uniform(0.7, 1.3, width))
        put(f"{norm}.bias", rng.normal(0.2, 0.2, width))
        put(f"{norm}.running_mean", rng.normal(0, 0.1, width))
        put(f"{norm}.running_var", rng.uniform(0.5, 1.5, width))
        state[f"{norm}.num_batches_tracked"] = torch.tensor(78200)
        if gains is not None:
            put(f"{neuron}.p", next(rows))

    conv("conv1", widths[0], image[0])
    channels = widths[0]
    for group in (1, 2, 3):
        for index in (0, 1):
            at, width = f"block{group}{inner}.{index}", widths[group]
            norm_and_neuron(f"{at}.bn1", f"{at}.act1", channels)
            conv(f"{at}.conv1", width, channels)
            norm_and_neuron(f"{at}.bn2", f"{at}.act2", width)
            conv(f"{at}.conv2", width, width)
            if width != channels:
                conv(f"{at}.convShortcut", width, channels, 1)
            put(f"{at}.convex.comb", rng.uniform(0.3, 0.7, 2))
            channels = width
    norm_and_neuron("bn1", "act", channels)
    window = 8 if image[1] >= 32 else 4
    high, wide = ((side + 3) // 4 // window for side in image[1:])
    inputs = channels * high * wide
    put("fc.weight", rng.normal(0, 1.6 / inputs**0.5, (classes, inputs)))
    put("fc.bias", rng.normal(0, 0.05, classes))
    return state


def logits(
    state: State,
    x: NDArray[Any],
    steps: int,
    *,
    threshold: float = 1.0,
    leak: float = 0.99,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
    settle: bool = False,
    membranes: dict[str, NDArray[np.float64]] | None = None,
) -> NDArray[np.float64]:
    """Run images (N, C, H, W) in 0..1 in float64; logits (N, K), the mean over time.

    ``settle``: set the running statistics of every batch norm to those of these very images, as
    training would have; the state is changed. ``membranes``: takes v before the reset of every
    layer of neurons, (N, T, ...).
    """
    import torch

    w = {name: value.double() for name, value in state.items()}

    def neurons(currents: list[Any], name: str) -> list[Any]:
        v, spikes, before = torch.zeros_like(currents[0]), [], []
        gain = w.get(f"{name}.p", torch.ones(steps, dtype=torch.float64))
        for t in range(steps):
            v = leak * v + gain[t] * currents[t]
            before.append(v)
            fired = (v >= threshold).double()
            spikes.append(fired)
            v = v * (1 - fired)
        if membranes is not None:
            membranes[name] = torch.stack(before, 1).numpy()
        return spikes

    def normed(currents: list[Any], name: str) -> list[Any]:
        if settle:
            every = torch.stack(currents)
            w[f"{name}.running_mean"] = every.mean((0, 1, 3, 4))
            w[f"{name}.running_var"] = every.var((0, 1, 3, 4)).clamp(min=1e-3)
            for key in ("running_mean", "running_var"):
                state[f"{name}.{key}"] = w[f"{name}.{key}"].float()
        mu, var, gamma, beta = (
            w[f"{name}.{key}"][None, :, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return [gamma * (c - mu) / (var + EPS).sqrt() + beta for c in currents]

    shift, scale = (torch.tensor(v, dtype=torch.float64)[None, :, None, None] for v in (mean, std))
    image = (torch.tensor(x, dtype=torch.float64) - shift) / scale
    walk = _wide_resnet if "conv1.weight" in w else _vgg
    found: NDArray[np.float64] = torch.stack(walk(w, [image] * steps, neurons, normed)).mean(0)
    return np.asarray(found)


def _vgg(w: State, values: list[Any], neurons: Any, normed: Any) -> list[Any]:
    from torch.nn import functional

    for block in sorted({name.split(".")[0] for name in w if name.startswith("layer")}):
        places = {int(name.split(".")[1]) for name in w if name.startswith(f"{block}.")}
        convs = [p for p in sorted(places) if getattr(w.get(f"{block}.{p}.weight"), "ndim", 0) == 4]
        for p in convs:
            kernel, bias = w[f"{block}.{p}.weight"], w[f"{block}.{p}.bias"]
            currents = [functional.conv2d(v, kernel, bias, padding=1) for v in values]
            values = neurons(normed(currents, f"{block}.{p + 1}"), f"{block}.{p + 2}")
        if block != "layer4":
            values = [functional.avg_pool2d(v, 2) for v in values]
    values = [v.flatten(1) for v in values]
    for p in (0, 2):
        currents = [v @ w[f"classifier.{p}.weight"].T + w[f"classifier.{p}.bias"] for v in values]
        values = neurons(currents, f"classifier.{p + 1}")
    return [v @ w["classifier.4.weight"].T + w["classifier.4.bias"] for v in values]


def _wide_resnet(w: State, values: list[Any], neurons: Any, normed: Any) -> list[Any]:
    from torch.nn import functional

    def conv(inputs: list[Any], name: str, stride: int = 1) -> list[Any]:
        kernel = w[f"{name}.weight"]
        padding = 1 if kernel.shape[-1] == 3 else 0
        return [functional.conv2d(v, kernel, None, stride, padding) for v in inputs]

    window = 8 if values[0].shape[2] >= 32 else 4
    inner = ".layer" if "block1.layer.0.bn1.weight" in w else ""
    stream = conv(values, "conv1")
    for group in (1, 2, 3):
        for index in (0, 1):
            at = f"block{group}{inner}.{index}"
            stride = 2 if group > 1 and index == 0 else 1
            active = neurons(normed(stream, f"{at}.bn1"), f"{at}.act1")
            hidden = conv(active, f"{at}.conv1", stride)
            residual = conv(neurons(normed(hidden, f"{at}.bn2"), f"{at}.act2"), f"{at}.conv2")
            widens = residual[0].shape[1] != stream[0].shape[1]
            short = conv(active, f"{at}.convShortcut", stride) if widens else stream
            a, b = w[f"{at}.convex.comb"]
            stream = [a * s + b * r for s, r in zip(short, residual, strict=True)]
    spikes = neurons(normed(stream, "bn1"), "act")
    pooled = [functional.avg_pool2d(v, window).flatten(1) for v in spikes]
    return [v @ w["fc.weight"].T + w["fc.bias"] for v in pooled]


def make_images(count: int, image: tuple[int, int, int] = (3, 32, 32), seed: int = 0) -> Any:
    """Draw smooth pictures, uint8 (N, C, H, W): neighbours are alike as in photographs."""
    rng = np.random.default_rng(seed)
    c, h, w = image
    coarse = rng.uniform(0, 1, (count, c, -(-h // 4), -(-w // 4)))
    fine = np.kron(coarse, np.ones((1, 1, 4, 4)))[:, :, :h, :w] + rng.normal(
        0, 0.08, (count, *image)
    )
    return (np.clip(fine, 0, 1) * 255).round().astype(np.uint8)


def save(state: State, path: Path, **options: Any) -> Path:
    """Write a state dict as the reference code does."""
    import torch

    torch.save(state, path, **options)
    return path
