"""Say what is in a file as one typed document: what ``inspect`` shows and prints as JSON."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

from spikeproof.document.values import Json, Record, dump
from spikeproof.errors import BundleError, InputError
from spikeproof.io.formats import ChipFrontend, find_frontend, frontend_name, load_trained
from spikeproof.io.wiring import ConnectionRow, connection_rows
from spikeproof.text import counted

if TYPE_CHECKING:
    from spikeproof.io.bundle import Bundle
    from spikeproof.io.checkpoint import Checkpoint
    from spikeproof.ir.chip import ChipLayer, ChipNetwork
    from spikeproof.ir.floats import FloatNetwork

_SHOWN_VALUES = 256


class Described(Record):
    """What every file says of itself; ``kind`` is "checkpoint", "bundle" or another."""

    kind: str
    path: str

    def json_document(self) -> Json:
        """Return it as plain JSON, as ``inspect --json`` prints it."""
        return {"schema": 1, **dump(self)}


class TomlFile(Described):
    """A recipe, with its settings in full, or the settings of a command."""

    recipe: Json
    settings: Json | None = None


class NetworkFile(Described):
    """What every file of a network says; ``timesteps`` is None where the file does not."""

    name: str
    input_shape: list[int]
    timesteps: int | None


class NodeRow(Record):
    """One node of a trained network."""

    layer: str
    kind: str
    output: list[int]
    neurons: int | None
    parameters: int
    smallest: float | None
    largest: float | None
    details: str


class TrainedFile(NetworkFile):
    """A trained network, and how it was trained."""

    layers: list[NodeRow]
    training: Json


class LayerRow(Record):
    """One layer of a bundle, beside what its conversion's table says of it, if it has one."""

    model_config = ConfigDict(extra="allow")

    layer: str
    kind: str
    neuron: str
    shape: list[int]
    neurons: int
    weights: int
    weight_range: list[int]
    portability: str
    """"portable": published registers of Loihi 1 and 2 hold the neurons; "neuron program": they
    need microcode of Loihi 2, and run on every engine and on Lava's CPU backend; "simulator
    only": a connection needs a delay that no chip has."""
    reads: list[ConnectionRow]
    numbers: Json
    """The neuron's scalars and tables over time; the bias is per neuron and left out."""
    scale: Any = None
    v_low: Any = None
    v_high: Any = None
    headroom_bits: Any = None


class BundleFile(NetworkFile):
    """A bundle, its record, and which chips it fits."""

    layers: list[LayerRow]
    chip_fit: list[Json]
    readout: str
    """What of the last layer is the answer; "auto": its v at the last step, or spike counts."""
    content_hash: str
    self_test_samples: int
    record: Json
    warnings: list[str]


class ChipFile(NetworkFile):
    """A file of chip integers as it would be read; its rows have the frontend's columns."""

    coding: str
    layers: list[Json]
    chip_fit: list[Json]
    warnings: list[str]


def _is_folder(path: Path) -> InputError:
    """Return the error for a folder; one that a command has written is named for what it is."""
    place, quoted = str(path), shlex.quote(str(path))
    if (path / "report.json").is_file():
        hint = f"`spikeproof report {quoted}` shows it."
        return InputError("is the folder of a verification, not a network", where=place, hint=hint)
    found = sorted(p for p in path.iterdir() if p.suffix in (".ckpt", ".spk"))
    hint = "Give a file: a checkpoint, bundle, recipe or .net file."
    if found:
        hint = f"Give a file in it: `spikeproof inspect {shlex.quote(str(found[0]))}`."
    return InputError("is a folder, not a file", where=place, hint=hint)


def describe_file(path: Path, input_shape: tuple[int, int, int] | None = None) -> Described:
    """Find out what a file is and describe it; needs neither the option parser nor torch.

    Args:
        path: a checkpoint, bundle, recipe, settings of a command, or a file of any frontend.
        input_shape: (C, H, W) of a ``.net`` that does not say; no other file takes one.

    Raises:
        InputError, BundleError: it is none of these, or damaged.
    """
    from spikeproof.io.container import sniff_kind

    if path.is_dir():
        raise _is_folder(path)
    frontend = find_frontend(path)
    if isinstance(frontend, ChipFrontend):
        return _describe_chip(frontend, path, input_shape)
    if input_shape is not None:
        raise InputError(
            "an input shape is for lava-dl .net files: this file has its own",
            where=str(path),
            hint="Leave out --input-shape.",
        )
    if frontend is not None:
        return describe_checkpoint(load_trained(path), path, frontend_name(frontend))
    if path.suffix == ".toml":
        return _describe_toml(path)
    kind = sniff_kind(path)
    if kind != "bundle":
        raise BundleError(
            f"is a {kind!r} file; expected a checkpoint, a bundle or a recipe",
            where=str(path),
            hint="Training goes on from it; its checkpoint is NAME.ckpt beside it."
            if kind == "training-state"
            else "Check which file is meant.",
        )
    from spikeproof.io.bundle import load_bundle

    return describe_bundle(load_bundle(path), path)


