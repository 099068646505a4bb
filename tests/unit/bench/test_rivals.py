"""Who may take part: nobody who gives other numbers, and the absent are named."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.bench.nets import mlp_net
from spikeproof.bench.rivals import agreement, check_exact, line_up, quick_engines, slow_engines
from spikeproof.bench.slow_start import race_slow
from spikeproof.bench.timing import Contender
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.registry import ENGINES
from spikeproof.errors import TargetError


@pytest.fixture(scope="module")
def net():
    return mlp_net((32, 10), timesteps=4, inputs=64)


def test_an_engine_off_by_one_is_refused_and_named(net) -> None:
    def wrong(x):
        logits = NumpyEngine().run(net.network, x).logits
        logits[-1, 3] += 1
        return logits

    with pytest.raises(TargetError, match=r"engine off, network mlp.*1 of 3 samples"):
        check_exact(net, Contender("off", "off", wrong, True))


def test_a_wrong_engine_stops_the_line_up(net, monkeypatch: pytest.MonkeyPatch) -> None:
    right = FastEngine.run

    def wrong(self, network, x, **more):
        found = right(self, network, x, **more)
        found.logits[:] += 1
        return found

    monkeypatch.setattr(FastEngine, "run", wrong)
    with pytest.raises(TargetError, match="engine fast"):
        line_up(net, 1, ["fast"])


def test_only_the_wanted_take_part_and_integer_engines_are_the_exact_ones(net) -> None:
    entered = line_up(net, 1, ["fast", "numpy"])
    assert [c.name for c in entered.contenders] == ["fast", "numpy"]
    assert all(c.exact for c in entered.contenders)
    assert entered.names("torch_float") == []


def test_without_torch_its_contenders_are_absent_with_the_way_to_get_them(
    net, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikeproof.bench import rivals

    monkeypatch.setattr(rivals, "find_spec", lambda name: None)
    entered = line_up(net, 1, ["fast", "torch_float"])
    assert "doctor --install torch" in entered.absent["torch_float"]
    assert [c.name for c in entered.contenders] == ["fast"]


def test_simulators_that_are_not_installed_are_absent_with_the_way_to_get_them(
    net, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")

    monkeypatch.setattr("spikeproof.extras.find_spec", lambda name: None)
    entered = line_up(net, 1, ["torch_snn"])
    assert entered.contenders == ()
    assert "doctor --install bench" in entered.absent["snntorch"]
    assert "lava-dl" in entered.absent["slayer"]


def test_agreement_is_the_share_of_equal_predictions(net) -> None:
    def always_three(x):
        return np.eye(10)[np.full(len(x), 3)]

    def chip(x):
        return NumpyEngine().run(net.network, x).logits

    found = agreement(net, {"three": always_three, "chip": chip})
    assert found["chip"] == 1
    assert found["three"] < 0.5


class Late(NumpyEngine):
    """An engine from elsewhere that starts slowly."""

    name = "late"

    def expected_seconds(self, network, samples: int) -> float:
        return 5.0


def test_every_engine_takes_part_known_by_nothing_but_what_it_can_tell() -> None:
    ENGINES.add("late", Late)
    ENGINES.add("quick", NumpyEngine)
    try:
        assert "late" in slow_engines()
        assert {"fast", "numpy", "quick"} <= set(quick_engines())
        assert not {"late", "reference"} & set(quick_engines())
    finally:
        ENGINES.remove("late")
        ENGINES.remove("quick")


def test_an_engine_that_starts_slowly_is_timed_beside_the_fast_one(net) -> None:
    ENGINES.add("late", Late)
    try:
        fast = line_up(net, 1, ["fast"]).contenders[0]
        rng = np.random.default_rng(0)
        found = race_slow("late", net, fast, 8, rounds=2, seconds=0.01, rng=rng)
    finally:
        ENGINES.remove("late")
    assert len(found.rates) == len(found.beside) == 2
    assert found.ratio.low <= found.ratio.median <= found.ratio.high
