"""What a document shows: facts with their source, and tables of plain text cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from spikeproof.document import numbers as n

_SINGULAR = {
    "values differ": "value differs",
    "values compared": "value compared",
    "images": "image",
    "layers": "layer",
    "steps": "step",
    "pairs of stages": "pair of stages",
    "perturbations": "perturbation",
    "comparisons": "comparison",
    "states": "state",
    "states compared in runs that force ties": "state compared in runs that force ties",
}


# --- facts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fact:
    """A number, what it counts, and its source.

    ``source`` is a path below a check, ``V7.data.rows.3.difference``; ``len``, ``sum`` or
    ``count`` before it say that the number is a length, a sum or a count of true entries.
    """

    value: str
    label: str
    source: str
    unit: str = ""

    @property
    def words(self) -> str:
        """Return the label in the number that the value asks for."""
        return _SINGULAR.get(self.label, self.label) if self.value == "1" else self.label


def length(items: Sequence[object], label: str, path: str) -> list[Fact]:
    """Count a list; nothing where it is empty."""
    return [Fact(n.integer(len(items)), label, f"len {path}")] if items else []


def most_images(samples: Sequence[int | None], path: str) -> list[Fact]:
    """Return the largest number of images; ``path`` has {} where its index belongs."""
    found = extreme((v, i) for i, v in enumerate(samples) if v is not None)
    return [] if found is None else [Fact(n.integer(samples[found]), "images", path.format(found))]


def extreme(pairs: Iterable[tuple[float, int]]) -> int | None:
    """Return the index of the largest value, the first one of equals; None without any."""
    best = max(pairs, default=None, key=lambda pair: (pair[0], -pair[1]))
    return None if best is None else best[1]


def allowed(limit: float | None, sign: str, unit: str) -> str:
    """Write a limit behind a label: ``; allowed: ±1 points``; empty where there is none."""
    share = n.finite(limit)
    return "" if share is None else f"; allowed: {sign}{100 * share:g} {unit}"


# --- tables --------------------------------------------------------------------------------------

RowT = TypeVar("RowT")
Kind = Literal["name", "text", "num", "verdict", "plot"]


@dataclass(frozen=True)
class Head:
    """A column: its label, unit and how its cells are set."""

    label: str
    kind: Kind = "num"
    unit: str = ""


@dataclass(frozen=True)
class Line:
    """A row of cells (text, or Markup for a plot), under an optional group heading."""

    cells: tuple[str, ...]
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A caption, columns and rows; empty tables are not shown."""

    caption: str
    head: tuple[Head, ...]
    rows: tuple[Line, ...]

    def __bool__(self) -> bool:
        """Tell whether there is anything to show."""
        return bool(self.rows)


def lines(cells: Sequence[tuple[str, ...]]) -> tuple[Line, ...]:
    """Make ungrouped rows."""
    return tuple(Line(c) for c in cells)


def by_columns(
    caption: str,
    rows: Iterable[RowT],
    *columns: tuple[Head, Callable[[RowT], str]],
    group: Callable[[RowT], str] = lambda _: "",
) -> Table:
    """Make a table from its columns: each a head, and what its cell says of a row.

    ``group``: the heading a row stands under.
    """
    body = (Line(tuple(cell(row) for _, cell in columns), group(row)) for row in rows)
    return Table(caption, tuple(head for head, _ in columns), tuple(body))
