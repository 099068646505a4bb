"""What a public function was given: looked at once, at its border, before any work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from os import PathLike
from pathlib import Path
from reprlib import repr as short_repr
from typing import ParamSpec, TypeVar

import numpy as np

from spikeproof.errors import InputError, SpikeproofError, list_problems
from spikeproof.io.bundle import Bundle
from spikeproof.io.checkpoint import Checkpoint
from spikeproof.io.files import same_file
from spikeproof.io.kinds import Kind, in_the_way
from spikeproof.io.zoo import zoo_networks
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork

P = ParamSpec("P")
T = TypeVar("T")


_OR_NONE = ", or None"


@dataclass(frozen=True)
class Takes:
    """What an argument may be: in words, and how it is told."""

    words: str
    fits: Callable[[object], bool]

    @property
    def optional(self) -> Takes:
        """The same, or None."""
        return Takes(f"{self.words}{_OR_NONE}", lambda found: found is None or self.fits(found))


def _is_path(found: object) -> bool:
    if isinstance(found, str):
        return found != "" and "\0" not in found
    return isinstance(found, PathLike)


def _is_data(found: object) -> bool:
    if isinstance(found, tuple):
        return len(found) == 2
    return _is_path(found) or isinstance(found, list) or hasattr(found, "__array__")


def _are_settings(found: object) -> bool:
    return isinstance(found, Mapping) and all(isinstance(key, str) for key in found)


def _is_shape(found: object) -> bool:
    return (
        isinstance(found, tuple | list) and len(found) == 3 and all(map(_is_whole_from_one, found))
    )


def _is_whole_from_one(found: object) -> bool:
    if isinstance(found, bool) or not isinstance(found, int | np.integer):
        return False
    return int(found) >= 1


PATH = Takes("a path", _is_path)
NETWORK_OR_BUNDLE = Takes("a path or the name of a shipped network", _is_path)
BUNDLE = Takes("a path or a Bundle", lambda found: isinstance(found, Bundle) or _is_path(found))
NETWORK = Takes(
    "a path, the name of a shipped network, or a Checkpoint",
    lambda found: isinstance(found, Checkpoint) or _is_path(found),
)
DATA = Takes("a path, an array x, or a pair (x, y)", _is_data)
NAME = Takes("a name", lambda found: isinstance(found, str))
FLAG = Takes("True or False", lambda found: isinstance(found, bool))
COUNT = Takes("a whole number of 1 or more", _is_whole_from_one)
SHAPE = Takes("(C, H, W), each 1 or more", _is_shape)
SETTINGS = Takes('a dict such as {"samples.pgd": 1000}', _are_settings)


_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
_CALLED = {"set": "settings"}
"""Options whose argument of a public function has another name."""


def speaks_python(function: Callable[P, T]) -> Callable[P, T]:
    """Make the errors of a public function name arguments where they would name options.

    Commands that are quoted whole stay as they are typed.
    """

    @wraps(function)
    def called(*given: P.args, **named: P.kwargs) -> T:
        try:
            return function(*given, **named)
        except SpikeproofError as error:
            error.reword(_in_python)
            raise

    return called


def _in_python(text: str) -> str:
    """Write ``--input-shape`` as ``input_shape``, except between backticks."""

    def name(found: re.Match[str]) -> str:
        return _CALLED.get(found[1], found[1].replace("-", "_"))

    parts = text.split("`")
    return "`".join(p if i % 2 else _OPTION.sub(name, p) for i, p in enumerate(parts))


def check_arguments(function: str, **given: tuple[object, Takes]) -> None:
    """Check what a function was given, by the name of each argument.

    Raises:
        InputError: something is of another type or out of range; all such are named, with what
            was found and what is expected.
    """
    problems = [
        f"{name} is {_seen(found)}, expected {takes.words}"
        for name, (found, takes) in given.items()
        if not takes.fits(found)
    ]
    if problems:
        wrong = [(found, takes) for found, takes in given.values() if not takes.fits(found)]
        ways = [_way(function, found, takes.words.removesuffix(_OR_NONE)) for found, takes in wrong]
        told = [way for way in dict.fromkeys(ways) if way]
        raise InputError(list_problems(problems), where=function, hint=" ".join(told) or None)


def _way(function: str, found: object, words: str) -> str:
    """Say what to give instead; empty where the words of what is expected say it."""
    if words == DATA.words:
        is_dict = isinstance(found, Mapping)
        return 'Take the arrays out of the dict: (d["x"], d["y"]), or d["x"] alone.' * is_dict
    if words == COUNT.words:
        return "None, or leaving it out, takes all samples."
    if words not in (BUNDLE.words, NETWORK.words, NETWORK_OR_BUNDLE.words):
        return ""
    loaded = isinstance(found, Bundle | Checkpoint)
    if loaded and words == NETWORK_OR_BUNDLE.words:
        how = "take its file" if function == "inspect" else "use it as it is"
        return f"It is loaded already: {how}."
    if isinstance(found, Checkpoint):
        return "Convert it first: bundle = spikeproof.convert(checkpoint)."
    if isinstance(found, Bundle):
        return "A Bundle is converted already: give the trained network that it was made from."
    if isinstance(found, ChipNetwork):
        return "Give the Bundle itself, not its network."
    if isinstance(found, FloatNetwork):
        return "Give spikeproof.io.checkpoint.Checkpoint(network)."
    if hasattr(found, "state_dict") or isinstance(found, Mapping):
        return (
            "Modules and state dicts of torch say nothing of neurons and steps. Build the network "
            "as a spikeproof.ir.floats.FloatNetwork from these arrays and give "
            'spikeproof.io.checkpoint.Checkpoint(network), see "Use my own network" in the How-to.'
        )
    if words == BUNDLE.words:
        return 'Give what spikeproof.convert returned, or its file: "net.spk".'
    return 'Give a file, such as "net.ckpt", or the name of a shipped network: ' + (
        f"{', '.join(zoo_networks())}."
    )


def check_places(
    function: str, places: Mapping[Path, Kind], given: Iterable[object], force: bool
) -> None:
    """Refuse to write over what was given, and over files of another kind, as the commands do.

    Args:
        function: that writes.
        places: what will be written where.
        given: its inputs; those that are paths are never written over.
        force: accept files of another kind.

    Raises:
        InputError: something is in the way; everything that is gets a line.
    """
    inputs = [Path(place) for place in given if isinstance(place, str | PathLike)]
    problems = []
    for path, kind in places.items():
        if any(same_file(path, other) for other in inputs):
            found: str | None = "was given as input and is never overwritten"
        else:
            found = in_the_way(path, kind, force=force, told="force=True")
        problems += [] if found is None else [f"{path}: {found}"]
    if problems:
        raise InputError(list_problems(problems), where=function, hint="Choose another place.")


def _seen(found: object) -> str:
    """Show what is short; of the rest the type says enough."""
    if found is None or isinstance(found, str | int | float | np.number):
        return short_repr(found)
    if isinstance(found, tuple):
        return f"a tuple of {len(found)}"
    return f"of type {type(found).__name__}"
