"""Faults planted in an engine are found, shrunk to the bone, and can be seen again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from spikeproof import fixedpoint as fx
from spikeproof.engines import numpy_engine
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.self_test import self_test
from spikeproof.engines.trace import Progress, RunResult
from spikeproof.errors import InputError, MissingExtraError
from spikeproof.fuzz import campaign
from spikeproof.fuzz.case import Task
from spikeproof.fuzz.draw.nasty import draw_case
from spikeproof.fuzz.reproduce import replay
from spikeproof.fuzz.shrink.search import shrink, size_of
from spikeproof.io.bundle import load_bundle
from spikeproof.ir.check_chip import check_chip
from spikeproof.ir.check_input import check_input
from spikeproof.ir.chip import (
    INPUT,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    LifNeuron,
    Neuron,
    TableLifNeuron,
)
from spikeproof.ir.graph import chain_problems, delays, is_recurrent

Patch = Callable[[], Any]


def fuzz(*arguments: Any, output: Path | None = None, most: int = 5, **options: Any) -> Any:
    """Run a campaign and return its report as JSON."""
    writer = None if output is None else campaign.Writer(output, most)
    return campaign.fuzz(*arguments, writer=writer, **options).json_document


class Broken(NumpyEngine):
    """The plain engine with one function replaced while it runs."""

    name = "broken"

    def __init__(self, patch: Patch) -> None:
        super().__init__()
        self.patch = patch

    def run(
        self,
        network: ChipNetwork,
        x: NDArray[np.uint8],
        *,
        trace: bool = False,
        progress: Progress | None = None,
    ) -> RunResult:
        with self.patch():
            return super().run(network, x, trace=trace)


@contextmanager
def fires_at_equality() -> Iterator[None]:
    def lowered(kind: Any) -> Any:
        right = kind.threshold_at
        return mock.patch.object(kind, "threshold_at", lambda neuron, t: right(neuron, t) - 1)

    # The fault is planted behind the check, which would refuse a threshold below 0 by name.
    unchecked = mock.patch.object(Neuron, "step_problems", lambda neuron, steps: [])
    with unchecked, lowered(LifNeuron), lowered(TableLifNeuron):
        yield


def floors_the_state() -> Any:
    def scale(x: Any, numerator: int, out: Any) -> None:
        np.floor(x * (numerator / 4096), out=out)

    return mock.patch.object(fx, "scale_exact_floats", scale)


def truncates_sums() -> Any:
    def shift(total: Any, exponent: int) -> Any:
        values = np.asarray(total, np.int64)
        wide = 1 << abs(exponent)
        return values * wide if exponent >= 0 else np.sign(values) * (np.abs(values) // wide)

    return mock.patch.object(fx, "shift_sum", shift)


def forgets_to_wrap() -> Any:
    return mock.patch.object(fx, "wrap_current", lambda u: np.asarray(u, np.int64))


def rounds_half_down() -> Any:
    def shift(x: Any, bits: int) -> Any:
        return -(-np.asarray(x, np.int64) + (1 << bits >> 1) >> bits)

    return mock.patch.object(fx, "round_half_up_shift", shift)


def swaps_strides() -> Any:
    right = numpy_engine.correlate

    def correlate(x: Any, weight: Any, stride: Any, *rest: Any) -> Any:
        found = right(x, weight, stride[::-1], *rest)
        expected = right(x, weight, stride, *rest)
        return found if found.shape == expected.shape else np.zeros_like(expected)

    return mock.patch.object(numpy_engine, "correlate", correlate)


def drops_what_is_left_of_a_block_of_32() -> Any:
    right = numpy_engine._product

    def product(synapse: Any, x: Any) -> Any:
        if isinstance(synapse, DenseSynapse) and synapse.weight.shape[1] > 32:
            weight = synapse.weight.copy()
            weight[:, synapse.weight.shape[1] // 32 * 32 :] = 0
            synapse = replace(synapse, weight=weight)
        return right(synapse, x)

    return mock.patch.object(numpy_engine, "_product", product)


def fails_with_17_channels() -> Any:
    right = numpy_engine._product

    def product(synapse: Any, x: Any) -> Any:
        if isinstance(synapse, ConvSynapse) and len(synapse.weight) == 17:
            raise IndexError("channel 17 is out of bounds")
        return right(synapse, x)

    return mock.patch.object(numpy_engine, "_product", product)


# Each fault, and how small the first network that shows it must become.
_TINY = {"samples": 1, "steps": 1, "layers": 1, "inputs": 1, "neurons": 1, "weights": 1}
FAULTS: list[tuple[Patch, dict[str, int]]] = [
    (fires_at_equality, {**_TINY, "weights": 0}),
    (floors_the_state, {**_TINY, "steps": 2, "neurons": 3}),
    (truncates_sums, _TINY),
    (forgets_to_wrap, {**_TINY, "inputs": 20, "weights": 20, "steps": 20}),
    (rounds_half_down, {**_TINY, "inputs": 8, "weights": 8}),
    (swaps_strides, {**_TINY, "inputs": 8, "neurons": 2}),
    (drops_what_is_left_of_a_block_of_32, {**_TINY, "inputs": 33}),
    (fails_with_17_channels, {**_TINY, "neurons": 17, "weights": 0}),
]


@pytest.mark.parametrize(("fault", "most"), FAULTS, ids=[f.__name__ for f, _ in FAULTS])
def test_a_planted_fault_is_found_shrunk_and_seen_again(
    fault: Patch, most: dict[str, int], tmp_path: Path
) -> None:
    engine = Broken(fault)
    nets = 40
    report = fuzz(nets, 3, [engine, NumpyEngine()], output=tmp_path, most=1)
    broken, sound = report["engines"]
    assert report["verdict"] == "fail" and broken["mismatches"] > 0
    assert sound["mismatches"] == 0 and sound["compared"] == broken["compared"] == nets
    (best,) = [f for f in report["failures"] if f["folder"]]
    assert best["shrunk"] and all(best["size"][key] <= most[key] for key in most), best["size"]

    path = Path(best["folder"]) / "network.spk"
    assert replay(path, engine).mismatch is not None
    assert replay(path, NumpyEngine()).mismatch is None
    assert self_test(load_bundle(path), ReferenceEngine()).passed


# --- faults that graphs alone show ---------------------------------------------------------------


class Rewired(NumpyEngine):
    """The plain engine, which is given another network than the one it was asked to run."""

    name = "rewired"

    def __init__(self, change: Callable[[ChipNetwork], ChipNetwork]) -> None:
        self.change = change

    def run(self, network: ChipNetwork, x: Any, **options: Any) -> RunResult:
        return super().run(self.change(network), x, **options)


def each_connection(
    network: ChipNetwork, change: Callable[[int, int, Connection], Connection | None]
) -> ChipNetwork:
    """Change every connection, given its target's place, its source's, and itself."""
    layers = []
    for i, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        names = [INPUT if s < 0 else network.layers[s].name for s in sources]
        named = [c.changed(source=n) for c, n in zip(layer.inputs, names, strict=True)]
        found = [change(i, s, c) for s, c in zip(sources, named, strict=True)]
        layers.append(replace(layer, inputs=tuple(c for c in found if c is not None)))
    return network.changed(layers)


def comes_a_step_early(network: ChipNetwork) -> ChipNetwork:
    def early(target: int, source: int, one: Connection) -> Connection:
        return one.changed(lag=max(one.lag - 1, int(source >= target)))

    return each_connection(network, early)


def takes_the_first_exponent(network: ChipNetwork) -> ChipNetwork:
    first: dict[int, int] = {}

    def same(target: int, source: int, one: Connection) -> Connection:
        if one.host is not None:
            return one
        exponent = first.setdefault(target, one.synapse.exponent)
        return one.changed(synapse=one.synapse.changed(exponent=exponent))

    return each_connection(network, same)


def uses_a_synapse_once(network: ChipNetwork) -> ChipNetwork:
    used: set[int] = set()

    def once(target: int, source: int, one: Connection) -> Connection:
        if id(one.synapse) in used:
            zero = one.synapse.weight * 0
            return one.changed(synapse=one.synapse.changed(weight=zero))
        used.add(id(one.synapse))
        return one

    return each_connection(network, once)


def cuts_self_loops(network: ChipNetwork) -> ChipNetwork:
    return each_connection(network, lambda to, source, one: None if source == to else one)


def cuts_back_edges(network: ChipNetwork) -> ChipNetwork:
    return each_connection(network, lambda to, source, one: None if source > to else one)


def drops_skips(network: ChipNetwork) -> ChipNetwork:
    held = iter([delay for layer in delays(network) for delay in layer])
    return each_connection(
        network, lambda to, source, one: None if next(held) > 0 and one.lag == 0 else one
    )


def answers_as_ever(network: ChipNetwork) -> ChipNetwork:
    return replace(network, readout="auto")


_ONE_LAYER = {"samples": 1, "layers": 1, "inputs": 2, "neurons": 1}
WIRING_FAULTS: list[tuple[Callable[[ChipNetwork], ChipNetwork], dict[str, int]]] = [
    (comes_a_step_early, {**_TINY, "connections": 1}),
    (takes_the_first_exponent, {**_TINY, "connections": 2, "weights": 1}),
    (uses_a_synapse_once, {**_ONE_LAYER, "connections": 2, "weights": 2}),
    (cuts_self_loops, {**_ONE_LAYER, "connections": 2, "steps": 2, "weights": 2}),
    (cuts_back_edges, {"samples": 1, "layers": 2, "neurons": 2, "connections": 3, "weights": 1}),
    (drops_skips, {"samples": 1, "steps": 1, "layers": 2, "neurons": 2, "weights": 1}),
    (answers_as_ever, {**_TINY, "connections": 1, "weights": 1, "steps": 2}),
]


@pytest.mark.parametrize(
    ("fault", "most"), WIRING_FAULTS, ids=[f.__name__ for f, _ in WIRING_FAULTS]
)
def test_a_fault_in_the_wiring_is_shrunk_to_the_wires_that_show_it(
    fault: Callable[[ChipNetwork], ChipNetwork], most: dict[str, int], tmp_path: Path
) -> None:
    engine = Rewired(fault)
    report = fuzz(80, 3, [engine], output=tmp_path, most=1)
    (best,) = [f for f in report["failures"] if f["folder"]]
    assert best["shrunk"] and all(best["size"][key] <= most[key] for key in most), best["size"]
    path = Path(best["folder"]) / "network.spk"
    assert replay(path, engine).mismatch is not None
    assert replay(path, NumpyEngine()).mismatch is None
    text = (path.parent / "README.txt").read_text()
    wires = [line for line in text.splitlines() if line.startswith("  reads ")]
    assert len(wires) == best["size"]["connections"]


def test_a_graph_is_shrunk_to_a_chain_where_a_chain_shows_the_fault() -> None:
    for index in (i for i in range(60) if chain_problems(draw_case(5, i).network)):
        case = draw_case(5, index)
        found = shrink((case.network, case.x), lambda tasks: [True] * len(tasks))
        network, x = found.task
        assert found.complete and not chain_problems(network) and len(network.layers) == 1
        assert network.layers[0].inputs[0].source is None and len(x) == network.timesteps == 1
        assert size_of(found.task)["inputs"] == size_of(found.task)["neurons"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_every_candidate_that_is_judged_is_a_legal_network(seed: int) -> None:
    case = draw_case(11, next(i for i in range(seed, 90, 5) if has_loop(draw_case(11, i))))
    judged = []

    def fails(tasks: Sequence[Task]) -> list[bool]:
        for network, x in tasks:
            check_chip(network)
            check_input(network, x)
            ReferenceEngine().run(network, x[:1])
        judged.extend(tasks)
        return [any(has_several(n) and is_recurrent(n) for n in (t[0],)) for t in tasks]

    assert fails([(case.network, case.x)]) == [True]
    found = shrink((case.network, case.x), fails, seconds=30)
    assert is_recurrent(found.task[0]) and len(judged) > 10
    assert size_of(found.task)["neurons"] <= 4 and size_of(found.task)["connections"] <= 4


def has_several(network: ChipNetwork) -> bool:
    return any(len(layer.inputs) > 1 for layer in network.layers)


def has_loop(case: Any) -> bool:
    return is_recurrent(case.network) and has_several(case.network)


def test_the_text_tells_the_difference_the_command_and_the_network(tmp_path: Path) -> None:
    report = fuzz(40, 3, [Broken(fires_at_equality)], output=tmp_path, most=1)
    entry = report["failures"][0]
    text = (Path(entry["folder"]) / "README.txt").read_text()
    assert "spikeproof run network.spk --self-test --engine broken" in text
    assert "spikeproof fuzz --replay network.spk --engine broken" in text
    again = f"spikeproof fuzz --nets 1 --first {entry['network']} --seed 3 --engine broken"
    assert again in text
    where = entry["divergence"]
    assert f"layer {where['layer']}, step {where['step']}, sample {where['sample']}" in text
    assert f"reference: {where['values']['from']:.0f}" in text and "threshold:" in text
    assert "weight int16 (1, 1" in text and "Input (" in text
    engine = Broken(fires_at_equality)
    assert not self_test(load_bundle(Path(entry["folder"]) / "network.spk"), engine).passed


def test_a_wrong_membrane_alone_is_found_though_the_self_test_cannot_see_it(tmp_path: Path) -> None:
    class WrongCurrent(NumpyEngine):
        name = "wrong-u"

        def run(self, network: ChipNetwork, x: Any, **options: Any) -> RunResult:
            result = super().run(network, x, **options)
            for trace in (result.traces or {}).values():
                trace.u[trace.u == 128] = 129
            return result

    report = fuzz(40, 1, [WrongCurrent()], output=tmp_path, most=1)
    entry = next(f for f in report["failures"] if f["folder"])
    assert entry["divergence"]["state"] == "u"
    text = (Path(entry["folder"]) / "README.txt").read_text()
    assert "run network.spk --self-test" not in text and "does not show it" in text


def test_a_fault_of_runs_without_traces_is_found(tmp_path: Path) -> None:
    class WrongWhenUnwatched(NumpyEngine):
        name = "unwatched"

        def run(self, network: ChipNetwork, x: Any, *, trace: bool = False, **o: Any) -> RunResult:
            result = super().run(network, x, trace=trace)
            if not trace and len(x) > 2:
                result.logits[2] += 1
            return result

    report = fuzz(12, 1, [WrongWhenUnwatched()], output=tmp_path, most=1)
    assert {f["kind"] for f in report["failures"]} == {"untraced"}
    assert report["failures"][0]["size"]["samples"] == 3


def test_an_interruption_keeps_what_was_found(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    report = fuzz(80, 3, [Broken(fires_at_equality)], output=tmp_path, most=1, progress=interrupt)
    assert report["interrupted"] and report["done"] == 40 and report["verdict"] == "fail"
    assert list(tmp_path.glob("seed3-net*-broken/network.spk"))
    clean = fuzz(80, 3, [NumpyEngine()], progress=interrupt)
    assert clean["interrupted"] and clean["verdict"] == "inconclusive"


def test_an_interruption_while_shrinking_leaves_the_network_as_it_was_drawn(tmp_path: Path) -> None:
    class Interrupted(Broken):
        runs = 0

        def run(self, network: ChipNetwork, x: Any, **options: Any) -> RunResult:
            self.runs += 1
            if self.runs == 85:
                raise KeyboardInterrupt
            return super().run(network, x, **options)

    engine = Interrupted(fires_at_equality)
    report = fuzz(40, 3, [engine], output=tmp_path)
    assert report["interrupted"] and report["verdict"] == "fail"
    entry = report["failures"][0]
    assert not entry["shrunk"]
    case = draw_case(3, entry["network"])
    found = load_bundle(Path(entry["folder"]) / "network.spk")
    np.testing.assert_array_equal(found.stimulus, case.x)


def test_what_an_engine_refuses_or_lacks_is_counted_by_reason() -> None:
    class Picky(NumpyEngine):
        name = "picky"

        def problems(self, network: ChipNetwork) -> list[str]:
            return ["takes no spikes"] if network.coding == "spikes" else []

    class Absent(NumpyEngine):
        name = "absent"

        def run(self, *args: Any, **options: Any) -> RunResult:
            raise MissingExtraError("not installed")

    report = fuzz(30, 5, [Picky(), Absent()])
    picky, absent = report["engines"]
    assert picky["compared"] + picky["skipped"] == 30 and picky["compared"] > 0
    assert picky["reasons"] == {"takes no spikes": picky["skipped"]}
    assert absent["compared"] == 0 and absent["reasons"] == {"not installed": 30}
    assert report["verdict"] == "pass"
    assert fuzz(5, 5, [Absent()])["verdict"] == "inconclusive", "nothing compared is no pass"


def test_a_batch_that_fails_is_searched_for_the_culprit() -> None:
    class Batches(NumpyEngine):
        name = "batches"
        starts = 0

        def run_many(self, tasks: Sequence[Task]) -> list[RunResult]:
            self.starts += 1
            if any(network.timesteps == 1 for network, _ in tasks):
                raise RuntimeError("cannot do one step")
            return [self.run(*task, trace=True) for task in tasks]

    engine = Batches()
    report = fuzz(40, 2, [engine])
    single = [i for i in range(40) if draw_case(2, i).network.timesteps == 1]
    assert [f["network"] for f in report["failures"]] == single != []
    assert report["engines"][0]["compared"] == 40 and engine.starts > 1
    assert fuzz(10, 2, [Batches()], first=single[-1] + 1)["engines"][0]["compared"] == 10


def test_first_replays_one_network_and_workers_change_nothing() -> None:
    class OddSteps(NumpyEngine):  # local, so that it can travel to other processes
        name = "odd"

        def run(self, network: ChipNetwork, x: Any, *, trace: bool = False, **o: Any) -> RunResult:
            result = super().run(network, x, trace=trace)
            result.logits[:] += network.timesteps % 2
            return result

    whole = fuzz(50, 4, [OddSteps()])
    last = whole["failures"][-1]
    assert 10 < len(whole["failures"]) < 45
    assert fuzz(1, 4, [OddSteps()], first=last["network"])["failures"] == [last]
    parallel = fuzz(50, 4, [OddSteps()], workers=2)
    assert {**parallel, "seconds": 0} == {**whole, "seconds": 0}


def test_shrinking_is_deterministic_and_stops_at_its_limits() -> None:
    case = draw_case(9, 7)
    task = (case.network, case.x)

    def fails(tasks: Sequence[Task]) -> list[bool]:
        return [size_of(t)["weights"] >= 3 for t in tasks]

    first, second = shrink(task, fails), shrink(task, fails, together=7)
    assert first.complete and size_of(first.task)["weights"] == 3
    assert size_of(first.task) == size_of(second.task)
    assert size_of(first.task)["samples"] == size_of(first.task)["steps"] == 1
    limited = shrink(task, fails, tries=5)
    assert limited.tries == 5 and not limited.complete
    assert shrink(task, fails, seconds=0).tries == 0


@pytest.mark.parametrize("options", [{"nets": 0}, {"seed": -1}, {"first": -1}, {"workers": 0}])
def test_numbers_out_of_range_are_refused_by_name(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"fuzz: {next(iter(options))}: is -?\\d, must be"):
        fuzz(**{"nets": 1, "seed": 0, "engines": [NumpyEngine()], **options})  # type: ignore[arg-type]


def test_engines_need_different_names() -> None:
    with pytest.raises(InputError, match="different names"):
        fuzz(1, 0, [NumpyEngine(), NumpyEngine()])
