"""Build the float network that a state dict of the reference code and its settings stand for."""

from __future__ import annotations

from math import isqrt

import numpy as np

from spikeproof.errors import InputError, list_problems
from spikeproof.formats.stable_snn import layout
from spikeproof.formats.stable_snn.layout import (
    Array,
    Conv,
    Dense,
    Mix,
    Neuron,
    Norm,
    Pool,
    Problem,
)
from spikeproof.formats.stable_snn.plans import ARCHITECTURES
from spikeproof.formats.stable_snn.settings import ADVICE, TIMESTEPS, StableSettings
from spikeproof.ir import floats
from spikeproof.ir.check_float import SMALLEST, check_float
from spikeproof.ir.limits import INPUT
from spikeproof.text import counted

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
    architecture, found = _architecture(state, settings)
    # What else is said of the file is judged by what it is, not by a name that is not its own.
    real = layout.named(state) or architecture
    looked_for = architecture or real
    about = layout.problems(state, looked_for) if looked_for else []
    shape, about_image = (None, []) if about or not real else _image(state, settings, real)
    steps, about_steps = _timesteps(state, settings, real)
    found += about
    found += _coefficient_problems(state, real) if real and not about else []
    found += [*_norm_problems(state, settings, real), *about_image, *about_steps]
    if found or architecture is None or shape is None or steps is None:
        raise InputError(
            list_problems([problem.what for problem in found]),
            where=where,
            hint=" ".join(dict.fromkeys(problem.hint for problem in found if problem.hint)),
        )
    parts = layout.parts(architecture, state)
    nodes: list[floats.FloatNode] = [*_input_scale(settings)]
    edges: list[floats.Edge] = []
    flat = False
    for part in parts:
        before = nodes[-1].name if nodes else INPUT
        if isinstance(part, Dense) and not flat:
            flat = True
            nodes.append(floats.Flatten("flatten"))
            edges.append(floats.Edge(before, "flatten"))
            before = "flatten"
        nodes.append(_node(part, state, settings, shape[1]))
        edges += _edges(part, before, state)
    edges.append(floats.Edge(nodes[-1].name, "out"))
    nodes.append(floats.Readout("out"))
    if nodes[0].name == "norm":
        edges.insert(0, floats.Edge(INPUT, "norm"))
    if not any(part.sources for part in parts):
        edges = []
    network = floats.FloatNetwork(name, shape, steps, *_useful(nodes, edges))
    check_float(network)
    return network


def _architecture(state: State, settings: StableSettings) -> tuple[str | None, list[Problem]]:
    """Return the architecture that was named if it is one, and say what to give if not."""
    given = settings.architecture
    real = layout.named(state)
    if given in ARCHITECTURES:
        if real in (None, given):
            return given, []
        told = f"the names in this file are {real}'s, not {given}'s"
        return None, [Problem(told, f"Give --architecture {real}.")]
    names = f"; the names in this file are {real}'s" if real else ""
    if given is None:
        *first, last = ARCHITECTURES
        return None, [Problem(f"give --architecture: {', '.join(first)} or {last}{names}", ADVICE)]
    told = (
        f"{given} is no architecture that can be read; those that can: "
        f"{', '.join(ARCHITECTURES)}{names}"
    )
    return None, [Problem(told, f"Give --architecture {real}." if real else "")]


def _edges(part: layout.Part, before: str, state: State) -> list[floats.Edge]:
    """Return what feeds a part; a source that counts for nothing does not."""
    sources = part.sources or (before,)
    factors = state[layout.coefficients(part)] if isinstance(part, Mix) else np.ones(len(sources))
    return [
        floats.Edge(
            source, part.name, 0, float(factor), isinstance(part, Mix) and bool(factor == 1)
        )
        for source, factor in zip(sources, factors, strict=True)
        if abs(factor) >= SMALLEST
    ]


def _useful(
    nodes: list[floats.FloatNode], edges: list[floats.Edge]
) -> tuple[tuple[floats.FloatNode, ...], tuple[floats.Edge, ...]]:
    """Leave out what feeds nothing: branches whose coefficient is zero."""
    if not edges:
        return tuple(nodes), ()
    kept = {nodes[-1].name}
    for node in reversed(nodes):
        if node.name in kept:
            kept |= {edge.source for edge in edges if edge.target == node.name}
    return (
        tuple(node for node in nodes if node.name in kept),
        tuple(edge for edge in edges if edge.target in kept),
    )


def _input_scale(settings: StableSettings) -> list[floats.InputScale]:
    """Return the scaling of the input; none where it changes nothing."""
    mean, std = np.asarray(settings.mean), np.asarray(settings.std)
    if not mean.size or (not mean.any() and (std == 1).all()):
        return []
    return [floats.InputScale("norm", mean, std)]