# --- TOML --------------------------------------------------------------------------------------


def _describe_toml(path: Path) -> TomlFile:
    """Check a TOML file as what its keys say it is: a recipe, or settings of a command."""
    from spikeproof.convert.options import ConvertOptions
    from spikeproof.io.options import merged_options
    from spikeproof.io.toml import read_toml
    from spikeproof.verify.config import load_config

    content = read_toml(path)
    kind = _toml_kind(content, path)
    _check_plain(content, path)
    if kind == "recipe":
        from spikeproof_models.recipe import load_recipe

        settings = load_recipe(path).model_dump(mode="json")
        return TomlFile(kind=kind, path=str(path), recipe=content, settings=settings)
    if kind == "settings of verify":
        load_config(overrides=path)
    else:
        merged_options(ConvertOptions, path, {})
    return TomlFile(kind=kind, path=str(path), recipe=content)


def _toml_kind(content: Json, path: Path) -> str:
    """Tell by most of its keys what a TOML file is; its model says what is wrong with the others.

    Raises:
        InputError: half of the keys or more belong into no file of ours; they are named.
    """
    from spikeproof.convert.options import ConvertOptions
    from spikeproof.verify.config import VerifyConfig
    from spikeproof_models.recipe import Recipe

    known = {
        "recipe": frozenset(Recipe.model_fields),
        "settings of verify": frozenset(VerifyConfig.model_fields),
        "options of convert": frozenset(ConvertOptions.model_fields),
    }
    keys = frozenset(content)
    nearest = max(known, key=lambda kind: len(keys & known[kind]))
    if 2 * len(keys & known[nearest]) > len(keys):
        return nearest
    odd = ", ".join(sorted(keys - known[nearest])[:8])
    found = (
        f"{nearest} but for {odd}" if keys & known[nearest] else f"none of ours: {odd or 'empty'}"
    )
    raise InputError(
        f"is TOML, {found}",
        where=str(path),
        hint="A recipe of train, or a file for verify --config or convert --config, was expected.",
    )


def _check_plain(recipe: Json, path: Path) -> None:
    """Raise InputError for what TOML can say and a recipe cannot: nan, inf, dates, times."""
    from spikeproof.io.files import canonical_json

    try:
        canonical_json(recipe)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"holds a value no recipe can have: {error}",
            where=str(path),
            hint="Use finite numbers, strings, true and false; write dates as strings.",
        ) from error


# --- trained networks --------------------------------------------------------------------------


def describe_checkpoint(
    checkpoint: Checkpoint, path: Path, kind: str = "checkpoint"
) -> TrainedFile:
    """Describe a trained network: one row per node, and how it was trained."""
    return TrainedFile(
        **_head(kind, path, checkpoint.network),
        layers=checkpoint_rows(checkpoint),
        training=checkpoint.training.document,
    )


def _head(kind: str, path: Path, network: FloatNetwork | ChipNetwork) -> Json:
    """Return what every description of a network begins with."""
    return {
        "kind": kind,
        "path": str(path),
        "name": network.name,
        "input_shape": list(network.input_shape),
        "timesteps": network.timesteps,
    }


def checkpoint_rows(checkpoint: Checkpoint) -> list[NodeRow]:
    """Return one row per node of a trained network."""
    import numpy as np

    from spikeproof.ir.floats import Lif, MaxPool2d, Readout
    from spikeproof.ir.shapes import network_shapes

    rows, shapes = [], network_shapes(checkpoint.network)
    for i, node in enumerate(checkpoint.network.nodes):
        shape = shapes[i]
        arrays = [v for v in vars(node).values() if isinstance(v, np.ndarray) and v.size]
        rows.append(
            NodeRow(
                layer=node.name,
                kind=type(node).__name__,
                output=list(shape),
                neurons=int(np.prod(shape))
                if isinstance(node, Lif | MaxPool2d | Readout)
                else None,
                parameters=sum(a.size for a in arrays),
                smallest=min((float(a.min()) for a in arrays), default=None),
                largest=max((float(a.max()) for a in arrays), default=None),
                details="; ".join(d for d in (_fed(checkpoint.network, i), _details(node)) if d),
            )
        )
    return rows


