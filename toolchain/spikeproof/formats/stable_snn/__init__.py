"""State dicts of the reference code of "Robust Stable Spiking Neural Networks" (ICML 2024)."""
