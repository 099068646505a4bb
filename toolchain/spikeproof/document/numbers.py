"""Format numbers for people: grouped, rounded to what they carry, and never ``nan``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from spikeproof.text import accuracy_figure

MISSING = "\N{EN DASH}"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Formatter = Callable[[float | None], str]


def finite(value: object) -> float | None:
    """Return ``value`` as a finite float, or None for None, NaN, infinity and non-numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _signed(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def integer(value: float | None) -> str:
    """Format a count: ``1,234,567``."""
    number = finite(value)
    if number is None:
        return MISSING
    return _signed(f"{value if isinstance(value, int) else round(number):,}")


def fixed(value: float | None, digits: int = 2) -> str:
    """Format with a fixed number of decimals, so that a column lines up."""
    number = finite(value)
    return MISSING if number is None else _signed(f"{number + 0.0:,.{digits}f}")


def significant(value: float | None, digits: int = 3) -> str:
    """Format with ``digits`` significant digits; powers of ten outside 1e-4 .. 1e7."""
    number = finite(value)
    if number is None:
        return MISSING
    if number == 0:
        return "0"
    exponent = math.floor(math.log10(abs(number)))
    if exponent < -4 or exponent > 6:
        mantissa, _, power = f"{number:.{digits - 1}e}".partition("e")
        raised = str(int(power)).translate(SUPERSCRIPT)
        return f"{_signed(mantissa)}\N{MULTIPLICATION SIGN}10{raised}"
    return _signed(f"{number:,.{max(0, digits - 1 - exponent)}f}")


def column(values: Sequence[float | None], digits: int = 2, most: int = 6) -> list[str]:
    """Format a column with common decimals: ``digits`` for its smallest value, at most ``most``."""
    sizes = [abs(v) for raw in values if (v := finite(raw))]
    places = digits - 1 - math.floor(math.log10(min(sizes))) if sizes else 0
    return [fixed(v, min(max(places, 0), most)) if finite(v) else significant(v) for v in values]


def percent(value: float | None, digits: int = 1) -> str:
    """Format a fraction as a bare percentage (the unit stands in the column head)."""
    number = finite(value)
    return fixed(None if number is None else 100 * number, digits)


def accuracy(value: float | None) -> str:
    """Format an accuracy as a bare percentage, as it stands everywhere."""
    number = finite(value)
    return MISSING if number is None else accuracy_figure(number)


def rate(value: float | None) -> str:
    """Format a small fraction in percent without rounding a rare event to zero."""
    number = finite(value)
    if number is None:
        return MISSING
    return significant(100 * number, 2) if abs(number) < 0.1 else percent(number)


def points(value: float | None, digits: int = 2) -> str:
    """Format a difference of two fractions in percentage points, always with its sign."""
    number = finite(value)
    if number is None:
        return MISSING
    text = f"{100 * number:+.{digits}f}"
    return "0." + "0" * digits if float(text) == 0 else _signed(text)


def p_value(value: float | None) -> str:
    """Format a p-value with three decimals, or ``< 0.001``."""
    number = finite(value)
    if number is None:
        return MISSING
    return "< 0.001" if number < 0.001 else f"{number:.3f}"


def interval(pair: Sequence[float | None] | None, form: Formatter) -> str:
    """Format an interval as ``[low, high]``."""
    if not pair or finite(pair[0]) is None or finite(pair[-1]) is None:
        return MISSING
    return f"[{form(pair[0])}, {form(pair[-1])}]"


def anything(value: object) -> str:
    """Format a value of unknown type: a figure of a check, a cell of the conversion table."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return integer(value) if value.is_integer() and abs(value) < 1e15 else significant(value, 4)
    if isinstance(value, (list, tuple)):
        return _span(value)
    return str(value)


def _span(values: Sequence[object]) -> str:
    numbers = [n for v in values if (n := finite(v)) is not None]
    if not values:
        return MISSING
    if len(numbers) < len(values) or len(values) <= 3:
        return ", ".join(anything(v) for v in values)
    low, high = min(numbers), max(numbers)
    return anything(low) if low == high else f"{anything(low)} … {anything(high)}"
