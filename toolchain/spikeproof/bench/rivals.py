"""Who takes part: all engines, the same network in torch floats, and other people's simulators.

Torch and the libraries built on it are imported when a line-up is made, never before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from inspect import signature
from typing import Any

import numpy as np

from spikeproof.bench.nets import BenchNet, Images
from spikeproof.bench.timing import Contender, Runner
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.registry import ENGINES, refuse
from spikeproof.errors import (
    InputError,
    MissingExtraError,
    SpikeproofError,
    TargetError,
    UnsupportedError,
)
from spikeproof.extras import install_command

FAST = FastEngine.name
"""The engine that all others are compared with."""
TORCH_FLOAT, TORCH_TUNED, TORCH_SNN = "torch_float", "torch_tuned", "torch_snn"
_CHECKED_SAMPLES = 3


@dataclass(frozen=True, eq=False)
class LineUp:
    """Contenders for one network, and why others are absent, by name."""

    contenders: tuple[Contender, ...]
    absent: dict[str, str] = field(default_factory=dict)

    def names(self, group: str) -> list[str]:
        """Return the contenders of a group."""
        return [c.name for c in self.contenders if c.group == group]


def line_up(net: BenchNet, count: int, wanted: Sequence[str] | None = None) -> LineUp:
    """Return everyone who can run the network on ``count`` threads, each integer engine checked.

    Args:
        net: the network.
        count: threads for every contender.
        wanted: names of engines and groups that take part; None for all.

    Raises:
        TargetError: an engine does not equal the reference; it must not be timed.
    """
    engines = quick_engines()
    makers: dict[str, tuple[str, Callable[[], Runner]]] = {
        name: (name, partial(_engine, name, net, count)) for name in engines
    }
    absent: dict[str, str] = {}
    if find_spec("torch") is None:
        missing = f"torch: {install_command('torch')}"
        absent |= dict.fromkeys((TORCH_FLOAT, TORCH_TUNED, TORCH_SNN), missing)
    else:
        makers |= _torch_makers(net, count)
    contenders = []
    for name, (group, make) in makers.items():
        if wanted is not None and group not in wanted:
            continue
        exact = name in engines
        try:
            with redirect_stdout(sys.stderr):  # libraries greet, and stdout is for the document
                contender = Contender(name, group, make(), exact)
            if exact:
                check_exact(net, contender)
            contenders.append(contender)
        except (InputError, MissingExtraError, UnsupportedError, ImportError) as error:
            absent[name] = why_absent(error)
    return LineUp(tuple(contenders), absent)


def check_exact(net: BenchNet, contender: Contender) -> None:
    """Compare a contender's logits with the reference on new samples.

    Raises:
        TargetError: they differ.
    """
    x = net.draw(np.random.default_rng(1), _CHECKED_SAMPLES)
    expected = ReferenceEngine().run(net.network, x).logits
    found = np.asarray(contender.run(x))
    wrong = int((found != expected).any(axis=1).sum()) if found.shape == expected.shape else len(x)
    if wrong:
        raise TargetError(
            f"its logits differ from the reference on {wrong} of {len(x)} samples; "
            "a wrong engine is not timed",
            where=f"engine {contender.name}, network {net.name}",
            hint="Find the first difference with: spikeproof verify, or spikeproof fuzz.",
        )


def agreement(net: BenchNet, runs: dict[str, Runner], samples: int = 64) -> dict[str, float]:
    """Return the share of new samples on which each contender predicts what the chip predicts."""
    x = net.draw(np.random.default_rng(2), samples)
    chip = NumpyEngine().run(net.network, x).predictions
    return {name: float((run(x).argmax(axis=1) == chip).mean()) for name, run in runs.items()}


def quick_engines() -> list[str]:
    """Return the engines that start at once, without the reference, which need not be fast."""
    slow = {ReferenceEngine.name, *slow_engines()}
    return [name for name in ENGINES.names() if name not in slow]


def slow_engines() -> list[str]:
    """Return the engines whose start takes seconds: those that tell beforehand how long it takes.

    One that cannot be imported counts as quick: it will be absent for that reason.
    """
    found = []
    for name in ENGINES.names():
        with suppress(ImportError, SpikeproofError):
            if hasattr(ENGINES.get(name), "expected_seconds"):
                found.append(name)
    return found


def _engine(name: str, net: BenchNet, count: int) -> Runner:
    """Make an engine, with its number of threads if it can be told, and say how it is run."""
    kind: Any = ENGINES.get(name)
    engine = kind(workers=count) if "workers" in signature(kind).parameters else kind()
    refuse(engine, net.network)

    def run(x: Images) -> Any:
        return engine.run(net.network, x).logits

    return run


def _torch_makers(net: BenchNet, count: int) -> dict[str, tuple[str, Callable[[], Runner]]]:
    """Return torch's contenders.

    "torch_float" is the forward pass as written: a loop over time, all threads. "torch_tuned" is
    the best that can be had by hand: other forms of the loop, one thread for a single sample.
    """
    from spikeproof_models.baselines import STYLES, FloatForward
    from spikeproof_models.baselines_snn import LIBRARIES

    makers: dict[str, tuple[str, Callable[[], Runner]]] = {
        TORCH_FLOAT: (TORCH_FLOAT, partial(FloatForward, net.network))
    }
    for style in STYLES:
        build: Callable[[], Runner] = partial(FloatForward, net.network, style)
        makers[f"{TORCH_TUNED}_{style}"] = TORCH_TUNED, partial(_tuned, build, count)
    for name, library in LIBRARIES.items():
        makers[name] = TORCH_SNN, partial(_tuned, partial(library, net.network), count)
    return makers


def _tuned(build: Callable[[], Runner], count: int) -> Runner:
    """Give torch one thread for a single sample, then ``count`` of them again."""
    import torch

    forward = build()

    def run(x: Images) -> Any:
        if len(x) > 1:
            return forward(x)
        torch.set_num_threads(1)
        try:
            return forward(x)
        finally:
            torch.set_num_threads(count)

    return run


def why_absent(error: Exception) -> str:
    """Say why a contender does not take part."""
    if isinstance(error, SpikeproofError):
        return f"{error.what}{f' -> {error.hint}' if error.hint else ''}"
    return f"cannot be imported: {error}"
