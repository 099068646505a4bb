"""The frontend of lava-dl's ``.net`` files; what reads them is imported when one is read."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeproof.errors import InputError, list_problems
from spikeproof.io.formats import ChipFrontend, Described

if TYPE_CHECKING:
    from spikeproof.io.bundle import Bundle

COLUMNS = (
    "layer",
    "kind",
    "neuron",
    "shape",
    "synapses",
    "weights",
    "iDecay",
    "vDecay",
    "vThMant",
    "headroom_bits",
)


def load(path: Path, data: Path | None = None, **options: Any) -> Bundle:
    """Read a file as a bundle (see netx_bundle); options as in NetxOptions.

    Raises:
        InputError: an option is unknown or of another type; all such are listed.
    """
    from pydantic import TypeAdapter, ValidationError

    from spikeproof.document.values import message_of
    from spikeproof.formats.netx.bundle import NetxOptions, netx_bundle

    try:
        chosen = TypeAdapter(NetxOptions).validate_python(options)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc']))}: {message_of(item)}, found {item['input']!r}"
            for item in error.errors()
        ]
        raise InputError(
            list_problems(problems),
            where=str(path),
            hint=f"A .net file leaves open: {', '.join(f.name for f in fields(NetxOptions))}.",
        ) from error
    return netx_bundle(path, chosen, data)


def inspect(path: Path, input_shape: tuple[int, int, int] | None) -> Described:
    """Read a file as it would be converted, with one step where it does not say how many."""
    from spikeproof.certify.overflow import possible_overflows
    from spikeproof.engines.memory import check_analysis
    from spikeproof.formats.netx.bundle import NetxOptions, netx_table
    from spikeproof.formats.netx.file import read_raw

    says = "tSample" in read_raw(path).simulation
    network = NetxOptions(None if says else 1, input_shape=input_shape).load(path)
    check_analysis(network)
    warnings = [overflow.sentence for overflow in possible_overflows(network)] if says else []
    return Described(network, netx_table(network), network.timesteps if says else None, warnings)


def is_netx(path: Path) -> bool:
    """Tell by its content whether a file may be a ``.net``."""
    from spikeproof.formats.netx import file

    return file.is_netx(path)


NETX = ChipFrontend("lava-dl .net", is_netx, load, COLUMNS, inspect)
