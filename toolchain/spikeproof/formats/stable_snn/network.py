"""Build the float network that a state dict of the reference code and its settings stand for."""

from __future__ import annotations

from math import isqrt

import numpy as np

from spikeproof.errors import InputError, list_problems
from spikeproof.formats.stable_snn import layout
from spikeproof.formats.stable_snn.layout import Array, Conv, Pool
from spikeproof.formats.stable_snn.settings import TIMESTEPS, StableSettings
from spikeproof.ir import floats
from spikeproof.ir.check_float import check_float

State = dict[str, Array]
ImageShape = tuple[int, int, int]


def build_network(
    state: State, settings: StableSettings, name: str, where: str
) -> floats.FloatNetwork:
    """Return the network of a state dict, checked.

    Args:
        state: arrays by the names of the reference code.
        settings: what a state dict does not say.
        name: of the network.
        where: the file, for messages.

    Raises:
        InputError: names, shapes or values are not those of the architecture, or contradict the
            settings; all is listed. GraphError: numbers that no network may have.
    """
    architecture = settings.architecture
    found = layout.problems(state, architecture)
    shape, about_image = (None, []) if found else _image(state, settings)
    steps, about_steps = _timesteps(state, settings)
    found += [*_norm_problems(state, settings), *about_image, *about_steps]
    if found or shape is None or steps is None:
        other = layout.better_name(state, architecture)
        raise InputError(
            list_problems(found),
            where=where,
            hint="Give the state dict of the network that --architecture names."
            if other is None
            else f"Its names are those of --architecture {other}.",
        )
    nodes: list[floats.FloatNode] = [*_input_scale(settings)]
    for part in layout.parts(architecture):
        nodes += _nodes(part, state, settings)
    nodes.append(floats.Readout("out"))
    network = floats.FloatNetwork(name, shape, steps, tuple(nodes))
    check_float(network)
    return network


def _input_scale(settings: StableSettings) -> list[floats.InputScale]:
    """Return the scaling of the input; none where it changes nothing."""
    mean, std = np.asarray(settings.mean), np.asarray(settings.std)
    if not mean.size or (not mean.any() and (std == 1).all()):
        return []
    return [floats.InputScale("norm", mean, std)]


def _nodes(part: layout.Part, state: State, settings: StableSettings) -> list[floats.FloatNode]:
    if isinstance(part, Pool):
        return [floats.AvgPool2d(part.name, (2, 2), (2, 2))]
    found: list[floats.FloatNode] = []
    if isinstance(part, Conv):
        weight, bias = state[f"{part.conv}.weight"], state[f"{part.conv}.bias"]
        found.append(floats.Conv2d(part.conv, weight, bias, padding=(1, 1)))
        norm = (
            state[f"{part.norm}.weight"],
            state[f"{part.norm}.bias"],
            state[f"{part.norm}.running_mean"],
            state[f"{part.norm}.running_var"],
        )
        found.append(floats.BatchNorm2d(part.norm, *norm, layout.BATCH_NORM_EPS))
    else:
        if part.linear == "classifier.0":
            found.append(floats.Flatten("flatten"))
        weight, bias = state[f"{part.linear}.weight"], state[f"{part.linear}.bias"]
        found.append(floats.Linear(part.linear, weight, bias))
    if part.neuron is not None:
        gain = state.get(f"{part.neuron}.p")
        # The reference code fires at equality.
        neuron = floats.Lif(part.neuron, settings.leak, settings.threshold, strict=False, gain=gain)
        found.append(neuron)
    return found


def _norm_problems(state: State, settings: StableSettings) -> list[str]:
    """List what does not match of mean and standard deviation and the input's channels."""
    kernels = state.get("layer1.0.weight", np.empty(0))
    if kernels.ndim != 4:  # told already
        return []
    channels = kernels.shape[1]
    return [
        f"--{name} has {len(values)} value(s), the first convolution has {channels} input channels"
        for name, values in (("mean", settings.mean), ("std", settings.std))
        if values and len(values) != channels
    ]


def _image(state: State, settings: StableSettings) -> tuple[ImageShape | None, list[str]]:
    """Return the image's shape, from the settings or else the one square that loses no pixel."""
    channels = int(state["layer1.0.weight"].shape[1])
    found = []
    last = [p for p in layout.parts(settings.architecture) if isinstance(p, Conv)][-1]
    width = int(state[f"{last.conv}.weight"].shape[0])
    inputs = int(state["classifier.0.weight"].shape[1])
    shrink = 2 ** layout.pools(settings.architecture)
    places = inputs // width
    if inputs % width:
        found.append(
            f"classifier.0.weight takes {inputs} values, no multiple of the {width} channels of "
            f"{last.conv}"
        )
    given = settings.input_shape
    if given is not None:
        left = given[1] // shrink * (given[2] // shrink)
        if given[0] != channels or left != places:
            found.append(
                f"--input-shape {' '.join(map(str, given))} leaves {left} place(s) before the "
                f"classifier and has {given[0]} channel(s); the file has {places} and {channels}"
            )
        return (None if found else given), found
    side = isqrt(places)
    if side * side != places:
        found.append(
            f"the {places} places before the classifier are no square: give --input-shape C H W"
        )
    return (None if found else (channels, side * shrink, side * shrink)), found


def _timesteps(state: State, settings: StableSettings) -> tuple[int | None, list[str]]:
    """Return the number of steps: that of the gains, or of the settings where there are none."""
    given = settings.timesteps
    gains = [state[n] for n in layout.gain_names(settings.architecture) if n in state]
    if not gains:
        told = f"holds plain LIF neurons and no number of steps: {TIMESTEPS}"
        return given, [] if given else [told]
    if any(gain.ndim != 1 for gain in gains):  # told already
        return None, []
    steps = len(gains[0])
    if given not in (None, steps):
        told = f"--timesteps {given} contradicts its DLIF neurons, whose gains have {steps} steps"
        return None, [told]
    return steps, []
