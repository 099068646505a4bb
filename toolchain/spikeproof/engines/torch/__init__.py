"""The chip's integers on torch, on a CPU or a GPU."""
