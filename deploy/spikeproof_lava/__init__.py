"""Run chip networks on Lava and, where Intel's extension is installed, on Loihi."""
