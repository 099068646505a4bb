"""Re-quantise a whole bundle from its checkpoint, with or without its calibration images (V2)."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from spikeproof.engines.floats import run_float
from spikeproof.io.record import TableRow
from spikeproof.ir.floats import FloatNetwork
from spikeproof.ir.limits import INPUT
from spikeproof.verify.checked_relation import CheckedRelation
from spikeproof.verify.interval import bound_network
from spikeproof.verify.requantise.exact import Exact, exact_layers
from spikeproof.verify.requantise.findings import Findings
from spikeproof.verify.requantise.layer import requantise, rounding_step
from spikeproof.verify.requantise.weights import FEWEST
from spikeproof.verify.scales import judge_scale
from spikeproof.verify.stages import Stages

Images = NDArray[np.uint8]
_CHUNK = 16


def check_rounding(stages: Stages, calibration: Images | None, x: Images) -> CheckedRelation:
    """Compare every integer of the bundle with the checkpoint; the stage folded -> integers of V2.

    Args:
        stages: the checkpoint, folded, and the bundle's network, units and options.
        calibration: the images of the conversion, all of them and in their order, or None.
        x: any images, to judge compensated rounding where ``calibration`` is None.
    """
    layers = exact_layers(stages.folded)
    bounds = bound_network(stages.chip, stages.options.lower_rail)
    fitted = calibration is not None
    flat = x.reshape(len(x), -1)
    telling = fitted or int((flat.max(axis=1) > flat.min(axis=1)).sum()) >= FEWEST
    reaching = _Reaching(stages.folded, x if calibration is None else calibration[::2])
    findings: list[Findings] = []
    # Only who may spike at all sends anything to others; what comes back may at any step.
    sent = {layer.name: np.ones(layer.shape, np.int64) for layer in stages.chip.layers}
    sent[INPUT] = np.full(stages.chip.input_shape, 255, np.int64)
    before = INPUT
    for layer, built, bound in zip(layers, stages.chip.layers, bounds, strict=True):
        scale = stages.units[built.name] / 64
        inputs = partial(reaching.at, layer, before) if telling else None
        highest = [sent[wire.source or before] for wire in layer.wires]
        found = requantise(layer, built, scale, stages.options, inputs, fitted=fitted)
        if found.values > 0 and found.rounding:
            judge_scale(layer, built, scale, highest, stages.options, found)
        before, sent[built.name] = built.name, bound.fires.astype(np.int64)
        _compare_claims(found, layer, scale, stages.claims.get(built.name))
        findings.append(found)
    declared = stages.options.model_dump(exclude_defaults=True)
    return rounding_step(findings, [f"{name} {value}" for name, value in declared.items()])


def _compare_claims(found: Findings, layer: Exact, scale: float, row: TableRow | None) -> None:
    """Compare what the bundle's record says of scale and clipping with what is so."""
    claims = {
        "scale": None if row is None else row.scale,
        "clipped_share": None if row is None else row.clipped_share,
    }
    found.unclaimed = [name for name, stated in claims.items() if stated is None]
    if (stated := claims["scale"]) is not None:
        found.compare("scale in the record", stated, scale * (1 - 1e-9), scale * (1 + 1e-9))
    stated, share = claims["clipped_share"], found.clipped_share
    if stated is not None and share is not None:
        slack = 2.5 / max(1, layer.linear.weight.size) + (0.002 if share else 0.0)
        low, high = share - slack, share + slack
        if found.clipped_most is not None:  # then the share is an estimate, on other images
            low, high = share / 2 - 2 * slack, found.clipped_most + slack
        found.compare("clipped share in the record", stated, low, high, expected=share)


class _Reaching:
    """What reaches each layer of a float network on some images; run once, when first needed."""

    def __init__(self, folded: FloatNetwork, images: Images) -> None:
        self._folded, self._images = folded, images
        self._sent: dict[str, Images] = {}

    def at(self, layer: Exact, before: str) -> Images:
        """Return payloads (N, T or 1, *shape); several sources flat, in a row.

        before: what a source that is not named stands for.
        """
        arriving = [self._late(wire.source or before, wire.lag) for wire in layer.wires]
        if len(arriving) == 1:
            return arriving[0]
        steps = self._folded.timesteps
        form = (len(self._images), steps)
        flat = [
            np.broadcast_to(one, (*form, *one.shape[2:])).reshape(*form, -1) for one in arriving
        ]
        return np.concatenate(flat, axis=2)

    def _late(self, source: str, lag: int) -> Images:
        if source == INPUT:
            sent = self._images[:, None]
        else:
            if not self._sent:
                parts = [self._run(i) for i in range(0, len(self._images), _CHUNK)]
                self._sent = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
            sent = self._sent[source]
        if not lag:
            return sent
        steps = self._folded.timesteps
        full = np.broadcast_to(sent, (len(sent), steps, *sent.shape[2:]))
        none = np.zeros_like(full[:, :lag])
        return np.concatenate([none, full[:, : steps - lag]], axis=1)[:, :steps]

    def _run(self, start: int) -> dict[str, Images]:
        traces = run_float(self._folded, self._images[start : start + _CHUNK], trace=True).traces
        return {name: t.s for name, t in traces.items() if t.s is not None}
