"""Bundles: deterministic, complete, and able to test any engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof.engines.fast import FastEngine
from spikeproof.engines.registry import get_engine
from spikeproof.engines.self_test import make_bundle, self_test
from spikeproof.engines.trace import Progress, RunResult
from spikeproof.errors import BundleError
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.io import container
from spikeproof.io.bundle import KIND, SCHEMA, Bundle, bundle_bytes, load_bundle, save_bundle
from spikeproof.ir.chip import ChipNetwork


def some_bundle(seed: int = 1) -> Bundle:
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    return make_bundle(network, {"made": "by a test"}, random_input(rng, network, 2))


@pytest.mark.parametrize("seed", range(12))
def test_round_trip_keeps_every_number(tmp_path: Path, seed: int) -> None:
    bundle = some_bundle(seed)
    written = save_bundle(tmp_path / "a.spk", bundle)
    loaded = load_bundle(tmp_path / "a.spk")
    assert loaded.content_hash == written.content_hash != ""
    assert bundle_bytes(loaded) == bundle_bytes(bundle) == (tmp_path / "a.spk").read_bytes()


def test_a_bundle_of_the_first_release_keeps_its_bytes_its_hash_and_its_answers() -> None:
    """Its host current stands around the synapse, as it did in memory when it was written."""
    path = Path(__file__).parent / "bundles" / "host-current.spk"
    bundle = load_bundle(path)
    first = bundle.network.layers[0]
    assert first.host and first.host.shift == 12 and first.kind == "host conv"
    assert bundle.content_hash.startswith("31a0982d184643ea")
    assert bundle_bytes(bundle) == path.read_bytes()
    assert self_test(bundle, get_engine("reference")).passed


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_engines_pass_the_self_test(engine: str) -> None:
    result = self_test(some_bundle(), get_engine(engine))
    assert result.passed and result.compared > 0


class OffByOne(FastEngine):
    """An engine with one wrong value, as a broken machine would have."""

    name = "broken"

    def run(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        *,
        trace: bool = False,
        progress: Progress | None = None,
    ) -> RunResult:
        result = super().run(network, x, trace=trace, progress=progress)
        first = next(iter((result.traces or {}).values()))
        values: Any = first.v if first.s is None else first.s
        values.flat[0] ^= 1
        return result


def test_one_wrong_value_fails_the_self_test() -> None:
    result = self_test(some_bundle(), OffByOne())
    assert not result.passed and sum(result.mismatches.values()) == 1


def test_missing_layer_in_the_answers_is_an_error() -> None:
    bundle = some_bundle()
    odd = Bundle(bundle.network, bundle.record, bundle.stimulus, {"ghost/s": np.zeros(3, np.uint8)})
    with pytest.raises(BundleError, match="ghost/s"):
        self_test(odd, FastEngine())


def test_a_checkpoint_is_not_a_bundle(tmp_path: Path) -> None:
    container.write(tmp_path / "x.ckpt", "checkpoint", 1, {}, {"a": np.zeros(1)})
    with pytest.raises(BundleError, match="'checkpoint' file, expected a 'bundle'"):
        load_bundle(tmp_path / "x.ckpt")


def resealed(path: Path, change: Any) -> Path:
    """Write a bundle that was altered by a program that knows how to seal it."""
    document, tensors = container.unpack(bundle_bytes(some_bundle()), KIND, SCHEMA, "f")
    change(document, tensors)
    path.write_bytes(container.pack(KIND, SCHEMA, document, tensors))
    return path


def drop_a_layer(document: Any, tensors: Any) -> None:
    del tensors[sorted(name for name in tensors if name.startswith("expected/"))[0]]


def answer_for_nobody(document: Any, tensors: Any) -> None:
    tensors["expected/ghost/s"] = np.zeros(1, np.uint8)


def answers_as_floats(document: Any, tensors: Any) -> None:
    name = sorted(name for name in tensors if name.startswith("expected/"))[0]
    tensors[name] = tensors[name].astype(np.float32)


def fewer_answers(document: Any, tensors: Any) -> None:
    name = sorted(name for name in tensors if name.startswith("expected/"))[0]
    tensors[name] = tensors[name][:1]


def empty_test(document: Any, tensors: Any) -> None:
    for name in tensors:
        if name.startswith("expected/") or name == "stimulus":
            tensors[name] = tensors[name][:0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_a_layer, "found nothing"),
        (answer_for_nobody, "expected ghost/s.*must be absent"),
        (answers_as_floats, "found float32"),
        (fewer_answers, r"found .*\(1, "),
        (empty_test, "stimulus: input holds no samples"),
        (lambda d, t: t.update(stimulus=np.zeros(3)), "stimulus: input has type float64"),
        (lambda d, t: t.pop("stimulus"), "no reference stimulus"),
        (lambda d, t: d.update(record=5), "no record"),
        (lambda d, t: d.pop("record"), "no record"),
        (lambda d, t: d.update(network=[]), "no network"),
    ],
)
def test_a_self_test_must_cover_every_layer(tmp_path: Path, change: Any, words: str) -> None:
    path = resealed(tmp_path / "a.spk", change)
    with pytest.raises(BundleError, match=words):
        load_bundle(path)


def test_an_incomplete_bundle_is_not_written(tmp_path: Path) -> None:
    bundle = some_bundle()
    first, *others = bundle.expected
    part = {name: bundle.expected[name] for name in others}
    with pytest.raises(BundleError, match=f"expected {first}: found nothing"):
        save_bundle(tmp_path / "a.spk", replace(bundle, expected=part))
    assert not list(tmp_path.iterdir())
