"""Time in graphs on Lava: when clocks start, what faults would do, what a chip cannot run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.engines.reference import ReferenceEngine
from spikeproof.ir import chip
from spikeproof.ir.chip import INPUT, ChipLayer, ChipNetwork, Connection, DenseSynapse, HostCurrent
from spikeproof.ir.readouts import ReadoutRule
from spikeproof_lava import compat, estimate, run
from spikeproof_lava.estimate import (
    count_all_synapses,
    count_processes,
    memory_bytes,
    run_seconds,
)
from spikeproof_lava.jobs import write_job
from spikeproof_lava.schedule import run_steps, starts, takes_payloads
from spikeproof_lava.target import LavaTarget

needs_lava = pytest.mark.skipif(compat.installed_version() is None, reason="needs lava-nc")
WEIGHT = DenseSynapse(np.array([[40, -12, 8], [-20, 60, 30], [24, 10, -36]], np.int16))
HOST = HostCurrent(np.array([100, -200, 300]), 6)


def reads(source: str, lag: int = 0, host: HostCurrent | None = None) -> Connection:
    return Connection(WEIGHT, source, lag, host)


def layer(name: str, *inputs: Connection, bias: int = 0, **numbers: Any) -> ChipLayer:
    known: dict[str, Any] = {"threshold": 40, "dv": 300, "bias_exponent": 6, **numbers}
    return ChipLayer(name, inputs, chip.LifNeuron(bias=np.full(1, bias, np.int32), **known), (3,))


def graph(*layers: ChipLayer, coding: Any = "spikes", rule: ReadoutRule = "auto") -> ChipNetwork:
    return ChipNetwork("graph", (1, 1, 3), 4, layers, coding, rule)


SKIP = graph(layer("a", reads(INPUT)), layer("b", reads("a")), layer("c", reads("b"), reads("a")))
LOOP = graph(layer("a", reads(INPUT), reads("a", 1)))
BESIDE = graph(
    layer("a", reads(INPUT, host=HOST)),
    layer("b", reads("a"), reads(INPUT, host=HOST)),
    coding="pixels",
)


def test_clocks_start_at_the_depth_or_a_step_earlier_where_the_host_sends_nothing() -> None:
    assert takes_payloads(SKIP) and not takes_payloads(BESIDE)
    assert starts(SKIP) == [1, 2, 3] and run_steps(SKIP, 5) == 5 * 4 + 3
    assert starts(BESIDE) == [0, 1]
    late = graph(layer("a", reads(INPUT, host=HOST), reads(INPUT, 2)), coding="pixels")
    assert starts(late) == [1]
    shallow = graph(*SKIP.layers, layer("d", reads("a")))
    assert starts(shallow)[-1] == 2 and run_steps(shallow, 5) == 5 * 4 + 3


_FAULTS = """
    import os
    from pathlib import Path
    from spikeproof_lava import build, worker
    from spikeproof_lava.processes import models, process
    delays, starts, make = build.delays, build.starts, build.DelayLine
    class Early(models.SampleBias):
        def __init__(self, proc_params, interval):
            super().__init__(proc_params, interval)
            self._first = 1
    faults = {
        "none": {},
        "no delay": {"delays": lambda network: [[0] * len(found) for found in delays(network)]},
        "no gate": {"DelayLine": lambda **given: make(**{**given, "lag": 0})},
        "one clock": {"starts": lambda network: [1] * len(network.layers)},
        "host ahead": {"SampleBias": Early},
    }
    quiet = os.open(os.devnull, os.O_WRONLY)
    for fault, place in PLACES:
        kept = {}
        for name, value in faults[fault].items():
            where = models if name == "SampleBias" else build
            kept[name] = (where, getattr(where, name))
            setattr(where, name, value)
        worker._run(Path(place), quiet)
        for name, (where, value) in kept.items():
            setattr(where, name, value)
