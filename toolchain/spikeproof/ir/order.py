"""In which order the nodes of a graph run, and how long what each of them sends has to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter
from heapq import heapify, heappop, heappush
from typing import NamedTuple

Sources = Sequence[Sequence[int]]
"""The positions of those that feed each node; -1 is the input."""


class Order(NamedTuple):
    """How a graph is run.

    parts: nodes on a common cycle, which run together step by step, and all others alone; each part
    comes after all that feed it. spent: what no later part reads, by part; everything is in one of
    them, the input (-1) as well.
    """

    parts: tuple[tuple[int, ...], ...]
    spent: tuple[tuple[int, ...], ...]


def run_order(sources: Sources) -> Order:
    """Return how a graph is run, in time proportional to its edges (but for a logarithm)."""
    parts = components(sources)
    last = {-1: 0}
    for place, part in enumerate(parts):
        last |= dict.fromkeys(part, place)
        last |= {source: place for i in part for source in sources[i]}
    spent: list[list[int]] = [[] for _ in parts]
    for i in sorted(last) if parts else ():
        spent[last[i]].append(i)
    return Order(tuple(parts), tuple(map(tuple, spent)))


def components(sources: Sources) -> list[tuple[int, ...]]:
    """Split a graph into parts that can run one after another, all steps of each at once.

    Nodes on a common cycle stay together, in the order of the list: they have to run step by step.
    A part comes after all parts that feed it, and of several that could be next the first listed.
    """
    if all(source < i for i, feeding in enumerate(sources) for source in feeding):
        return [(i,) for i in range(len(sources))]  # nothing leads back
    first = _first_on_cycle(sources)
    feeding: dict[int, set[int]] = {one: set() for one in first}
    members: dict[int, list[int]] = {one: [] for one in first}
    for i, (one, sends) in enumerate(zip(first, sources, strict=True)):
        members[one].append(i)
        feeding[one].update(first[source] for source in sends if source >= 0)
    sorter = TopologicalSorter({one: others - {one} for one, others in feeding.items()})
    sorter.prepare()
    ready, ordered = list(sorter.get_ready()), list[tuple[int, ...]]()
    heapify(ready)
    while ready:
        one = heappop(ready)
        ordered.append(tuple(members[one]))
        sorter.done(one)
        for after in sorter.get_ready():
            heappush(ready, after)
    return ordered


def _first_on_cycle(sources: Sources) -> list[int]:
    """Return for each node the first of those that lie on a common cycle with it.

    Source: R. Tarjan, "Depth-first search and linear graph algorithms", 1972; the way back is a
    list, for recursion would end at a thousand nodes. (SciPy has it, too: a second to import.)
    """
    first = [-1] * len(sources)
    number = [-1] * len(sources)
    count, unfinished = 0, list[int]()
    lowest = number.copy()
    for root in range(len(sources)):
        way = [] if number[root] >= 0 else [(root, iter(sources[root]))]
        while way:
            node, left = way[-1]
            if number[node] < 0:
                number[node] = lowest[node] = count
                count += 1
                unfinished.append(node)
            source = next((s for s in left if s >= 0 and first[s] < 0), None)
            if source is None:
                way.pop()
                if way:
                    lowest[way[-1][0]] = min(lowest[way[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    cycle = [unfinished.pop()]
                    while cycle[-1] != node:
                        cycle.append(unfinished.pop())
                    earliest = min(cycle)
                    for one in cycle:
                        first[one] = earliest
            elif number[source] < 0:
                way.append((source, iter(sources[source])))
            else:
                lowest[node] = min(lowest[node], number[source])
    return first
