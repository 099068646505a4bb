"""Measure what the expected answers of a VGG-11's bundle cost: the reference, and what is used now.

    python tests/benchmarks/expected_answers.py [--divisor 1]

Weights are random; batch norms hold the statistics of their own layer, as training leaves them.
Time is processor time, which a busy machine disturbs less than a clock. The divisor divides all
channel and neuron counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.self_test import reference_traces
from spikeproof_models.builders import NeuronSpec, vgg
from spikeproof_models.networks import build_module

SAMPLES, TIMESTEPS = 4, 4


def main() -> None:
    """Convert, then compute the answers in both ways; they must be equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--divisor", type=int, default=1)
    divisor = parser.parse_args().divisor
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 3, 32, 32), np.uint8)
    model = build_module(vgg(11, neuron=NeuronSpec(timesteps=TIMESTEPS), width_divisor=divisor))
    model.train()
    with torch.no_grad():
        for _ in range(30):
            model(torch.from_numpy(images).float() / 255)
    network, seconds = _timed(
        lambda: convert_network(model.export(), images, ConvertOptions()).chip
    )
    _say(f"conversion without the answers: {seconds:.1f} s")
    x = images[:SAMPLES]
    expected, before = _timed(lambda: ReferenceEngine().run(network, x, trace=True))
    found, after = _timed(lambda: reference_traces(network, x))
    for name, layer in (expected.traces or {}).items():
        for key, values in vars(layer).items():
            np.testing.assert_array_equal(values, getattr((found.traces or {})[name], key))
        if layer.s is not None:
            _say(f"  {name}: {layer.s.mean():.3f} spikes per neuron and step")
    _say(f"answers by the reference: {before:.1f} s")
    _say(f"as they are made now: {after:.1f} s, {before / after:.1f} times faster")


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
