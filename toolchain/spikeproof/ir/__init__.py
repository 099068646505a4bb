"""Two small dialects: the trained network in floats, the chip network in integers."""
