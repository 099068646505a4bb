"""ONNX graphs of the chip's integers, and an engine that runs them."""
