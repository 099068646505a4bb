"""Faults of a deployed network: in stored weights, in neurons, and of spikes on their way."""
