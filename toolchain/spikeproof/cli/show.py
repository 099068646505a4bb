"""Find out what a file is and show it; needs neither the option parser nor torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeproof.cli.board import chip_fit_rows, show_cost, show_limits
from spikeproof.cli.console import Console
from spikeproof.errors import BundleError, InputError

if TYPE_CHECKING:
    from spikeproof.io.bundle import Bundle
    from spikeproof.io.checkpoint import Checkpoint

Row = dict[str, Any]


def show_file(console: Console, model: str, input_shape: tuple[int, int, int] | None = None) -> int:
    """Find out what the file is and show it; only a ``.net`` needs an input shape, or takes one."""
    from spikeproof.formats.netx.file import is_netx
    from spikeproof.io.container import sniff_kind
    from spikeproof.io.zoo import resolve_model

    path = resolve_model(model)
    if is_netx(path):
        from spikeproof.cli.netx import NetxOptions, show_netx

        return show_netx(console, path, NetxOptions(input_shape=input_shape))
    if input_shape is not None:
        raise InputError("--input-shape is for lava-dl .net files", where=str(path))
    if path.suffix == ".toml":
        _show_toml(console, path)
        return 0
    kind = sniff_kind(path)
    if kind == "checkpoint":
        from spikeproof.io.checkpoint import load_checkpoint

        _show_checkpoint(console, load_checkpoint(path), path)
    elif kind == "bundle":
        from spikeproof.io.bundle import load_bundle

        _show_bundle(console, load_bundle(path), path)
    else:
        raise BundleError(
            f"is a {kind!r} file; expected a checkpoint, a bundle or a recipe", where=str(path)
        )
    return 0


def _show_toml(console: Console, path: Path) -> None:
    """Show a TOML file as what its keys say it is: a recipe, or settings of a command."""
    from spikeproof.cli.config import merged_options
    from spikeproof.convert.pipeline import ConvertOptions
    from spikeproof.io.toml import read_toml
    from spikeproof.verify.config import load_config

    content = read_toml(path)
    kind = _toml_kind(content, path)
    _check_plain(content, path)
    found = {"schema": 1, "kind": kind, "path": str(path), "recipe": content}
    given = _flat(content)
    title = f"{kind} {path.name}"
    if kind == "recipe":
        from spikeproof_models.recipe import load_recipe

        settings = load_recipe(path).model_dump(mode="json")
        rows = [(k, str(v), "" if k in given else "default") for k, v in _flat(settings).items()]
        console.table(["setting", "value", ""], rows, title)
        console.document({**found, "settings": settings})
        return
    if kind == "settings of verify":
        load_config(overrides=path)
    else:
        merged_options(ConvertOptions, path, {})
    console.table(["setting", "value"], [(k, str(v)) for k, v in given.items()], title)
    console.document(found)


def _toml_kind(content: Row, path: Path) -> str:
    """Tell by most of its keys what a TOML file is; its model says what is wrong with the others.

    Raises:
        InputError: half of the keys or more belong into no file of ours; they are named.
    """
    from spikeproof.convert.pipeline import ConvertOptions
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


def _check_plain(recipe: Row, path: Path) -> None:
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


def _flat(settings: Row) -> Row:
    """Return the settings outside any section by name, then those in one as section.name."""
    top = {k: v for k, v in settings.items() if not isinstance(v, dict)}
    sections = {k: v for k, v in settings.items() if isinstance(v, dict)}
    return top | {f"{s}.{k}": v for s, part in sections.items() for k, v in part.items()}


# --- checkpoints -------------------------------------------------------------------------------


def _show_checkpoint(console: Console, checkpoint: Checkpoint, path: Path) -> None:
    network = checkpoint.network
    rows = checkpoint_rows(checkpoint)
    _say_title(console, "checkpoint", path, network)
    console.table(
        ["layer", "kind", "output", "neurons", "parameters", "smallest", "largest", "details"],
        [tuple(row.values()) for row in rows],
    )
    console.say(
        f"{sum(r['neurons'] or 0 for r in rows):,} neurons, "
        f"{sum(r['parameters'] for r in rows):,} parameters"
    )
    recipe = checkpoint.training.get("recipe")
    if isinstance(recipe, dict):
        console.detail(f"trained from recipe {recipe.get('name')}, seed {recipe.get('seed')}")
    frame = {"schema": 1, "kind": "checkpoint", "path": str(path), "name": network.name}
    console.document(
        {
            **frame,
            "input_shape": list(network.input_shape),
            "timesteps": network.timesteps,
            "layers": rows,
            "training": checkpoint.training,
        }
    )


def checkpoint_rows(checkpoint: Checkpoint) -> list[Row]:
    """Return one row per node of a trained network."""
    import numpy as np

    from spikeproof.ir.floats import Lif, Readout
    from spikeproof.ir.shapes import output_shape

    rows, shape = [], tuple(checkpoint.network.input_shape)
    for node in checkpoint.network.nodes:
        shape = output_shape(node, shape)
        arrays = [v for v in vars(node).values() if isinstance(v, np.ndarray) and v.size]
        rows.append(
            {
                "layer": node.name,
                "kind": type(node).__name__,
                "output": list(shape),
                "neurons": int(np.prod(shape)) if isinstance(node, Lif | Readout) else None,
                "parameters": sum(a.size for a in arrays),
                "smallest": min((float(a.min()) for a in arrays), default=None),
                "largest": max((float(a.max()) for a in arrays), default=None),
                "details": _details(node),
            }
        )
    return rows


def _details(node: Any) -> str:
    from spikeproof.ir import floats

    if isinstance(node, floats.Conv2d):
        return f"kernel {node.weight.shape[2:]}, stride {node.stride}, padding {node.padding}"
    if isinstance(node, floats.Lif):
        gain = "" if node.gain is None else f", gain over {len(node.gain)} steps"
        sign = ">" if node.strict else ">="
        return f"leak {node.leak:.6g}, fires at v {sign} {node.threshold:g}{gain}"
    return ""


# --- bundles -----------------------------------------------------------------------------------


def _show_bundle(console: Console, bundle: Bundle, path: Path) -> None:
    from spikeproof.cli.images import warn
    from spikeproof.cli.workflow import overflow_warnings

    network = bundle.network
    table = {row.get("layer"): row for row in bundle.record.get("table", [])}
    rows = [_chip_row(layer, table.get(layer.name, {})) for layer in network.layers]
    fit = chip_fit_rows(network)
    _say_title(console, "bundle", path, network)
    console.table(
        ["layer", "kind", "neuron", "shape", "neurons", "weights", "scale", "range", "headroom"],
        [
            (
                r["layer"],
                r["kind"],
                r["neuron"],
                r["shape"],
                r["neurons"],
                r["weights"],
                r.get("scale"),
                _range(r),
                r.get("headroom_bits"),
            )
            for r in rows
        ],
    )
    if bundle.record.get("profile_cost") is not None:
        show_cost(console, bundle.record["profile_cost"])
    show_limits(console, fit)
    console.say(
        f"{sum(r['neurons'] for r in rows):,} neurons, {sum(r['weights'] for r in rows):,} weights"
    )
    console.say(f"content {bundle.content_hash[:16]}, self-test on {len(bundle.stimulus)} samples")
    warnings = warn(console, overflow_warnings(bundle))
    console.document(
        {
            "schema": 1,
            "kind": "bundle",
            "path": str(path),
            "name": network.name,
            "input_shape": list(network.input_shape),
            "timesteps": network.timesteps,
            "layers": rows,
            "chip_fit": fit,
            "content_hash": bundle.content_hash,
            "record": bundle.record,
            "warnings": warnings,
        }
    )


def _chip_row(layer: Any, converted: Row) -> Row:
    import numpy as np

    from spikeproof.ir.chip import HostCurrent

    inner = layer.synapse.synapse if isinstance(layer.synapse, HostCurrent) else layer.synapse
    row = {
        "layer": layer.name,
        "kind": type(layer.synapse).__name__,
        "neuron": type(layer.neuron).__name__,
        "shape": list(layer.shape),
        "neurons": int(np.prod(layer.shape)),
        "weights": int(inner.weight.size),
        "weight_range": [int(inner.weight.min()), int(inner.weight.max())],
        "numbers": _numbers(layer.neuron),
    }
    return {**{k: v for k, v in converted.items() if k != "layer"}, **row}


def _numbers(neuron: Any) -> Row:
    """Return the neuron's scalars and tables over time (the bias is per neuron and left out)."""
    return {
        k: v if isinstance(v, int) else v.tolist() for k, v in vars(neuron).items() if k != "bias"
    }


def _range(row: Row) -> str:
    low, high = row.get("v_low"), row.get("v_high")
    return "–" if low is None or high is None else f"{low:,} .. {high:,}"


def _say_title(console: Console, kind: str, path: Path, network: Any) -> None:
    shape = "×".join(map(str, network.input_shape))
    console.say(f"{kind} {path}: {network.name}, input {shape}, {network.timesteps} timesteps")
