"""Show what a file holds; needs neither the option parser nor torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spikeproof.cli.board import show_cost, show_limits
from spikeproof.cli.console import Console
from spikeproof.cli.workflow import warn
from spikeproof.describe.documents import (
    BundleFile,
    ChipFile,
    LayerRow,
    NodeRow,
    TomlFile,
    TrainedFile,
)
from spikeproof.describe.file import describe_file
from spikeproof.io.formats import FRONTENDS, ChipFrontend
from spikeproof.io.zoo import resolve_model
from spikeproof.text import counted, network_line

Row = dict[str, Any]


def show_file(console: Console, model: str, input_shape: tuple[int, int, int] | None = None) -> int:
    """Find out what the file is and show it; only a ``.net`` needs an input shape, or takes one."""
    path = resolve_model(model)
    found = describe_file(path, input_shape)
    if isinstance(found, ChipFile):
        _show_chip(console, path, found)
    elif isinstance(found, TrainedFile):
        _show_trained(console, path, found)
    elif isinstance(found, BundleFile):
        _show_bundle(console, path, found)
    elif isinstance(found, TomlFile):
        _show_toml(console, path, found)
    console.document(found.json_document())
    return 0


def _show_toml(console: Console, path: Path, found: TomlFile) -> None:
    """Show a recipe with its defaults, or the settings of a command."""
    given, title = _flat(found.recipe), f"{found.kind} {path.name}"
    if found.settings is not None:
        every = _flat(found.settings)
        rows = [(k, str(v), "" if k in given else "default") for k, v in every.items()]
        console.table(["setting", "value", ""], rows, title)
    else:
        console.table(["setting", "value"], [(k, str(v)) for k, v in given.items()], title)


def _flat(settings: Row) -> Row:
    """Return the settings outside any section by name, then those in one as section.name."""
    top = {k: v for k, v in settings.items() if not isinstance(v, dict)}
    sections = {k: v for k, v in settings.items() if isinstance(v, dict)}
    return top | {f"{s}.{k}": v for s, part in sections.items() for k, v in part.items()}


def _show_trained(console: Console, path: Path, found: TrainedFile) -> None:
    rows = found.layers
    _say_title(console, path, found)
    console.table(list(NodeRow.model_fields), [tuple(dict(row).values()) for row in rows])
    console.say(
        f"{counted(sum(r.neurons or 0 for r in rows), 'neuron')}, "
        f"{counted(sum(r.parameters for r in rows), 'parameter')}"
    )
    recipe = found.training.get("recipe")
    if isinstance(recipe, dict):
        console.detail(f"trained from recipe {recipe.get('name')}, seed {recipe.get('seed')}")


def _show_bundle(console: Console, path: Path, found: BundleFile) -> None:
    rows, record = found.layers, found.record
    _say_title(console, path, found)
    console.table(
        ["layer", "kind", "neuron", "shape", "neurons", "weights", "scale", "range", "headroom"],
        [
            (
                r.layer,
                r.kind,
                r.neuron,
                r.shape,
                r.neurons,
                r.weights,
                r.scale,
                _range(r),
                r.headroom_bits,
            )
            for r in rows
        ],
    )
    if any(len(r.reads) > 1 or r.reads[0].delay for r in rows):
        console.table(
            ["layer", "reads", "lag", "delay", "kind", "weights", "exponent"],
            [
                (r.layer, c.source, c.lag, c.delay, c.kind, c.weights, c.exponent)
                for r in rows
                for c in r.reads
            ],
            title="Connections",
        )
    if found.readout != "auto":
        console.say(f"its answer is the readout {found.readout!r} of {rows[-1].layer}")
    programs = [f"{r.layer} ({r.neuron})" for r in rows if r.portability == "neuron program"]
    if programs:
        console.say(f"needs a neuron program on a chip (Loihi 2 microcode): {', '.join(programs)}")
    stuck = [r.layer for r in rows if r.portability == "simulator only"]
    if stuck:
        console.say(f"runs on no chip, as no synaptic delay is as long: {', '.join(stuck)}")
    if record.get("profile_cost") is not None:
        from spikeproof.io.record import ProfileCost

        show_cost(console, ProfileCost.model_validate(record["profile_cost"]))
    show_limits(console, found.chip_fit)
    console.say(
        f"{counted(sum(r.neurons for r in rows), 'neuron')}, "
        f"{counted(sum(r.weights for r in rows), 'weight')}"
    )
    samples = found.self_test_samples
    console.say(f"content {found.content_hash[:16]}, self-test on {counted(samples, 'sample')}")
    warn(console, found.warnings)


def _show_chip(console: Console, path: Path, found: ChipFile) -> None:
    """Show a file of chip integers as it would be read."""
    frontend = FRONTENDS.get(found.kind)
    assert isinstance(frontend, ChipFrontend)
    shape, steps = "×".join(map(str, found.input_shape)), found.timesteps
    told = "timesteps not in the file" if steps is None else counted(steps, "timestep")
    console.say(f"{frontend.title} {path}: input {shape} ({found.coding}), {told}")
    console.table(
        [name.replace("_", " ") for name in frontend.columns],
        [[row[name] for name in frontend.columns] for row in found.layers],
    )
    show_limits(console, found.chip_fit)
    warn(console, found.warnings)


def _range(row: LayerRow) -> str:
    low, high = row.v_low, row.v_high
    return "–" if low is None or high is None else f"{low:,} .. {high:,}"


def _say_title(console: Console, path: Path, found: TrainedFile | BundleFile) -> None:
    assert found.timesteps is not None
    line = network_line(found.name, tuple(found.input_shape), found.timesteps)
    console.say(f"{found.kind} {path}: {line}")
