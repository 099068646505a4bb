"""What Intel's chips can hold of a network, for everybody who asks before going there."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from spikeproof.ir.chip import ChipNetwork
from spikeproof_lava import hardware
from spikeproof_lava.limits import LOWER_BOUNDS, chip_fit


class Loihi:
    """Loihi 1 and 2, by their published limits; nothing of Lava is needed."""

    note = LOWER_BOUNDS
    """How much such an estimate is worth."""

    def problems(self, network: ChipNetwork) -> list[str]:
        """List what in a network cannot go to the chip with standard processes."""
        return hardware.problems(network)

    def fit(self, network: ChipNetwork) -> list[dict[str, Any]]:
        """Compare a network with the limits of the chips; one row per chip and resource."""
        rows = []
        for row in chip_fit(network):
            numbers = asdict(row)
            source = numbers.pop("source")
            rows.append({**numbers, "fits": row.fits, "source": source})
        return rows


LOIHI = Loihi()
