"""Cost against size: counts, the fit, the child process, and the drawing."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from spikeproof.bench import scaling
from spikeproof.bench.document import Point, Scaling, load_document
from spikeproof.bench.nets import conv_net, mlp_net
from spikeproof.bench.scaling import count_synapses, line, measure_scaling, write_scaling
from spikeproof.errors import TargetError


def test_synapses_are_counted_as_connections() -> None:
    assert count_synapses(mlp_net((20, 10), inputs=64, timesteps=2).network) == 64 * 20 + 20 * 10
    conv = count_synapses(conv_net(size=8, timesteps=2).network)
    assert conv == 16 * 9 * 64 + 32 * 16 * 9 * 16 + 10 * 32 * 16


def test_the_largest_network_has_at_least_ten_million_synapses() -> None:
    largest = max(scaling._SIZES["synapses"])
    assert 784 * largest + largest**2 + 10 * largest > 10_000_000


def test_a_line_is_found_and_what_is_none_is_seen() -> None:
    found = line("neurons", [point(n, 2e-5 + 3e-8 * n) for n in (10, 100, 1000, 100_000)])
    assert found.fixed_seconds == pytest.approx(2e-5)
    assert found.seconds_per_unit == pytest.approx(3e-8)
    assert found.largest_deviation < 1e-9
    bent = [point(n, 3e-8 * n**1.5) for n in (10, 100, 1000, 100_000)]
    assert line("neurons", bent).largest_deviation > 0.5


def point(neurons: int, seconds: float) -> Point:
    return Point(
        timesteps=1, neurons=neurons, synapses=1, seconds=seconds, peak_bytes=0, own_bytes=0
    )


def test_points_are_measured_in_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "_QUICK", {"timesteps": (4, 8), "synapses": (64, 128)})
    seen = []
    document = measure_scaling(quick=True, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    steps, synapses = document.series
    assert [p.timesteps for p in steps.points] == [4, 8]
    assert [p.synapses for p in synapses.points] == [54912, 118016]
    for found in synapses.points:
        assert found.seconds > 0
        assert 10 << 20 < found.peak_bytes < 2 << 30
        assert 0 <= found.own_bytes < found.peak_bytes
    drawing, figures = write_scaling(document, tmp_path / "scaling.svg")
    assert load_document(figures, Scaling) == document
    check_drawing(drawing, panels=3)


def check_drawing(path: Path, panels: int) -> None:
    root = ET.fromstring(path.read_text())
    name = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{name}svg"
    inner = root.findall(f"{name}g/{name}svg")
    assert len(inner) == panels
    for drawn in inner:
        assert drawn.find(f"{name}title") is not None
        for dot in drawn.iter(f"{name}circle"):
            assert 0 <= float(dot.get("cx")) <= 320
            assert 0 <= float(dot.get("cy")) <= 240


def test_a_process_that_dies_is_reported_with_its_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "measure_point", die)
    network = mlp_net((16, 10), inputs=16, timesteps=2).network
    with pytest.raises(TargetError, match="synapses at 64"):
        scaling._in_child(network, 0.01, "synapses at 64")


def test_the_memory_of_a_point_is_not_that_of_the_process_that_asked_for_it() -> None:
    held = np.ones(1 << 27, np.uint8) * np.uint8(3)  # 128 MiB, and as much for the ones before
    network = mlp_net((16, 10), inputs=16, timesteps=2).network
    point = scaling._in_child(network, 0.01, "small")
    assert held[-1] == 3
    assert point.own_bytes < 64 << 20
    assert point.peak_bytes < scaling._peak()


def die(*_: object) -> None:
    os._exit(9)
