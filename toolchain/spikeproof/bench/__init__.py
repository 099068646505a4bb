"""Measure engines against each other, against other people's simulators, and the machine."""
