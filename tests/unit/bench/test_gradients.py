"""``spikeproof bench --gradients``: the document, what it measures, and what it leaves out."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("numba", reason="twins are compiled")

from spikeproof.attacks.suites import SP_QUICK_1
from spikeproof.attacks.twin import Twin
from spikeproof.bench import gradients
from spikeproof.cli.app import run
from spikeproof.convert.pipeline import convert_network
from spikeproof.errors import InputError
from spikeproof.io.zoo import zoo_networks
from spikeproof.ir import floats


@pytest.fixture(scope="module")
def subject():
    rng = np.random.default_rng(0)

    def draw(rng, count):
        return rng.integers(0, 256, (count, 1, 3, 4), np.uint8)

    nodes = (
        floats.Linear("w", rng.standard_normal((8, 12)).astype(np.float32), None),
        floats.Lif("l", 0.9, 1.0),
        floats.Linear("r", rng.standard_normal((3, 8)).astype(np.float32), None),
        floats.Readout("out"),
    )
    network = floats.FloatNetwork("tiny", (1, 3, 4), 3, nodes)
    on_chip = convert_network(network, draw(rng, 20)).chip
    return gradients.Subject("tiny", network, draw, 5, on_chip)


def test_each_contender_has_its_turn_on_the_same_new_images(subject, monkeypatch) -> None:
    asked: list[tuple[str, bytes]] = []
    clock = {"now": 0.0}
    seconds = {"twin": 0.5, "loop": 2.0}

    def slow(name: str, way):
        def call(x, of_logits):
            assert x.shape == (5, 1, 3, 4)
            assert of_logits.shape == (5, 3)
            asked.append((name, x.tobytes()))
            clock["now"] += seconds[name]
            return way(x, of_logits)

        return call

    of_twin, of_loop = gradients._of_twin, gradients._of_loop
    monkeypatch.setattr(gradients, "is_installed", lambda name: True)
    monkeypatch.setattr(gradients, "_of_twin", lambda twin: slow("twin", of_twin(twin)))
    monkeypatch.setattr(gradients, "_of_loop", lambda network: slow("loop", of_loop(network)))
    monkeypatch.setattr(gradients.time, "process_time", lambda: clock["now"])
    told: list[tuple[int, int]] = []
    document = gradients.measure_gradients([subject], 3, lambda *done: told.append(done))
    assert [(row.net, row.per_second) for row in document.gradients] == [
        ("tiny", 10),
        ("tiny, integers", 10),
    ]
    assert {row.plain_torch for row in document.gradients} == {2.5}
    assert {row.ratio for row in document.gradients} == {4}
    rounds = [asked[i : i + 3] for i in range(0, len(asked), 3)]
    assert [[name for name, _ in one] for one in rounds] == [["twin", "twin", "loop"]] * 4
    assert all(len({x for _, x in one}) == 1 for one in rounds)
    assert len({one[0][1] for one in rounds}) == 4
    assert told[-1] == (3, 3)


def test_a_twin_is_asked_with_the_suites_estimator_and_remembers(subject, monkeypatch) -> None:
    asked = []

    def back(self, run, of_logits, estimator, memory):
        asked.append((estimator, memory))

    monkeypatch.setattr(Twin, "back", back)
    monkeypatch.setattr(gradients, "is_installed", lambda name: False)
    document = gradients.measure_gradients([subject], 1)
    assert {estimator for estimator, _ in asked} == {SP_QUICK_1.members[0].estimator}
    trained, on_chip = asked[0::2], asked[1::2]
    assert trained[0][1] is trained[1][1] is not on_chip[0][1]
    assert [(row.plain_torch, row.ratio) for row in document.gradients] == [(None, None)] * 2


def test_the_command_prints_the_document_and_a_table(subject, monkeypatch, capsys) -> None:
    monkeypatch.setattr(gradients, "subjects", lambda wanted: iter([subject]))
    assert run(["bench", "--gradients", "--quick", "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert set(document) == {"gradients"}
    assert [row["net"] for row in document["gradients"]] == ["tiny", "tiny, integers"]
    for row in document["gradients"]:
        assert set(row) == {"net", "per_second", "plain_torch", "ratio"}
        assert row["per_second"] > 0
    assert "tiny, integers" in err
    assert "loop in torch" in err


def test_networks_are_named_by_the_shipped_ones(capsys) -> None:
    first, *_ = shipped = list(zoo_networks())
    found = list(gradients.subjects([first]))
    assert [one.name for one in found] == [first]
    assert found[0].on_chip is not None
    with pytest.raises(InputError, match="no network 'vgg6'") as error:
        list(gradients.subjects(["vgg6"]))
    assert all(name in str(error.value) for name in shipped)
    assert run(["bench", "--gradients", "--threads", "2"]) == 2
    assert "--gradients and --threads exclude each other" in capsys.readouterr().err
