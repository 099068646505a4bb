"""Neurons, networks, losses, data sets and training of robust spiking networks (needs torch)."""
