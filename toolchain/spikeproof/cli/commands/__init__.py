"""One module per command; each is loaded only when its command is called."""

COMMANDS = {
    "demo": "Convert, run and verify a shipped network in a minute.",
    "train": "Train a network from a recipe; resumes when interrupted.",
    "inspect": "Show what is in a checkpoint, recipe or bundle.",
    "convert": "Turn a checkpoint into a bundle of chip integers.",
    "run": "Run a bundle on images with one of the engines.",
    "verify": "Compare a bundle with its checkpoint; write a report.",
    "attack": "Attack a network with a named suite; say what is left.",
    "faults": "Break weights, neurons, spikes; compare both networks.",
    "export": "Write a bundle in another format: ONNX, or Lava's .net.",
    "fuzz": "Compare all engines on random networks; shrink what differs.",
    "bench": "Measure the engines against each other and the machine.",
    "report": "Make the HTML page and card of a run from its JSON.",
    "doctor": "Tell what works on this machine, and what fixes gaps.",
}
"""What each command does, in a line; the order is that of the help."""