def _fed(network: FloatNetwork, i: int) -> str:
    """Say what feeds a node, where it is not just the one before."""
    from spikeproof.ir.floats import Incoming
    from spikeproof.ir.limits import INPUT

    incoming = network.incoming[i]
    if incoming == (Incoming(i - 1, 0, 1.0),):
        return ""
    told = []
    for one in incoming:
        name = network.nodes[one.source].name if one.source >= 0 else INPUT
        late = f" of {counted(one.lag, 'step')} before" if one.lag else ""
        told.append(f"{f'{one.coefficient:.4g} {name}' if one.weighted else name}{late}")
    return f"from {' + '.join(told)}"


def _details(node: Any) -> str:
    from spikeproof.ir import floats

    if isinstance(node, floats.Conv2d):
        return f"kernel {node.weight.shape[2:]}, stride {node.stride}, padding {node.padding}"
    if isinstance(node, floats.AvgPool2d | floats.MaxPool2d):
        return f"windows {node.kernel}, stride {node.stride}"
    if isinstance(node, floats.Lif):
        gain = "" if node.gain is None else f", gain over {counted(len(node.gain), 'step')}"
        sign = ">" if node.strict else ">="
        reset = "" if node.reset is None else f", a spike takes off {_span(node.reset)}"
        begins = f", begins at {_span(node.initial)}" if _span(node.initial) != "0" else ""
        return (
            f"leak {_span(node.leak)}, fires at v {sign} {_span(node.threshold)}"
            f"{gain}{reset}{begins}"
        )
    return ""


def _span(number: Any) -> str:
    """Show a number, or the least and the largest of many."""
    import numpy as np

    low, high = float(np.min(number)), float(np.max(number))
    return f"{low:.6g}" if low == high else f"{low:.6g}..{high:.6g}"


# --- chip networks -----------------------------------------------------------------------------


def describe_bundle(bundle: Bundle, path: Path) -> BundleFile:
    """Describe a bundle: one row per layer, its record, and which chips it fits."""
    from spikeproof.bundles import overflow_warnings
    from spikeproof.convert.board import chip_fit_rows

    network = bundle.network
    table = {row.get("layer"): row for row in bundle.record.document.get("table", [])}
    return BundleFile(
        **_head("bundle", path, network),
        layers=[
            _chip_row(layer, reads, table.get(layer.name, {}))
            for layer, reads in zip(network.layers, connection_rows(network), strict=True)
        ],
        chip_fit=chip_fit_rows(network),
        readout=network.readout,
        content_hash=bundle.content_hash,
        self_test_samples=len(bundle.stimulus),
        record=bundle.record.document,
        warnings=overflow_warnings(bundle),
    )


def _describe_chip(
    frontend: ChipFrontend, path: Path, input_shape: tuple[int, int, int] | None
) -> ChipFile:
    """Describe a file of chip integers as it would be read."""
    from spikeproof.convert.board import chip_fit_rows

    found = frontend.inspect(path, input_shape)
    network = found.network
    return ChipFile(
        **{**_head(frontend_name(frontend), path, network), "timesteps": found.timesteps},
        coding=network.coding,
        layers=found.layers,
        chip_fit=chip_fit_rows(network),
        warnings=found.warnings,
    )


def _plain(value: Any) -> Any:
    """Return a number or an array as JSON; of a large array its shape and range."""
    if value is None or isinstance(value, int):
        return value
    if value.size <= _SHOWN_VALUES:
        return value.tolist()
    return {"shape": list(value.shape), "min": int(value.min()), "max": int(value.max())}


def _chip_row(layer: ChipLayer, reads: list[ConnectionRow], converted: Json) -> LayerRow:
    neuron = vars(layer.neuron)
    stuck = any(row.portability != "portable" for row in reads)
    own = {
        "layer": layer.name,
        "kind": layer.kind,
        "neuron": layer.neuron.title,
        "shape": list(layer.shape),
        "neurons": layer.neurons,
        "weights": sum(row.weights for row in reads),
        "weight_range": [
            min(row.weight_range[0] for row in reads),
            max(row.weight_range[1] for row in reads),
        ],
        "portability": "simulator only"
        if stuck
        else "neuron program"
        if layer.neuron.program
        else "portable",
        "reads": reads,
        "numbers": {k: _plain(v) for k, v in neuron.items() if k != "bias"},
    }
    return LayerRow(**{**converted, **own})
