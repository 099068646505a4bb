"""Errors that say what is wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class SpikeproofError(Exception):
    """Report a problem the user can act on.

    Args:
        what: what was found and what was expected.
        where: the place: a file, a layer, a neuron, a step.
        hint: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self._say(what, where, hint)

    def _say(self, what: str, where: str | None, hint: str | None) -> None:
        self.what, self.where, self.hint = what, where, hint
        shown = (where or "").replace("\n", "\\n")  # a file's name may not begin a line of its own
        place = f"{shown}: " if where else ""
        super().__init__(f"{place}{what}" + (f"\n  -> {hint}" if hint else ""))

    def advise(self, hint: str) -> None:
        """Replace the hint: for who knows more than where it was raised."""
        self._say(self.what, self.where, hint)

    def reword(self, say: Callable[[str], str]) -> None:
        """Put what it says into other words: for who calls from elsewhere."""
        self._say(say(self.what), self.where and say(self.where), self.hint and say(self.hint))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip between processes (keyword arguments are lost by default)."""
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(
    kind: type[SpikeproofError], what: str, where: str | None, hint: str | None
) -> SpikeproofError:
    return kind(what, where=where, hint=hint)


class InputError(SpikeproofError):
    """A file, an array or an option has the wrong form, shape, type or range."""


class ShapeError(InputError):
    """Samples have another shape than the network takes; ``found``: theirs."""

    found: tuple[int, ...] = ()


class GraphError(SpikeproofError):
    """A network description is inconsistent: shapes, names, numbers, order of nodes."""


class UnsupportedError(SpikeproofError):
    """A network cannot be mapped to the chip; every obstacle is named at once."""


class RangeError(SpikeproofError):
    """A network could leave the chip's number ranges for some input."""


class BundleError(SpikeproofError):
    """A bundle or checkpoint file is damaged, altered, or of another schema version."""


class ConversionError(SpikeproofError):
    """A bundle that names a checkpoint as its source is not a network made from it (V2 fails)."""

    exit_code = 1


class MissingExtraError(SpikeproofError):
    """An optional dependency (torch, Lava) is needed and absent."""


class TargetError(SpikeproofError):
    """A target (Lava, Loihi) failed, timed out, or is not available on this machine."""

    exit_code = 4


def problems_of(what: str) -> list[str]:
    """Take apart what :func:`list_problems` made."""
    head, *rest = what.split("\n  * ")
    return rest or [head]


def list_problems(problems: Sequence[str]) -> str:
    """Format several problems as one message, one per line."""
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems\n" + "\n".join(f"  * {p}" for p in problems)
