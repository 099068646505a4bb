"""The frame names the failing pass and tells a bad network from a bad pass."""

from __future__ import annotations

import pytest

from spikeproof.convert.base import Condition, Pass, PassError, apply_pass
from spikeproof.convert.conversion import Relation, sequence
from spikeproof.errors import InputError, UnsupportedError
from spikeproof.ir.floats import FloatNetwork

EVEN = Condition[int]("an even number", lambda n: [f"{n} is odd"] if n % 2 else [])


def test_a_missing_requirement_refuses_the_network() -> None:
    step = Pass("halve", Relation("exact"), lambda n: n // 2, requires=(EVEN,))
    assert apply_pass(step, 4) == 2
    with pytest.raises(
        UnsupportedError, match=r"pass 'halve'.*3 is odd \(needed: an even number\)"
    ):
        apply_pass(step, 3)


def test_a_broken_promise_is_the_fault_of_the_pass() -> None:
    step: Pass[int, int] = Pass("increment", Relation("exact"), lambda n: n + 1, ensures=(EVEN,))
    with pytest.raises(PassError, match=r"pass 'increment'.*breaks what it ensures: 5 is odd"):
        apply_pass(step, 4)
    assert PassError("x").exit_code == 4


def test_errors_inside_a_pass_keep_their_type_and_place() -> None:
    def refuse(n: int) -> int:
        raise InputError("too large", where="layer l1", hint="make it smaller")

    with pytest.raises(InputError, match=r"pass 'refuse', layer l1: too large\n.*make it smaller"):
        apply_pass(Pass("refuse", Relation("exact"), refuse), 1)


def test_an_unexpected_failure_is_wrapped_and_named() -> None:
    step: Pass[int, int] = Pass("divide", Relation("exact"), lambda n: n // 0)
    with pytest.raises(PassError, match=r"pass 'divide'.*ZeroDivisionError"):
        apply_pass(step, 1)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_stage_promises_what_the_weakest_of_its_passes_does(
    swapped: bool, tiny_network: FloatNetwork
) -> None:
    strong, weak = Relation("exact"), Relation("bounded", 0.5, "v")
    fold, gain = (weak, strong) if swapped else (strong, weak)
    networks = dict.fromkeys(("folded", "quantised", "chip"), tiny_network)
    promised = {"fold": fold, "gain": gain, "quantise": Relation("behavioural")}
    first, folded, quantised, chip = sequence(tiny_network, networks, promised)
    assert (first.relation, folded.relation) == (None, weak)
    assert quantised.relation == promised["quantise"]
    assert chip.relation is None, "nothing is declared of its pass"
    del promised["gain"]
    assert sequence(tiny_network, networks, promised)[1].relation is None
