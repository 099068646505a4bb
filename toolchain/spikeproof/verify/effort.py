"""What the work of a verification costs, known before it is done.

Milliseconds with one thread on a common machine: what a shipped network takes, times how much more
an image costs in this one. Fitted to a shipped network and to a quarter of VGG-11's width.
"""

from __future__ import annotations

from spikeproof.attacks.base import Attack
from spikeproof.attacks.registry import ATTACKS
from spikeproof.attacks.suites import Suite, suite_of
from spikeproof.attacks.weak import WEAK
from spikeproof.attacks.worst_case import SIDES, WORST_CASE
from spikeproof.engines.trace import Engine, SlowEngine
from spikeproof.ir.chip import ChipLayer, ChipNetwork
from spikeproof.verify.compensated import sections
from spikeproof.verify.config import VerifyConfig

_SURVIVING, _TWIN = 0.6, 0.6
"""Share of a suite's gradients that are taken, and what one takes."""
_SUITE_RUNS, _OTHER_ATTACKS = 2, 135.0
"""How often V6 runs the suite on an image (as it is, and planted), and what all else takes."""
_SHIPPED_PRODUCTS = 3.4e6
_NOISE, _GRADIENT, _RESPONSE = 1.0, 1.0, 4.0
_RESPONSE_PER_EFFORT = 0.7
_ATTACK, _FEWEST = 5 * 60_000, 4
_PER_CORE = 1e7
"""Multiplications and additions a core does in a millisecond."""
_MOMENT_WORK, _SUMS_PER_INPUT = 2e10, 2
"""What compensation uses of a layer's inputs, see :mod:`spikeproof.verify.compensated`."""


def _fan_in(layer: ChipLayer) -> int:
    return sum(one.synapse.fan_in for one in layer.inputs)


def effort(network: ChipNetwork) -> float:
    """Return the products an image costs, in times those of the shipped networks."""
    products = sum(layer.neurons * _fan_in(layer) for layer in network.layers)
    return network.timesteps * products / _SHIPPED_PRODUCTS


def craft_milliseconds(attack: Attack, times: float) -> float:
    """Return what crafting one image costs; ``times``: :func:`effort`."""
    return _NOISE + attack.gradients * len(WEAK.members) * _GRADIENT * max(1.0, times)


def suite_milliseconds(suite: Suite, times: float) -> float:
    """Return what a suite takes for one image in one ball; images it breaks take less."""
    return suite.gradients * _SURVIVING * _TWIN * max(1.0, times)


def examined_milliseconds(suite: Suite, times: float) -> float:
    """Return what V6 takes for one image of one network: the suite twice, and shorter attacks."""
    return _SUITE_RUNS * suite_milliseconds(suite, times) + _OTHER_ATTACKS * max(1.0, times)


def response_milliseconds(times: float) -> float:
    """Return what running both networks on one image costs."""
    return _RESPONSE + _RESPONSE_PER_EFFORT * times


def engine_milliseconds(engine: Engine, network: ChipNetwork, samples: int) -> float:
    """Return what a slow engine says it takes; 0 for the others."""
    if not isinstance(engine, SlowEngine):
        return 0.0
    return 1000 * engine.expected_seconds(network, samples)


def rounding_milliseconds(network: ChipNetwork, images: int) -> float:
    """Return what judging all weights takes, with the inputs that so many images give."""
    work = 0.0
    for layer in network.layers:
        places = layer.neurons // layer.shape[0]
        for part in sections(_fan_in(layer)):
            inputs = part.stop - part.start
            most = max(_MOMENT_WORK / inputs**2, _SUMS_PER_INPUT * inputs)
            sums = min(most, images * network.timesteps * places)
            work += 2.0 * inputs**2 * (sums + inputs / 3 + layer.shape[0])
    return images * _RESPONSE_PER_EFFORT * effort(network) + work / _PER_CORE


def planned_milliseconds(config: VerifyConfig, network: ChipNetwork, images: int) -> float:
    """Estimate perturbing, attacking and showing images, which is most of a verification's work."""
    times, wanted = effort(network), config.worst_case
    attacked = len(SIDES) * len(wanted.epsilons) * min(config.samples.worst_case, images)
    shown = min(config.samples.accuracy, images) + attacked
    suite = suite_of(wanted.suite)
    total = attacked * suite_milliseconds(suite, times)
    if wanted.epsilons:
        examined = len(SIDES) * min(config.validity.samples, images)
        total += examined * examined_milliseconds(suite, times)
    for kind in ATTACKS.names():
        for strength in getattr(config.perturbations, kind, ()):
            count = min(getattr(config.samples, kind), images)
            total += count * craft_milliseconds(WEAK.at(kind, strength), times)
            shown += count
    return total + shown * response_milliseconds(times)


def affordable(config: VerifyConfig, network: ChipNetwork, images: int) -> dict[str, int]:
    """Return how many of so few images each attack is tried on, where all would take long.

    Settings as :func:`spikeproof.verify.config.load_config` takes them as values; only those of
    attacks that would take over five minutes with one thread. So few images show nothing of
    robustness; that the attacks run, and how the chip answers them, some of them show as well.
    """
    each = {
        f"samples.{kind}": craft_milliseconds(WEAK.at(kind, strength), effort(network))
        for kind in ATTACKS.names()
        for strength in getattr(config.perturbations, kind, ())
    }
    wanted = config.worst_case
    if wanted.epsilons:
        suite = suite_milliseconds(suite_of(wanted.suite), effort(network))
        each[f"samples.{WORST_CASE}"] = len(SIDES) * len(wanted.epsilons) * suite
        examined = examined_milliseconds(suite_of(wanted.suite), effort(network))
        each["validity.samples"] = len(SIDES) * examined
    asked = {f"samples.{part}": count for part, count in config.samples}
    asked["validity.samples"] = config.validity.samples
    fewer = {part: max(_FEWEST, int(_ATTACK / cost)) for part, cost in each.items()}
    return {part: count for part, count in fewer.items() if count < min(asked[part], images)}
