"""What Lava would take is told before anything is built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.engines.self_test import make_bundle
from spikeproof.errors import InputError
from spikeproof.io.bundle import save_bundle
from spikeproof.ir import chip
from spikeproof.ir.unroll import unroll
from spikeproof_lava import estimate
from spikeproof_lava.estimate import (
    count_all_synapses,
    memory_bytes,
    memory_problem,
    run_seconds,
)
from spikeproof_lava.run import Task, run_many
from spikeproof_lava.target import LavaTarget


def wide(channels: int, size: int) -> chip.ChipNetwork:
    weight = np.full((channels, channels, 3, 3), 2, np.int16)
    synapse = chip.ConvSynapse(weight, (channels, size, size), padding=(1, 1))
    neuron = chip.LifNeuron(60, 41, np.zeros((1, 1, 1), np.int32))
    layer = chip.ChipLayer("l1", (chip.Connection(synapse),), neuron, (channels, size, size))
    return chip.ChipNetwork("wide", (channels, size, size), 2, (layer,), "spikes")


def no_lava(*_: object) -> None:
    raise AssertionError("Lava was asked to build a network that cannot fit")


def test_a_network_too_large_for_lava_is_refused_with_figures_and_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lava")
    network = wide(64, 8)
    x = np.zeros((2, 2, 64, 8, 8), np.uint8)
    save_bundle(tmp_path / "wide.spk", make_bundle(network, {}, x[:1]))
    np.savez(tmp_path / "x.npz", x=x)
    free = memory_bytes(network) - 1
    monkeypatch.setattr(estimate, "available_bytes", lambda: free)
    monkeypatch.setattr("spikeproof_lava.run.supervise", no_lava)
    args = ["run", str(tmp_path / "wide.spk"), "--data", str(tmp_path / "x.npz")]
    assert run([*args, "--engine", "lava"]) == 2
    err = capsys.readouterr().err
    assert f"{count_all_synapses(network):,} connections" in err
    assert "of memory" in err and "are free" in err and "--engine fast" in err
    with pytest.raises(InputError, match="connections"):
        run_many([Task(network, x)])


def test_what_fits_is_not_refused() -> None:
    network = wide(16, 8)
    assert memory_problem(network, memory_bytes(network)) is None
    assert memory_problem(network, memory_bytes(network) - 1) is not None
    assert LavaTarget().problems(network) == []


def test_a_long_run_is_announced_with_its_time_and_a_short_one_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from spikeproof.cli.console import Console, duration
    from spikeproof.cli.workflow import announce_time

    network = wide(16, 8)
    announce_time(Console(), LavaTarget(), network, 1)
    assert capsys.readouterr().err == ""
    samples = next(n for n in (10**k for k in range(9)) if run_seconds(network, n) > 600)
    announce_time(Console(), LavaTarget(), network, samples)
    said = (
        f"{samples:,} samples on lava take about {duration(run_seconds(network, samples))} or more"
    )
    assert said in capsys.readouterr().err


def test_unrolling_uses_32_bit_indices_and_little_more_memory_than_the_matrix() -> None:
    import tracemalloc

    synapse = wide(64, 16).layers[0].synapse
    assert isinstance(synapse, chip.ConvSynapse)
    tracemalloc.start()
    matrix = unroll(synapse)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert matrix.indices.dtype == matrix.indptr.dtype == np.int32
    assert matrix.has_sorted_indices and matrix.has_canonical_format
    assert peak < 1.5 * (matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes)


def test_the_documented_size_of_a_vgg_11_is_what_is_counted(root: Path) -> None:
    plan = [
        (3, 64, 32),
        (64, 128, 16),
        (128, 256, 16),
        (256, 512, 8),
        (512, 512, 8),
        (512, 512, 8),
        (512, 512, 4),
        (512, 512, 4),
    ]
    convolutions = sum(
        chip.ConvSynapse(
            np.ones((out, inputs, 3, 3), np.int16), (inputs, size, size), padding=(1, 1)
        ).stored
        for inputs, out, size in plan
    )
    total = convolutions + 512 * 16 * 4096 + 4096 * 4096 + 4096 * 10
    page = (root / "docs" / "performance.md").read_text(encoding="utf-8")
    gib = (estimate._START_BYTES + estimate._SYNAPSE_BYTES * total) / 2**30
    assert f"has {total:,} connections: about {gib:.0f} GiB" in page
