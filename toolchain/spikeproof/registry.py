"""One form for everything that can be added in a file of its own: by name, imported when used.

What ships stands in the registry's table as ``module:attribute``; other distributions add to it
through an entry point of the registry's group, and a test or notebook with :meth:`Registry.add`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from spikeproof.errors import InputError

T = TypeVar("T")


@dataclass(eq=False)
class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        what: the kind, as messages name it: ``engine``.
        group: of the entry points that add to it.
        shipped: ``module:attribute`` by name; the first come first wherever they are listed.
        where: the place an error about a name is put: the option that takes it.
    """

    what: str
    group: str
    shipped: dict[str, str]
    where: str = ""
    _added: dict[str, T] = field(default_factory=dict, init=False, repr=False)

    def names(self) -> list[str]:
        """Return all names: shipped, of other distributions in alphabetical order, added."""
        return list(dict.fromkeys([*self.shipped, *sorted(self._entries), *self._added]))

    def get(self, name: str) -> T:
        """Return what is registered as ``name``, imported now.

        Raises:
            InputError: nothing is; the names that exist are listed.
        """
        if name in self._added:
            return self._added[name]
        if name in self.shipped:
            module, _, attribute = self.shipped[name].partition(":")
            return cast(T, getattr(import_module(module), attribute))
        if name in self._entries:
            return cast(T, self._entries[name].load())
        near = get_close_matches(name, self.names(), n=1)
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"no {self.what} {name!r}{guess}",
            where=self.where,
            hint=f"{self.what.capitalize()}s installed here: {', '.join(self.names())}.",
        )

    def all(self) -> dict[str, T]:
        """Return everything by name, imported now."""
        return {name: self.get(name) for name in self.names()}

    def add(self, name: str, thing: T) -> None:
        """Register something for this process only.

        Raises:
            ValueError: the name is taken.
        """
        if name in self.names():
            raise ValueError(f"there is a {self.what} {name!r} already")
        self._added[name] = thing

    def remove(self, name: str) -> None:
        """Take back what :meth:`add` registered."""
        del self._added[name]

    @cached_property
    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.group)}

    def __contains__(self, name: Any) -> bool:
        return name in self.shipped or name in self.names()
