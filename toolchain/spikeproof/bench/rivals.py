"""Who takes part: the engines, the same network in torch floats, and other people's simulators.

Torch and the libraries built on it are imported when a line-up is made, never before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from inspect import signature
from typing import Any

import numpy as np

from spikeproof.bench.nets import BenchNet, Images
from spikeproof.bench.timing import Contender, Runner
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.registry import get_engine
from spikeproof.engines.trace import Engine
from spikeproof.errors import (
    InputError,
    MissingExtraError,
    SpikeproofError,
    TargetError,
    UnsupportedError,
)
from spikeproof.extras import install_command

FAST, TORCH_FLOAT, TORCH_TUNED = "fast", "torch_float", "torch_tuned"
TORCH_SNN = "torch_snn"
ENGINES = (FAST, "numpy", "onnx", "torch")
_CHECKED_SAMPLES = 3


@dataclass(frozen=True, eq=False)
class LineUp:
    """Contenders for one network, and why others are absent, by name."""

    contenders: tuple[Contender, ...]
    absent: dict[str, str] = field(default_factory=dict)

    def names(self, group: str) -> list[str]:
        """Return the contenders of a group."""
        return [c.name for c in self.contenders if c.group == group]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give torch and the matrix libraries ``count`` threads; engines are told when they are made.

    Without threadpoolctl the matrix libraries keep what they were started with.
    """
    with ExitStack() as undo:
        if find_spec("torch") is not None:
            import torch

            undo.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(count)
        if find_spec("threadpoolctl") is not None:
            from threadpoolctl import threadpool_limits

            undo.enter_context(threadpool_limits(count))
        yield


def line_up(net: BenchNet, count: int, wanted: Sequence[str] | None = None) -> LineUp:
    """Return everyone who can run the network on ``count`` threads, each integer engine checked.

    Args:
        net: the network.
        count: threads for every contender.
        wanted: names of engines and groups that take part; None for all.

    Raises:
        TargetError: an engine does not equal the reference; it must not be timed.
    """
    makers: dict[str, tuple[str, Callable[[], Runner]]] = {
        name: (name, _engine_maker(name, net, count)) for name in ENGINES
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
        exact = name in ENGINES
        try:
            with redirect_stdout(sys.stderr):  # libraries greet, and stdout is for the document
                contender = Contender(name, group, make(), exact)
            if exact:
                check_exact(net, contender)
            contenders.append(contender)
        except (InputError, MissingExtraError, UnsupportedError, ImportError) as error:
            absent[name] = _reason(error)
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
    chip = get_engine("numpy").run(net.network, x).predictions
    return {name: float((run(x).argmax(axis=1) == chip).mean()) for name, run in runs.items()}


def _engine_maker(name: str, net: BenchNet, count: int) -> Callable[[], Runner]:
    def make() -> Runner:
        engine = _with_workers(get_engine(name), count)
        if problems := engine.problems(net.network):
            raise UnsupportedError("; ".join(problems), where=f"engine {name}")

        def run(x: Images) -> Any:
            if name == "torch":  # whoever ran before may have set another number
                import torch

                torch.set_num_threads(count)
            return engine.run(net.network, x).logits

        return run

    return make


def _with_workers(engine: Engine, count: int) -> Engine:
    """Tell an engine how many threads to use, if it can be told."""
    kind: Any = type(engine)
    made: Engine = kind(workers=count) if "workers" in signature(kind).parameters else engine
    return made


def _torch_makers(net: BenchNet, count: int) -> dict[str, tuple[str, Callable[[], Runner]]]:
    """Return torch's contenders.

    "torch_float" is the forward pass as written: a loop over time, all threads. "torch_tuned" is
    the best that can be had by hand: other forms of the loop, one thread for a single sample.
    """
    import torch

    from spikeproof_models.baselines import STYLES, FloatForward
    from spikeproof_models.baselines_snn import LIBRARIES

    def maker(build: Callable[[], Runner], tuned: bool = True) -> Callable[[], Runner]:
        def make() -> Runner:
            forward = build()

            def run(x: Images) -> Any:
                torch.set_num_threads(1 if tuned and len(x) == 1 else count)
                return forward(x)

            return run

        return make

    def floats(style: Any) -> Callable[[], Runner]:
        return maker(lambda: FloatForward(net.network, style))

    def library(build: Any) -> Callable[[], Runner]:
        return maker(lambda: build(net.network))

    plain = {TORCH_FLOAT: (TORCH_FLOAT, maker(lambda: FloatForward(net.network), tuned=False))}
    tuned = {f"{TORCH_TUNED}_{style}": (TORCH_TUNED, floats(style)) for style in STYLES}
    snn = {name: (TORCH_SNN, library(build)) for name, build in LIBRARIES.items()}
    return plain | tuned | snn


def _reason(error: Exception) -> str:
    if isinstance(error, SpikeproofError):
        return f"{error.what}{f' -> {error.hint}' if error.hint else ''}"
    return f"cannot be imported: {error}"
