"""The check of an engine's input, where targets find it beside the engines."""

from spikeproof.ir.check_input import check_input

__all__ = ["check_input"]
