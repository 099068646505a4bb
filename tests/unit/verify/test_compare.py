"""V1: any difference is found, and nothing compared is never a pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikeproof.engines.fast import FastEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.trace import LayerTrace
from spikeproof.errors import TargetError, UnsupportedError
from spikeproof.verify.checks.bit_exact import compare_engines
from spikeproof.verify.compare import compare_traces, judge_comparison
from spikeproof.verify.verdict import Verdict


class Broken(FastEngine):
    """An engine that runs another network than it was given, or spoils its answer."""

    name = "broken"

    def __init__(self, network: Any = None, spoil: Any = None) -> None:
        super().__init__()
        self._network, self._spoil = network, spoil

    def run(self, network: Any, x: Any, **options: Any) -> Any:
        result = super().run(self._network or network, x, **options)
        if self._spoil:
            result = replace(result, traces=self._spoil(dict(result.traces)))
        return result


def _verdict(case: Any, engine: Any) -> tuple[str, dict[str, Any]]:
    row = compare_engines(case.bundle.network, case.x[:4], [engine]).engines[0]
    return row.verdict, row


@pytest.mark.parametrize("kind", ["case", "table_case"])
def test_fast_engine_equals_the_reference(kind: str, request: Any) -> None:
    found, row = _verdict(request.getfixturevalue(kind), FastEngine())
    assert found == "pass"
    # every u, v, s of 4 samples, 4 steps: 36 and 16 spiking neurons, and u, v of 3 readouts
    assert [layer.values for layer in row.layers] == [16 * 36 * 3, 16 * 16 * 3, 16 * 3 * 2]


@pytest.mark.parametrize(
    ("layer", "part", "change"),
    [
        ("l2", "synapse", lambda p: {"weight": _bumped(p.weight)}),
        ("l1", "neuron", lambda p: {"threshold": p.threshold // 2}),
        ("l2", "neuron", lambda p: {"bias": np.zeros_like(p.bias)}),
        ("l2", "neuron", lambda p: {"dv": p.dv + 1}),
        ("out", "synapse", lambda p: {"weight": _bumped(p.weight)}),
    ],
)
def test_one_changed_parameter_fails(
    case: Any, with_layer: Any, layer: str, part: str, change: Any
) -> None:
    network = case.bundle.network
    old = next(getattr(x, part) for x in network.layers if x.name == layer)
    found, row = _verdict(case, Broken(with_layer(network, layer, part, **change(old))))
    assert found == "fail"
    assert row.divergence.found and row.divergence.layer == layer


def _bumped(weight: Any) -> Any:
    changed = weight.copy()
    changed[0] += 2  # whatever input is active: one neuron's weights
    return changed


def test_one_changed_value_is_named(case: Any) -> None:
    def spoil(traces: Any) -> Any:
        v = traces["out"].v.copy()
        v[2, 1, 0] += 1
        return {**traces, "out": replace(traces["out"], v=v)}

    found, row = _verdict(case, Broken(spoil=spoil))
    assert found == "fail"
    assert sum(layer.mismatches for layer in row.layers) == 1
    first = row.divergence
    assert (first.layer, first.sample, first.step, first.neuron) == ("out", 2, 1, [0])
    assert first.values.second == first.values.first + 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "l2"}, "l2: layer is missing"),
        (lambda t: {**t, "more": t["l1"]}, "more: layer is not expected"),
        (lambda t: {**t, "l1": replace(t["l1"], u=t["l1"].u[:, 1:])}, "l1/u: has shape"),
        (lambda t: {**t, "l1": replace(t["l1"], s=None)}, "l1/s: missing"),
        (lambda t: {**t, "l1": replace(t["l1"], v=t["l1"].v * 1.0)}, "expected integers"),
    ],
)
def test_incomparable_traces_are_an_error(case: Any, spoil: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        _verdict(case, Broken(spoil=spoil))


def test_all_problems_are_named_at_once(case: Any) -> None:
    traces = ReferenceEngine().run(case.bundle.network, case.x[:1], trace=True).traces
    with pytest.raises(TargetError, match=r"(?s)l1.*missing.*l2.*missing"):
        compare_traces(traces, {"out": traces["out"]})


def test_nothing_compared_is_a_fail() -> None:
    empty = np.zeros((0, 4, 2), np.int32)
    trace = {"l1": LayerTrace(empty, empty, None)}
    assert judge_comparison([]) is Verdict.FAIL
    assert judge_comparison(compare_traces(trace, trace)) is Verdict.FAIL


def test_engine_that_refuses_is_an_error(case: Any) -> None:
    class Refusing(FastEngine):
        def problems(self, network: Any) -> list[str]:
            return ["no such synapse here"]

    with pytest.raises(UnsupportedError, match="no such synapse"):
        _verdict(case, Refusing())
