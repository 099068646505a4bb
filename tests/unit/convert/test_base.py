"""The frame names the failing pass and tells a bad network from a bad pass."""

from __future__ import annotations

import pytest

from spikeproof.convert.base import Condition, Pass, PassError, apply_pass
from spikeproof.convert.conversion import Relation
from spikeproof.errors import InputError, UnsupportedError

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
