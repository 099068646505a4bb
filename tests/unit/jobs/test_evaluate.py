"""Evaluation in batches: the same whatever the batch, the workers, and what was done before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.convert.pipeline import convert_network
from spikeproof.engines.registry import get_engine
from spikeproof.errors import InputError, TargetError
from spikeproof.io.slices import Samples, open_samples
from spikeproof.ir.chip import ChipNetwork
from spikeproof.jobs import evaluate as module
from spikeproof.jobs.evaluate import (
    WAITING,
    Subject,
    batch_size,
    evaluate,
    journal_base,
    trace_arrays,
)
from spikeproof.jobs.journal import Journal
from spikeproof.jobs.pool import Pool


@pytest.fixture
def network(tiny_network: Any) -> ChipNetwork:
    x = np.random.default_rng(1).integers(0, 256, (24, 1, 8, 8), dtype=np.uint8)
    return convert_network(tiny_network, x).chip


@pytest.fixture
def samples(tiny_images: Path) -> Samples:
    return open_samples(tiny_images, (1, 8, 8))


def whole(network: ChipNetwork, samples: Samples) -> Any:
    return get_engine("reference").run(network, samples.read(0, len(samples)), trace=True)


@pytest.mark.parametrize("batch", [None, 1, 7, 24, 100])
def test_batches_change_nothing(
    batch: int | None, network: ChipNetwork, samples: Samples, tmp_path: Path
) -> None:
    expected = whole(network, samples)
    subject = Subject(network, "numpy", None, trace=True)
    target = tmp_path / "t.npz"
    found = evaluate(subject, samples, Pool(), batch=batch, trace=target)
    np.testing.assert_array_equal(found.predictions, expected.predictions)
    with np.load(target) as arrays:
        wanted = trace_arrays(expected.traces)
        assert sorted(arrays.files) == sorted(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(arrays[name], array)
    assert list(tmp_path.glob(".t.npz*")) == []


def test_the_engine_is_made_once_for_all_batches(
    network: ChipNetwork, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def counted(name: str, threads: int | None) -> Any:
        made.append(name)
        return get_engine(name, threads)

    monkeypatch.setattr(module, "get_engine", counted)
    assert evaluate(Subject(network, "numpy", None, trace=False), samples, Pool(), batch=5).batches
    assert made == ["numpy"]


def test_processes_change_no_byte_of_the_trace(
    network: ChipNetwork, samples: Samples, tmp_path: Path
) -> None:
    subject = Subject(network, "numpy", 1, trace=True)
    for workers in (1, 2):
        with Pool(workers) as pool:
            evaluate(subject, samples, pool, batch=5, trace=tmp_path / f"{workers}.npz")
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


def test_spikes_as_input(network: ChipNetwork, tmp_path: Path) -> None:
    first = network.layers[1:]
    spiking = replace(network, coding="spikes", input_shape=network.layers[0].shape, layers=first)
    x = np.random.default_rng(2).integers(0, 2, (9, 4, *spiking.input_shape)).astype(np.uint8)
    np.savez(tmp_path / "s.npz", x=x)
    opened = open_samples(tmp_path / "s.npz", spiking.input_shape, steps=4)
    found = evaluate(Subject(spiking, "fast", 1, trace=False), opened, Pool(), batch=4)
    expected = get_engine("reference").run(spiking, x).predictions
    np.testing.assert_array_equal(found.predictions, expected)


class Stop(Exception):
    """Stands in for a kill."""


def test_a_stopped_run_goes_on_with_its_traces(
    network: ChipNetwork, samples: Samples, tmp_path: Path
) -> None:
    subject = Subject(network, "numpy", None, trace=True)
    evaluate(subject, samples, Pool(), batch=5, trace=tmp_path / "whole.npz")
    base = journal_base(subject, samples, "b", 5)

    def stop(done: int, _: int) -> None:
        if done >= 10:
            raise Stop

    options: Any = {"batch": 5, "trace": tmp_path / "t.npz"}
    with Journal(tmp_path / "j", base) as journal, pytest.raises(Stop):
        evaluate(subject, samples, Pool(), journal=journal, progress=stop, **options)
    part = tmp_path / "j" / WAITING / "0.npy"
    raw = bytearray(part.read_bytes())
    raw[150] ^= 1  # in the first batch: it is done again
    part.write_bytes(raw)
    with Journal(tmp_path / "j", base) as journal:
        found = evaluate(subject, samples, Pool(), journal=journal, **options)
    assert (found.earlier, found.batches) == (1, 5)
    assert (tmp_path / "t.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_journal_knows_what_it_belongs_to(network: ChipNetwork, samples: Samples) -> None:
    subject = Subject(network, "fast", 2, trace=False)
    base = journal_base(subject, samples, "b", 5)
    assert journal_base(replace(subject, threads=1), samples, "b", 5) == base, "not on the workers"
    others = [
        journal_base(replace(subject, engine="numpy"), samples, "b", 5),
        journal_base(subject, samples.first(20), "b", 5),
        journal_base(subject, samples, "c", 5),
        journal_base(subject, samples, "b", 6),
        journal_base(replace(subject, trace=True), samples, "b", 5),
    ]
    assert all(other != base for other in others)


def test_the_batch_is_bounded_by_bytes(network: ChipNetwork) -> None:
    x = np.broadcast_to(np.uint8(0), (10**6, 3, 512, 512))
    samples = Samples(Path("x"), x, None, x.shape[1:], spikes=False)
    subject = Subject(network, "fast", None, trace=False)
    assert batch_size(subject, samples) * x[0].size <= 8 << 20
    small = Samples(Path("x"), x[:, :1, :8, :8], None, (1, 8, 8), spikes=False)
    assert batch_size(subject, small) == 8192
    assert batch_size(replace(subject, trace=True), small) < 64 << 20
    assert batch_size(replace(subject, engine="reference"), small) == 16
    with pytest.raises(InputError, match="expected 1 or more"):
        batch_size(subject, small, 0)


class Faulty:
    """An engine with a fault."""

    name = "faulty"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def run(self, network: Any, x: Any, **options: Any) -> Any:
        if self.fault == "memory":
            raise MemoryError("Unable to allocate 9.00 PiB")
        result = get_engine("numpy").run(network, x)
        return replace(result, predictions=result.predictions[1:])


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("memory", InputError, r"batch of 5 samples \(320 bytes of input\).*9.00 PiB\n.*--batch"),
        ("lost", TargetError, "gave 4 predictions for 5 samples"),
    ],
)
def test_faults_of_an_engine_are_told(
    fault: str,
    error: Any,
    message: str,
    network: ChipNetwork,
    samples: Samples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "get_engine", lambda name, workers=None: Faulty(fault))
    with pytest.raises(error, match=message):
        evaluate(Subject(network, "faulty", None, trace=False), samples, Pool(), batch=5)
