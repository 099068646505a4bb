"""What the profile "loihi" asks of a conversion: networks that leave our own processes behind.

Lava's neuron has one leak and one threshold per population, and lava-dl's ``.net`` files count
biases in whole units of weight times spike. Within that nothing else of the conversion changes:
scales are searched, weights rounded and ranges certified as ever.
"""

from __future__ import annotations

from spikeproof import fixedpoint as fx
from spikeproof.errors import UnsupportedError, list_problems
from spikeproof.ir.floats import FloatNetwork, Lif

BOARD_BIAS_EXPONENT = fx.CURRENT_SHIFT
"""With this exponent a bias counts units of weight times spike: what a ``.net`` holds, and what a
graded spike from the host adds to v when it stands for a host-computed current."""


def check_for_board(folded: FloatNetwork) -> None:
    """Raise if a folded network has neurons that no standard process can run.

    Raises:
        UnsupportedError: some gains change with the step; all such layers are named.
    """
    problems = [
        f"{node.name}: its gain changes with the step, so leak and threshold do, too (DLIF); "
        "Lava's LIF and a .net have one each, a chip would need a neuron program of its own"
        for node in folded.nodes
        if isinstance(node, Lif) and node.gain is not None
    ]
    if problems:
        raise UnsupportedError(
            list_problems(problems),
            where=f"{folded.name}, profile 'loihi'",
            hint='Train with plain LIF neurons (neuron = "lif" in the recipe) or a gain that is '
            "constant over time, or convert with the default profile for the CPU.",
        )
