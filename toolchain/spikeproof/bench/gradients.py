"""Gradients of images per second: twins against a loop over time in torch with autograd.

An adaptive attack costs what its gradients cost. Contenders take turns within a round, on images
that are new in each; reported are medians over rounds, of the ratio that of the ratios within a
round. Every contender has one thread and is timed in processor time, which a busy machine disturbs
less than a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.suites import SP_QUICK_1
from spikeproof.bench.document import GradientRates, Gradients
from spikeproof.bench.nets import Images, Rng
from spikeproof.convert.fold import fold
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.trace import Progress
from spikeproof.errors import InputError
from spikeproof.extras import is_installed, need
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.ir import chip, floats
from spikeproof.jobs.threads import inner_threads

VGG = "vgg5"
INTEGERS = ", integers"
"""What follows the name of a network whose chip network is meant."""
_WORKED_OUT = Estimator(0.25, "detached", "arctangent")
"""What the loop in torch takes gradients with: one slope, and the reset not gone through."""
_VGG_STEPS, _VGG_PASSES = 4, 30
Gradient = Callable[[Images, NDArray[np.float64]], object]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network whose gradients are timed, as it was trained and perhaps on the chip.

    draw: images nobody has seen. images: how many are in a call.
    """

    name: str
    network: floats.FloatNetwork
    draw: Callable[[Rng, int], Images]
    images: int
    on_chip: chip.ChipNetwork | None = None


def measure_gradients(
    subjects: Sequence[Subject], rounds: int, progress: Progress | None = None
) -> Gradients:
    """Time the twins of networks and the loop in torch, one thread each, in turn.

    Args:
        subjects: the networks.
        rounds: turns of every contender.
        progress: is told rounds done, of how many.

    Raises:
        MissingExtraError: numba, which twins are made with, is not here.
    """
    need("numba", extra="fast", purpose="bench --gradients")
    rows: list[GradientRates] = []
    with inner_threads(1, load="torch"):
        for k, one in enumerate(subjects):
            done = partial(_told, progress, k * rounds, len(subjects) * rounds)
            rows += _rows(one, rounds, done)
    return Gradients(gradients=rows)


def subjects(wanted: Sequence[str] | None) -> Iterator[Subject]:
    """Make the networks that are meant; by default those that are shipped, and a VGG-5.

    The VGG-5 is made where torch is installed. Its weights are random, its batch norms hold the
    statistics of their own layer, as training leaves them.

    Raises:
        InputError: there is no such network; those that exist are listed.
    """
    shipped = zoo_networks()
    known = [*shipped, *([VGG] if is_installed("torch") else [])]
    names = known if wanted is None else [n for w in wanted for n in _meant(w, list(shipped))]
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"no network {', '.join(map(repr, unknown))}",
            where="bench --gradients --nets",
            hint=f"Networks: {', '.join([*known, 'zoo'])}.",
        )
    for name in dict.fromkeys(names):
        yield _vgg() if name == VGG else _shipped(name)


def _meant(name: str, shipped: list[str]) -> list[str]:
    return shipped if name == "zoo" else [name]


def _shipped(name: str) -> Subject:
    network = load_checkpoint(zoo_networks()[name]).network
    images = load_data(zoo_images(), network.input_shape)[0]
    calibration = load_data(zoo_calibration(), network.input_shape)[0]

    def draw(rng: Rng, count: int) -> Images:
        return images[rng.integers(0, len(images), count)]

    return Subject(name, network, draw, 50, convert_network(network, calibration).chip)


def _vgg() -> Subject:
    import torch

    from spikeproof_models.builders import NeuronSpec, vgg
    from spikeproof_models.networks import build_module

    def draw(rng: Rng, count: int) -> Images:
        return rng.integers(0, 256, (count, 3, 32, 32), np.uint8)

    module = build_module(vgg(5, VGG, neuron=NeuronSpec(timesteps=_VGG_STEPS)))
    module.train()
    seen = torch.from_numpy(draw(np.random.default_rng(0), 8)).float() / 255
    with torch.no_grad():
        for _ in range(_VGG_PASSES):
            module(seen)
    return Subject(VGG, module.export(), draw, 8)


def _rows(one: Subject, rounds: int, progress: Progress) -> list[GradientRates]:
    """Time one network; a row of it as it was trained, and one of its integers if it has some."""
    from spikeproof.attacks.twin import chip_twin, float_twin

    trained = float_twin(fold(one.network))
    twins = {one.name: _of_twin(trained)}
    if one.on_chip is not None:
        twins[one.name + INTEGERS] = _of_twin(chip_twin(one.on_chip))
    loop = _of_loop(one.network) if is_installed("torch") else None
    ways = {**twins, **({"": loop} if loop else {})}
    rng = np.random.default_rng(0)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        x = one.draw(rng, one.images)
        of_logits = rng.standard_normal((one.images, trained.classes))
        for name, way in ways.items():
            start = time.process_time()
            way(x, of_logits)
            if turn:  # the first compiles and fills caches
                rates[name].append(one.images / (time.process_time() - start))
        progress(turn, rounds)
    plain = rates.get("")
    return [
        GradientRates(
            net=name,
            per_second=float(np.median(rates[name])),
            plain_torch=None if plain is None else float(np.median(plain)),
            ratio=None if plain is None else float(np.median(np.divide(rates[name], plain))),
        )
        for name in twins
    ]


def _of_twin(twin: Any) -> Gradient:
    """Return what takes gradients of a twin as the first member of ``sp-quick-1`` does."""
    from spikeproof.attacks.twin import Memory

    estimator, memory = SP_QUICK_1.members[0].estimator, Memory()
    return lambda x, of_logits: twin.back(twin.forward(x), of_logits, estimator, memory)


def _of_loop(network: floats.FloatNetwork) -> Gradient:
    import torch

    from spikeproof_models import plain_loop

    return lambda x, of_logits: plain_loop.gradient(
        network, x, of_logits, _WORKED_OUT, torch.float32
    )


def _told(progress: Progress | None, before: int, total: int, done: int, _: int) -> None:
    if progress:
        progress(before + done, total)
