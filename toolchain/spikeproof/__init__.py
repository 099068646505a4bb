"""spikeproof: trained spiking networks as chip integers, with the evidence of what changed."""

__version__ = "0.1.0"
