"""Typed access to the datasets of one layer; every wrong value is noted, none raises."""

from __future__ import annotations

from spikeproof.formats.netx.file import RawLayer
from spikeproof.formats.netx.rules import Ints, integers, odd_value


class LayerValues:
    """Take values out of a layer; what is left at the end was not understood."""

    def __init__(self, raw: RawLayer, problems: list[str]) -> None:
        self.raw, self._problems = raw, problems
        self._open = set(raw.values)

    def __contains__(self, key: str) -> bool:
        return key in self.raw.values

    @property
    def has_neuron(self) -> bool:
        """Tell whether the layer has a neuron of its own."""
        return self.raw.has_neuron

    def refuse(self, what: str) -> None:
        """Note a problem of this layer."""
        self._problems.append(f"{self.raw.label}: {what}")

    def skip(self, *keys: str) -> None:
        """Mark entries that nothing depends on."""
        self._open -= set(keys)

    def skip_below(self, prefix: str) -> None:
        """Mark the entries of a group, whatever they are."""
        self.skip(*(key for key in self.raw.values if key.startswith(prefix)))

    def refuse_rest(self) -> None:
        """Refuse every entry nobody asked for: it may change what the network does."""
        if self._open:
            self.refuse(f"has entries this reader does not know: {', '.join(sorted(self._open))}")

    def array(self, key: str) -> Ints | None:
        """Return integers of any shape; None if absent or wrong (then noted)."""
        self._open.discard(key)
        value = self.raw.values.get(key)
        if value is None:
            return None
        found = None if isinstance(value, str) else integers(value)
        if found is None:
            odd = f"text {value!r}" if isinstance(value, str) else odd_value(value)
            self.refuse(f"{key} holds {odd}; expected whole numbers")
        return found

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int | None:
        """Return one number; an array is accepted if all its values are equal."""
        if key not in self and default is not None:
            return default
        value = self.one(key)
        if value is not None and not low <= value <= high:
            self.refuse(f"{key} is {value}, the chip takes {low}..{high}")
            return None
        return value

    def one(self, key: str) -> int | None:
        """Return one number of any size; an array is accepted if all its values are equal."""
        if key not in self:
            self.refuse(f"has no {key}")
            return None
        found = self.array(key)
        if found is None:
            return None
        if (found != found.flat[0]).any():
            self.refuse(f"{key} differs between neurons; one value per layer is supported")
            return None
        return int(found.flat[0])

    def pair(self, key: str, default: int) -> tuple[int, int]:
        """Return (h, w); one number stands for both."""
        found = self.array(key) if key in self else None
        if found is None:
            return default, default
        if found.size > 2 or found.ndim > 1 or (found < 0).any() or (found > 1 << 20).any():
            self.refuse(f"{key} is {found.tolist()}, expected (h, w)")
            return default, default
        return int(found.flat[0]), int(found.flat[-1])

    def fixed(self, key: str, expected: int, meaning: str) -> None:
        """Refuse an entry unless it is absent or all of it equals ``expected``."""
        found = self.array(key)
        if found is not None and (found != expected).any():
            self.refuse(f"{key} is not {expected}: {meaning}")

    def text(self, key: str) -> str:
        """Return a text, "" if absent."""
        self._open.discard(key)
        value = self.raw.values.get(key, "")
        return value if isinstance(value, str) else ""
