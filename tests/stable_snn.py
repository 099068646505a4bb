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
    from torch.nn import functional

    w = {name: value.double() for name, value in state.items()}

    def each_step(values: Any) -> list[Any]:
        return [functional.avg_pool2d(v, 2) for v in values]

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
    values = [image] * steps
    for block in sorted({name.split(".")[0] for name in w if name.startswith("layer")}):
        places = {int(name.split(".")[1]) for name in w if name.startswith(f"{block}.")}
        convs = [p for p in sorted(places) if w.get(f"{block}.{p}.weight", image[0]).ndim == 4]
        for p in convs:
            kernel, bias = w[f"{block}.{p}.weight"], w[f"{block}.{p}.bias"]
            currents = [functional.conv2d(v, kernel, bias, padding=1) for v in values]
            values = neurons(normed(currents, f"{block}.{p + 1}"), f"{block}.{p + 2}")
        if block != "layer4":
            values = each_step(values)
    values = [v.flatten(1) for v in values]
    for p in (0, 2):
        currents = [v @ w[f"classifier.{p}.weight"].T + w[f"classifier.{p}.bias"] for v in values]
        values = neurons(currents, f"classifier.{p + 1}")
    out = [v @ w["classifier.4.weight"].T + w["classifier.4.bias"] for v in values]
    found: NDArray[np.float64] = torch.stack(out).mean(0).numpy()
    return found


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
