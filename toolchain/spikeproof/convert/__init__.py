"""Steps from the trained network to the chip network, each with a declared, checked relation."""
