"""What holds for every input: ranges of the chip's state, overflow."""
