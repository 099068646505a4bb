"""Describe networks of the chip's integers: bundles, and files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeproof.describe.documents import BundleFile, ChipFile, LayerRow, head_of
from spikeproof.document.values import Json
from spikeproof.io.formats import ChipFrontend, frontend_name
from spikeproof.io.wiring import ConnectionRow, connection_rows

if TYPE_CHECKING:
    from spikeproof.io.bundle import Bundle
    from spikeproof.ir.chip import ChipLayer

_SHOWN_VALUES = 256


def describe_bundle(bundle: Bundle, path: Path) -> BundleFile:
    """Describe a bundle: one row per layer, its record, and which chips it fits."""
    from spikeproof.bundles import overflow_warnings
    from spikeproof.convert.board import chip_fit_rows

    network = bundle.network
    table = {row.get("layer"): row for row in bundle.record.document.get("table", [])}
    return BundleFile(
        **head_of("bundle", path, network),
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


def describe_chip(
    frontend: ChipFrontend, path: Path, input_shape: tuple[int, int, int] | None
) -> ChipFile:
    """Describe a file of chip integers as it would be read."""
    from spikeproof.convert.board import chip_fit_rows

    found = frontend.inspect(path, input_shape)
    network = found.network
    return ChipFile(
        **{**head_of(frontend_name(frontend), path, network), "timesteps": found.timesteps},
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
