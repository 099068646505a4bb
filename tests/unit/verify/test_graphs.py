"""What looks at a network takes graphs: differences, operations, drives, extremes, inspect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.certify.ranges import certify_ranges
from spikeproof.cli.console import Console
from spikeproof.cli.show import show_file
from spikeproof.describe.documents import BundleFile
from spikeproof.describe.file import describe_file
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.self_test import make_bundle
from spikeproof.fuzz.draw.graphs import random_graph
from spikeproof.fuzz.draw.networks import random_input, random_network
from spikeproof.io.bundle import save_bundle
from spikeproof.io.wiring import graph_rows
from spikeproof.ir import chip
from spikeproof.ir.graph import chain_problems
from spikeproof.report.resources import connection_table
from spikeproof.verify import mppd
from spikeproof.verify.certificate import judge_certificate
from spikeproof.verify.document import Network, Report
from spikeproof.verify.first_difference import first_unequal_state
from spikeproof.verify.operations import count_operations

ZERO = np.zeros(1, np.int32)


def graphs(count: int, **wanted: Any) -> list[tuple[chip.ChipNetwork, Any]]:
    """Draw small graphs, each with three samples."""
    found, seed = [], 0
    while len(found) < count:
        rng = np.random.default_rng([31, seed])
        seed += 1
        network = random_graph(rng, random_network(rng, nasty=False, **wanted))
        small = sum(layer.neurons for layer in network.layers) < 300
        if small and chain_problems(network):
            found.append((network, random_input(rng, network, 3)))
    return found


def dense(weight: list[list[int]], source: str | None, lag: int = 0) -> chip.Connection:
    return chip.Connection(chip.DenseSynapse(np.array(weight, np.int16)), source, lag)


def circle() -> chip.ChipNetwork:
    """Two neurons that feed each other, and one that reads the second and the input."""
    fires = chip.LifNeuron(0, 4096, ZERO)
    layers = (
        chip.ChipLayer("a", (dense([[2]], None), dense([[2]], "b", 2)), fires, (1,)),
        chip.ChipLayer("b", (dense([[2]], None),), fires, (1,)),
        chip.ChipLayer(
            "out", (dense([[2]], None), dense([[4]], chip.INPUT, 2)), chip.ReadoutNeuron(ZERO), (1,)
        ),
    )
    return chip.ChipNetwork("circle", (1, 1, 1), 5, layers, "spikes", readout="max")


def test_in_a_cycle_the_earliest_step_comes_first_whichever_layer_it_is_in() -> None:
    network = circle()
    x = np.zeros((2, 5, 1, 1, 1), np.uint8)
    runs = [ReferenceEngine().run(network, x, trace=True).traces or {} for _ in range(2)]
    runs[1]["b"].v[1, 1] = runs[1]["a"].v[1, 2] = runs[1]["out"].v[0, 0] = 7
    found = first_unequal_state(network, *runs, "reference", "fast")
    assert (found.layer, found.step, found.sample) == ("b", 1, 1), "a chain's order would say a"
    runs[1]["a"].v[1, 1] = 7
    found = first_unequal_state(network, *runs, "reference", "fast")
    assert found.layer == "a", "of one step the layer listed first"


def test_operations_are_counted_over_every_connection_and_lag() -> None:
    for network, x in graphs(8):
        traces = ReferenceEngine().run(network, x, trace=True).traces or {}
        for i, row in enumerate(count_operations(network, x, traces)):
            total = host = 0
            for one, source in zip(network.layers[i].inputs, network.sources[i], strict=True):
                matrix: Any = one.synapse.matrix()
                matrix = matrix.toarray() if hasattr(matrix, "toarray") else matrix
                if one.host is not None:
                    host += int(np.count_nonzero(matrix))
                    continue
                for sample in range(len(x)):
                    for t in range(one.lag, network.timesteps):
                        sent: Any = x[sample]
                        if source >= 0:
                            sent = traces[network.layers[source].name].s
                            sent = sent[sample, t - one.lag]
                        elif network.coding == "spikes":
                            sent = x[sample, t - one.lag]
                        total += int(np.count_nonzero(matrix[:, sent.ravel() > 0]))
            assert row.synaptic == pytest.approx(total / len(x)) and row.host == host
            assert row.synaptic <= row.synaptic_most


def test_the_drive_of_a_layer_holds_the_hosts_current_and_the_spikes_beside_it() -> None:
    both = 0
    for network, x in graphs(30, coding="pixels"):
        first, second = mppd.chip_drives(network, x[:1]), mppd.chip_drives(network, x[1:2])
        traces = [ReferenceEngine().run(network, one, trace=True).traces or {} for one in (x, x)]
        for layer in network.layers:
            if not (layer.neuron.spiking and layer.host):
                continue
            both += len(layer.inputs) > 1
            (one,) = [c for c in layer.inputs if c.host is not None]
            assert one.host is not None
            sums = one.synapse.matrix() @ x[:2].reshape(2, -1).astype(np.int64).T
            mantissa = one.host.mantissa(sums.T.reshape(2, *layer.shape))
            units = mantissa << layer.neuron.bias_exponent
            u = traces[0][layer.name].u.astype(np.int64)
            expected = u[1] - u[0] + (units[1] - units[0])
            found = second.layers[layer.name].astype(np.int64) - first.layers[layer.name]
            saturates = np.abs(traces[0][layer.name].v[:2, 0]).max() >= (1 << 23) - 1
            if not saturates:
                np.testing.assert_array_equal(found[0], expected)
    assert both > 3


def test_extremal_inputs_stay_within_the_bounds_of_graphs_and_come_near() -> None:
    near = total = 0
    for network, _ in graphs(60):
        if not all(row.ok for row in certify_ranges(network)):
            continue  # where u wraps nothing is promised
        rows = judge_certificate(network, None)
        assert [row.unsound for row in rows] == [[]] * len(rows)
        for row in rows:
            total += 1
            near += row.reached.v_high >= 0.5 * row.v_high and row.reached.inputs > 0
    assert total > 15 and near > 0.3 * total


def test_inspect_tells_what_each_layer_reads_its_delays_and_the_readout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = circle()
    x = np.ones((1, 5, 1, 1, 1), np.uint8)
    save_bundle(tmp_path / "circle.spk", make_bundle(network, {}, x))
    found = describe_file(tmp_path / "circle.spk")
    assert isinstance(found, BundleFile) and found.readout == "max"
    reads = [(r.layer, c.source, c.lag, c.delay) for r in found.layers for c in r.reads]
    assert reads == [
        ("a", "the input", 0, 0),
        ("a", "b", 2, 0),
        ("b", "a", 0, 0),
        ("out", "b", 0, 0),
        ("out", "the input", 2, 4),
    ]
    assert {r.portability for r in found.layers} == {"portable"}
    assert [r.weights for r in found.layers] == [2, 1, 2]
    assert found.layers[2].weight_range == [2, 4]
    show_file(Console(), str(tmp_path / "circle.spk"))
    shown = capsys.readouterr()
    assert "Connections" in shown.out + shown.err and "'max' of out" in shown.out + shown.err


def test_a_table_of_a_chain_has_no_connections_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = chip.ChipLayer("l", (dense([[2]], None),), chip.LifNeuron(0, 4096, ZERO), (1,))
    network = replace(circle(), layers=(layer,), readout="auto")
    x = np.ones((1, 5, 1, 1, 1), np.uint8)
    save_bundle(tmp_path / "chain.spk", make_bundle(network, {}, x))
    show_file(Console(), str(tmp_path / "chain.spk"))
    shown = capsys.readouterr()
    assert "Connections" not in shown.out + shown.err and "readout" not in shown.out + shown.err


def test_a_report_lists_connections_of_graphs_only() -> None:
    network = circle()
    rows = graph_rows(network)
    assert [(r.layer, r.source, r.lag, r.delay) for r in rows][-1] == ("out", "the input", 2, 4)
    found = Report.model_construct(
        network=Network(name="g", input_shape=[1, 1, 1], timesteps=5, connections=rows)
    )
    table = connection_table(found)
    assert len(table.rows) == 5 and table.rows[1].cells[:4] == ("a", "b", "2", "0")
    assert graph_rows(replace(network, layers=(network.layers[1],))) == []
    lags = replace(network.layers[1], inputs=(dense([[2]], None, 3),))
    assert [row.lag for row in graph_rows(replace(network, layers=(lags,)))] == [3]
