"""What the profile "loihi" asks of a conversion: networks that leave our own processes behind.

Lava's neuron has one leak and one threshold per population, and lava-dl's ``.net`` files count
biases in whole units of weight times spike. Within that nothing else of the conversion changes:
scales are searched, weights rounded and ranges certified as ever.
"""

from __future__ import annotations

from typing import Any, Protocol

from spikeproof import fixedpoint as fx
from spikeproof.errors import UnsupportedError, list_problems
from spikeproof.formats.netx.write import netx_problems
from spikeproof.ir.chip import ChipNetwork
from spikeproof.ir.floats import FloatNetwork, Lif
from spikeproof.registry import Registry


class Board(Protocol):
    """A kind of chips, and what they can hold; needs nothing but the network."""

    note: str
    """How much the comparison with its limits is worth."""

    def problems(self, network: ChipNetwork) -> list[str]:
        """List what in a network cannot go to the chip."""
        ...

    def fit(self, network: ChipNetwork) -> list[dict[str, Any]]:
        """Compare a network with published limits.

        Each row has "chip", "resource", "needed", "available", "fits" and "source".
        """
        ...


BOARDS: Registry[Board] = Registry(
    "board", "spikeproof.boards", {"loihi": "spikeproof_lava.board:LOIHI"}
)

BOARD_BIAS_EXPONENT = fx.CURRENT_SHIFT
"""With this exponent a bias counts units of weight times spike: what a ``.net`` holds, and what a
graded spike from the host adds to v when it stands for a host-computed current."""


def check_for_board(folded: FloatNetwork) -> None:
    """Raise if a folded network has neurons that no standard process can run.

    Raises:
        UnsupportedError: some gains change with the step; all such layers are named.
    """
    problems = [
        f"{node.name}: {_not_plain(node)}; a chip would need a neuron program of its own"
        for node in folded.nodes
        if isinstance(node, Lif) and (node.gain is not None or node.general)
    ]
    if problems:
        raise UnsupportedError(
            list_problems(problems),
            where=f"{folded.name}, profile 'loihi'",
            hint='Train with plain LIF neurons (neuron = "lif" in the recipe) or a gain that is '
            "constant over time, or convert with the default profile for the CPU.",
        )


def _not_plain(node: Lif) -> str:
    if node.gain is not None:
        return (
            "its gain changes with the step, so leak and threshold do, too (DLIF); Lava's LIF and "
            "a .net have one each"
        )
    return (
        "its neurons differ from one another, do not begin at 0 or are not reset to 0; Lava's LIF "
        "and a .net have one leak and threshold and that reset"
    )


def check_board_chip(network: ChipNetwork) -> None:
    """Check that a converted network can be written as .net and compiled for Loihi 2.

    Raises:
        UnsupportedError: it cannot; every reason is named.
    """
    found = [*netx_problems(network), *BOARDS.get("loihi").problems(network)]
    if found:
        raise UnsupportedError(
            list_problems(found),
            where=f"{network.name}, profile 'loihi'",
            hint="Nothing was written. Change these layers, or convert without --profile.",
        )


def chip_fit_rows(network: ChipNetwork) -> list[dict[str, Any]]:
    """Compare a network with the published limits of all boards; one row per chip and resource."""
    return [row for board in BOARDS.all().values() for row in board.fit(network)]