"""


@needs_lava
@pytest.mark.lava
def test_what_each_trap_would_do_is_noticed(
    lava_script: Callable[[str], str], tmp_path: Path
) -> None:
    spikes = np.random.default_rng(3).random((4, 4, 1, 1, 3)) < 0.7
    pixels = np.random.default_rng(4).integers(0, 256, (4, 1, 1, 3)).astype(np.uint8)
    planned = [
        (SKIP, "none", set()),
        (SKIP, "no delay", {0, 1, 2, 3}),  # a skip without its delay mixes two steps
        (SKIP, "one clock", {0, 1, 2, 3}),
        (LOOP, "none", set()),
        (LOOP, "no gate", {1, 2, 3}),  # spikes under way reach the next sample, not the first
        (BESIDE, "none", set()),
        (BESIDE, "host ahead", {0, 1, 2, 3}),  # a current that is not in step with the spikes
    ]
    jobs, places = [], []
    for number, (network, fault, _) in enumerate(planned):
        place = tmp_path / str(number)
        place.mkdir()
        x = pixels if network.coding == "pixels" else spikes.astype(np.uint8)
        jobs.append((write_job(place, network, x, trace=True), x))
        places.append((fault, str(place)))
    lava_script(_FAULTS.replace("PLACES", repr(places)))
    found = [_wrong_samples(job, x) for job, x in jobs]
    for (_, fault, expected), wrong in zip(planned, found, strict=True):
        assert wrong == expected if not expected else wrong and wrong <= expected, (fault, wrong)


def _wrong_samples(job: Any, x: Any) -> set[int]:
    expected = ReferenceEngine().run(job.network, x, trace=True).traces or {}
    traces = run._collect(job).traces or {}
    return {
        sample
        for name, trace in expected.items()
        for sample in range(len(x))
        if not np.array_equal(trace.v[sample], traces[name].v[sample])
    }


def test_every_connection_is_counted_and_a_delay_line_with_it() -> None:
    assert count_processes(SKIP) == 5 and count_processes(LOOP) == 3
    assert count_processes(BESIDE) == 3
    assert count_all_synapses(SKIP) == 4 * 9 and count_all_synapses(BESIDE) == 9
    assert run_seconds(SKIP, 1000) > run_seconds(graph(*SKIP.layers[:2]), 1000)
    more = memory_bytes(SKIP) - memory_bytes(graph(*SKIP.layers[:2]))
    assert more == estimate._PROCESS_BYTES * 4 + estimate._SYNAPSE_BYTES * 2 * 9
    assert LavaTarget().problems(SKIP) == LavaTarget().problems(LOOP) == []


def test_a_chip_takes_delays_but_no_lags_and_only_answers_that_can_be_read() -> None:
    chips = LavaTarget("loihi2")
    assert chips.problems(SKIP) == []
    (lag,) = chips.problems(LOOP)
    assert lag.startswith("layer a: the connection from a lags 1 step: spikes under way")
    rules: list[ReadoutRule] = ["count", "first", "last", "max"]
    told = [chips.problems(replace(SKIP, readout=rule)) for rule in rules]
    assert [len(found) for found in told] == [0, 0, 1, 1]
    assert "layer c: its answer is the readout 'max'" in told[3][0]
    quiet = ChipLayer("out", (reads("c"),), chip.ReadoutNeuron(np.zeros(1, np.int32)), (3,))
    ends = graph(*SKIP.layers, quiet)
    assert [len(chips.problems(replace(ends, readout=rule))) for rule in ("last", "mean")] == [0, 1]


def test_a_chip_takes_a_host_current_beside_connections_whose_sums_stay_small() -> None:
    chips = LavaTarget("loihi2")
    assert chips.problems(BESIDE) == []
    large = Connection(DenseSynapse(np.full((3, 3), 254, np.int16), exponent=7), "a")
    first, second = BESIDE.layers
    loud = replace(second, inputs=(large, large, second.inputs[1]))
    (found,) = chips.problems(replace(BESIDE, layers=(first, loud)))
    assert "its sums can reach 199,167" in found and "131,071" in found
