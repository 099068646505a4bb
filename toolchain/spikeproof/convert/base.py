"""The frame every pass runs in: conditions before and after, and a declared relation.

A pass is a pure function from one network to another. The frame checks what it requires,
runs it, checks what it ensures, and names it in every error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from spikeproof.convert.conversion import Relation
from spikeproof.errors import SpikeproofError, UnsupportedError, list_problems

A = TypeVar("A")
B = TypeVar("B")


class PassError(SpikeproofError):
    """A pass broke its own promise: a fault of this program, not of the user's network."""

    exit_code = 4


@dataclass(frozen=True)
class Condition(Generic[A]):
    """A property of a network: ``problems`` lists where it does not hold (empty: it does)."""

    text: str
    problems: Callable[[A], list[str]]


@dataclass(frozen=True)
class Pass(Generic[A, B]):
    """One step of the conversion.

    requires: conditions on the input; if one fails the network is refused (UnsupportedError).
    ensures: conditions on the output; if one fails the pass is at fault (PassError).
    relation: how the output relates to the input; the verifier checks it on real data.
    """

    name: str
    relation: Relation
    run: Callable[[A], B]
    requires: tuple[Condition[A], ...] = ()
    ensures: tuple[Condition[B], ...] = ()


def apply_pass(step: Pass[A, B], network: A) -> B:
    """Check, run and check one pass.

    Raises:
        UnsupportedError: the network lacks a property the pass requires (all are listed).
        PassError: the pass failed unexpectedly or its result lacks a property it ensures.
        SpikeproofError: whatever the pass itself raised, with the pass named in it.
    """
    missing = _failing(step.requires, network)
    if missing:
        raise UnsupportedError(list_problems(missing), where=_place(step, network))
    try:
        result = step.run(network)
    except SpikeproofError as error:
        place = _place(step, network) + (f", {error.where}" if error.where else "")
        raise type(error)(error.what, where=place, hint=error.hint) from error
    except Exception as error:
        raise PassError(
            f"failed with {type(error).__name__}: {error}",
            where=_place(step, network),
            hint="please report this with the network",
        ) from error
    broken = _failing(step.ensures, result)
    if broken:
        raise PassError(
            f"its result breaks what it ensures: {list_problems(broken)}",
            where=_place(step, network),
            hint="please report this with the network",
        )
    return result


def _failing(conditions: tuple[Condition[Any], ...], network: Any) -> list[str]:
    return [f"{p} (needed: {c.text})" for c in conditions for p in c.problems(network)]


def _place(step: Pass[Any, Any], network: Any) -> str:
    return f"{getattr(network, 'name', 'network')}, pass {step.name!r}"
