"""What both dialects check alike: names, frame, the chain of shapes."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import numpy as np

from spikeproof.errors import GraphError, list_problems
from spikeproof.ir.shapes import output_shape
from spikeproof.ir.windows import Shape

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LIMIT_TIMESTEPS = 4096
_LIMIT_NEURONS = 1 << 28
"""Far above every chip; a file must not make the reader allocate whatever it claims."""


def frame_problems(name: str, input_shape: Shape, timesteps: int) -> list[str]:
    """List what is wrong with a network's name, input shape and number of steps."""
    problems = []
    if not _NAME.fullmatch(name):
        problems.append(f"network name {name!r} must be letters, digits, '_', '.', '-'")
    if len(input_shape) != 3 or min(input_shape, default=0) < 1:
        problems.append(f"input shape {input_shape} must be three positive numbers (C, H, W)")
    problems += _size_problems("the input", input_shape)
    if not 1 <= timesteps <= _LIMIT_TIMESTEPS:
        problems.append(f"timesteps is {timesteps}, must be 1..{_LIMIT_TIMESTEPS}")
    return problems


def name_problems(names: list[str]) -> list[str]:
    """List node names that are malformed or used twice."""
    problems = [
        f"node name {n!r} must be letters, digits, '_', '.', '-'"
        for n in names
        if not _NAME.fullmatch(n)
    ]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    return problems + ([f"node names are used twice: {', '.join(twice)}"] if twice else [])


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number, Python's or NumPy's."""
    return isinstance(value, int | np.integer)


def next_shape(node: Any, shape: Shape | None, name: str, problems: list[str]) -> Shape | None:
    """Return the shape after a node; a misfit is added to ``problems`` and gives None."""
    if shape is None:
        return None
    try:
        found = output_shape(node, shape)
    except GraphError as error:
        problems.append(f"{name}: {error.what}")
        return None
    too_large = _size_problems(name, found)
    problems += too_large
    return None if too_large else found


def _size_problems(label: str, shape: Shape) -> list[str]:
    size = math.prod(shape)
    if size <= _LIMIT_NEURONS:
        return []
    return [f"{label} of shape {shape} holds {size:,} values; the limit is {_LIMIT_NEURONS:,}"]


def raise_problems(problems: list[str], where: str) -> None:
    """Raise GraphError with all problems, if there are any."""
    if problems:
        raise GraphError(list_problems(problems), where=where)
