"""Plant defects in a conversion: in its code while it runs, or in the integers it made."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.certify import ranges
from spikeproof.convert.conversion import Conversion
from spikeproof.convert.options import ConvertOptions
from spikeproof.convert.pipeline import convert_network
from spikeproof.document.values import dump
from spikeproof.io.record import BundleRecord, read_record
from spikeproof.ir.chip import ChipLayer, ChipNetwork
from spikeproof.ir.floats import BatchNorm2d, Conv2d, Flatten, FloatNetwork, Lif, Linear, Readout
from spikeproof.numerics import intervals
from spikeproof.verify.certificate import judge_certificate
from spikeproof.verify.checks import first_difference, overflow, relations
from spikeproof.verify.checks.bit_exact import EngineComparisons
from spikeproof.verify.config import StageLimits
from spikeproof.verify.relations import check_stages
from spikeproof.verify.rounding import check_rounding
from spikeproof.verify.stage_measurement import StageMeasurement, widest_gaps
from spikeproof.verify.stages import Stages, rebuild_stages, run_stages
from spikeproof.verify.verdict import Verdict

Json = dict[str, Any]
Images = NDArray[np.uint8]
LIMITS = StageLimits(exact_tolerance=1e-9, excused=0.01)
CALIBRATION = 32


def mutated(module: ModuleType, old: str, new: str) -> ModuleType:
    """Return a copy of a module with one piece of its source replaced."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times"
    copy = ModuleType(module.__name__)
    copy.__file__ = module.__file__
    code = compile(source.replace(old, new), f"{module.__file__} with {new!r}", "exec")
    exec(code, copy.__dict__)
    return copy


def mutated_certificate(old: str, new: str) -> ModuleType:
    """Return the certificate with one piece replaced, in it or in the intervals it reads."""
    if old in inspect.getsource(ranges):
        return mutated(ranges, old, new)
    unsound, copy = mutated(intervals, old, new), ModuleType(ranges.__name__)
    exec(compile(inspect.getsource(ranges), str(ranges.__file__), "exec"), copy.__dict__)
    for name in set(vars(copy)) & set(vars(unsound)):
        if getattr(vars(unsound)[name], "__module__", "") == intervals.__name__:
            setattr(copy, name, vars(unsound)[name])
    return copy


def replaced(module: ModuleType, copy: ModuleType, monkeypatch: Any) -> None:
    """Let every module of the conversion use the functions of a mutated copy."""
    for name, value in vars(module).items():
        if not callable(value) or getattr(value, "__module__", "") != module.__name__:
            continue
        for user in list(sys.modules.values()):
            known = getattr(user, "__name__", "").startswith("spikeproof.convert")
            if known and vars(user).get(name) is value:
                monkeypatch.setattr(user, name, getattr(copy, name))


def record_of(conversion: Conversion, options: ConvertOptions) -> Json:
    """Return what a bundle's record says of a conversion."""
    return {
        "units": dict(conversion.units),
        "relations": {k: asdict(r) for k, r in conversion.relations.items()},
        "table": [dump(row) for row in conversion.table],
        "options": options.model_dump(mode="json"),
    }


@dataclass(frozen=True, eq=False)
class Made:
    """A bundle's content and what it was made from."""

    source: FloatNetwork
    network: ChipNetwork
    record: Json
    x: Images

    def layer(self, name: str) -> ChipLayer:
        return next(layer for layer in self.network.layers if layer.name == name)

    def with_layer(self, name: str, change: Callable[[ChipLayer], ChipLayer]) -> Made:
        layers = tuple(change(x) if x.name == name else x for x in self.network.layers)
        return replace(self, network=replace(self.network, layers=layers))

    def with_synapse(self, name: str, change: Callable[[Any], Any]) -> Made:
        return self.with_layer(name, lambda x: x.changed(synapse=change(x.synapse)))

    def with_host(self, name: str, change: Callable[[Any], Any]) -> Made:
        return self.with_layer(name, lambda x: x.changed(host=change(x.host)))

    def with_neuron(self, name: str, change: Callable[[Any], Any]) -> Made:
        return self.with_layer(name, lambda x: replace(x, neuron=change(x.neuron)))

    def with_weights(self, name: str, change: Callable[[Any], Any]) -> Made:
        """Change the weights of a layer, as whole numbers of their type."""

        def edit(synapse: Any) -> Any:
            wanted = np.asarray(change(synapse.weight.astype(np.float64)))
            return replace(synapse, weight=np.rint(wanted).astype(synapse.weight.dtype))

        return self.with_synapse(name, edit)