def _node(
    part: layout.Part, state: State, settings: StableSettings, image_height: int
) -> floats.FloatNode:
    weight, bias = state.get(f"{part.name}.weight"), state.get(f"{part.name}.bias")
    if isinstance(part, Conv) and weight is not None:
        stride, padding = part.stride, part.kernel // 2
        return floats.Conv2d(part.name, weight, bias, (stride, stride), (padding, padding))
    if isinstance(part, Dense) and weight is not None:
        return floats.Linear(part.name, weight, bias)
    if isinstance(part, Norm):
        gamma, beta, mean, var = (state[f"{part.name}.{key}"] for key in layout.BATCH_NORM)
        return floats.BatchNorm2d(part.name, gamma, beta, mean, var, layout.BATCH_NORM_EPS)
    if isinstance(part, Neuron):
        gain = state.get(layout.gain(part))
        # The reference code fires at equality.
        return floats.Lif(part.name, settings.leak, settings.threshold, strict=False, gain=gain)
    if isinstance(part, Pool):
        window = part.of(image_height)
        return floats.AvgPool2d(part.name, (window, window), (window, window))
    return floats.Add(part.name)


def _norm_problems(
    state: State, settings: StableSettings, architecture: str | None
) -> list[Problem]:
    """List what does not match of mean and standard deviation and the input's channels."""
    if bool(settings.mean) != bool(settings.std):
        lacks = "std" if settings.mean else "mean"
        told = "--mean and --std belong together: give both, or neither"
        return [Problem(told, f"Give --{lacks}, too.")]
    if architecture is None:
        return []
    first = layout.parts(architecture, state)[0]
    kernels = state.get(f"{first.name}.weight", np.empty(0))
    if kernels.ndim != 4:  # told already
        return []
    channels = kernels.shape[1]
    return [
        Problem(
            f"--{name} has {counted(len(values), 'value')}, the first convolution has "
            f"{counted(channels, 'input channel')}",
            "Give one value per channel.",
        )
        for name, values in (("mean", settings.mean), ("std", settings.std))
        if values and len(values) != channels
    ]


def _coefficient_problems(state: State, architecture: str) -> list[Problem]:
    """List sums that nothing goes into."""
    mixes = [p for p in layout.parts(architecture, state) if isinstance(p, Mix)]
    return [
        Problem(
            f"{layout.coefficients(mix)} is zero for shortcut and residual: nothing passes this "
            "block",
            "Take an earlier checkpoint.",
        )
        for mix in mixes
        if not (np.abs(state[layout.coefficients(mix)]) >= SMALLEST).any()
    ]


def _image(
    state: State, settings: StableSettings, architecture: str
) -> tuple[ImageShape | None, list[Problem]]:
    """Return the image's shape, from the settings or else the one square that loses no pixel."""
    parts = layout.parts(architecture, state)
    found = []
    last = [part for part in layout.way(parts) if isinstance(part, Conv)][-1]
    dense = next(part for part in parts if isinstance(part, Dense))
    channels = int(state[f"{parts[0].name}.weight"].shape[1])
    width = int(state[f"{last.name}.weight"].shape[0])
    inputs = int(state[f"{dense.name}.weight"].shape[1])
    places = inputs // width
    if inputs % width:
        told = (
            f"{dense.name}.weight takes {inputs} values, no multiple of the {width} channels of "
            f"{last.name}"
        )
        found.append(Problem(told, layout.NOT_THIS))
    given = settings.input_shape
    if given is not None:
        left = layout.places(parts, given[1], given[2])
        if given[0] != channels or left != places:
            told = (
                f"--input-shape {' '.join(map(str, given))} leaves {counted(left, 'place')} "
                f"before the classifier and has {counted(given[0], 'channel')}; the file has "
                f"{places} and {channels}"
            )
            found.append(Problem(told, "Give --input-shape C H W of the images it was trained on."))
        return (None if found else given), found
    side = isqrt(places)
    if side * side != places or not side:
        told = f"the {places} places before the classifier are no square: give --input-shape C H W"
        found.append(Problem(told, "That is the shape of the images it was trained on."))
    side *= layout.reduction(parts)
    return (None if found else (channels, side, side)), found


def _timesteps(
    state: State, settings: StableSettings, architecture: str | None
) -> tuple[int | None, list[Problem]]:
    """Return the number of steps: that of the gains, or of the settings where there are none."""
    given = settings.timesteps
    names = layout.gain_names(state, architecture) if architecture else []
    gains = [state[name] for name in names if name in state]
    if not gains and architecture is None and any(map(layout.is_gain, state)):
        return given, []
    if not gains:
        told = f"holds plain LIF neurons and no number of steps: {TIMESTEPS}"
        return given, [] if given else [Problem(told, ADVICE)]
    if any(gain.ndim != 1 for gain in gains):  # told already
        return None, []
    steps = len(gains[0])
    if given not in (None, steps):
        told = (
            f"--timesteps {given} contradicts its DLIF neurons, whose gains have "
            f"{counted(steps, 'step')}"
        )
        return None, [Problem(told, "Leave --timesteps out.")]
    return steps, []
