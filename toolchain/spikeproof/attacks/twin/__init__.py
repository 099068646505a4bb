"""Fast gradients: a network in a form whose forward and backward pass are written by hand."""

from spikeproof.attacks.twin.build import chip_twin, float_twin
from spikeproof.attacks.twin.network import Forward, Memory, Twin

__all__ = ["Forward", "Memory", "Twin", "chip_twin", "float_twin"]