def make(source: FloatNetwork, x: Images, options: ConvertOptions) -> Made:
    """Convert."""
    done = convert_network(source, x[:CALIBRATION], options)
    return Made(source, done.chip, record_of(done, options), x)


def stages_of(made: Made) -> Stages:
    """Rebuild the stages of what was made."""
    record = read_record(BundleRecord, made.record, made.network.name)
    return rebuild_stages(made.network, made.source, record)


def judged(made: Made, *, calibrated: bool = True, certify: Any = None) -> dict[str, Json]:
    """Run V2, V3 and V9 on it, without any target beside the fast engine."""
    stages = stages_of(made)
    x = made.x[CALIBRATION : CALIBRATION + 24]
    runs = run_stages(stages, x)
    checked = check_stages(stages, runs, LIMITS)
    rounding = check_rounding(stages, made.x[:CALIBRATION] if calibrated else None, x)
    gaps = widest_gaps(runs.whole["folded"], runs.local["folded"])
    item = StageMeasurement(samples=len(x), relations=checked, errors=[], gaps=gaps, pairs=[])
    rows = [checked[0], rounding, *checked[1:]]
    layers = judge_certificate(made.network, stages.claims, certify or ranges.certify_ranges)
    engines = EngineComparisons(samples=0, engines=[])
    found = [
        relations.CHECK.check(relations.relations_outcome(rows, engines, Verdict.PASS, len(x))),
        first_difference.CHECK.check(first_difference.differences_outcome([], item, rounding)),
        overflow.CHECK.check(overflow.ranges_outcome(layers)),
    ]
    return {check.id: dump(check) for check in found}


def named(check: Json) -> set[tuple[str, str]]:
    """Return the pairs of stage and layer that the reasons of a check name."""
    return {(r.get("stage", ""), r.get("layer", "")) for r in check["reasons"]}


def exact_host_weights(made: Made, name: str) -> NDArray[np.float64]:
    """Return what the host weights of a first layer were rounded from."""
    layer = made.layer(name)
    assert layer.host
    stages = stages_of(made)
    per_unit = made.record["units"][name] * 2.0 ** (layer.host.shift - layer.neuron.bias_exponent)
    return np.asarray(stages.folded.nodes[0].weight, np.float64) / 255 * per_unit  # type: ignore[union-attr]


def firing_at_equality(network: FloatNetwork) -> FloatNetwork:
    """Return the network with neurons that fire at their threshold."""
    nodes = tuple(replace(n, strict=False) if isinstance(n, Lif) else n for n in network.nodes)
    return replace(network, nodes=nodes)


def float_network(gain: list[float] | None = None) -> FloatNetwork:
    """Return a 6x6 network of a convolution, two spiking layers and a readout; spikes occur."""
    rng = np.random.default_rng(7)

    def weights(*shape: int, scale: float) -> Any:
        return (rng.normal(size=shape) * scale).astype(np.float32)

    steps = np.array(gain, np.float32) if gain else None
    ones = np.ones(4, np.float32)
    kernel = weights(4, 1, 3, 3, scale=0.4) + np.float32(0.08)
    return FloatNetwork(
        "tiny",
        (1, 6, 6),
        4,
        (
            Conv2d("c1", kernel, None, (2, 2), (1, 1)),
            BatchNorm2d("b1", ones, weights(4, scale=0.2), weights(4, scale=0.2), ones),
            Lif("l1", 1 - 41 / 4096, 1.0, True, steps),
            Flatten("f"),
            Linear("d1", weights(16, 36, scale=0.3) + np.float32(0.03), weights(16, scale=0.2)),
            Lif("l2", 1 - 41 / 4096, 1.0, True, steps),
            Linear("d2", weights(3, 16, scale=0.5), None),
            Readout("out"),
        ),
    )
