"""V2 and V4: each pass's relation is checked, and a planted defect breaks the right one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from seeding import float_network, make, stages_of

from spikeproof.convert.conversion import Relation
from spikeproof.convert.options import ConvertOptions
from spikeproof.errors import ConversionError, InputError
from spikeproof.io.record import BundleRecord
from spikeproof.verify.config import StageLimits
from spikeproof.verify.layer_errors import layer_errors
from spikeproof.verify.relations import check_stages, compare_exact
from spikeproof.verify.stages import Membrane, rebuild_stages, run_stages

LIMITS = StageLimits(exact_tolerance=1e-9, excused=0.01)


def _rows(stages: Any, x: Any) -> dict[str, Any]:
    rows = check_stages(stages, run_stages(stages, x), LIMITS)
    return {f"{r.source}-{r.target}": r for r in rows}


@pytest.mark.parametrize("kind", ["case", "table_case"])
def test_real_conversion_keeps_every_relation(kind: str, request: Any) -> None:
    case = request.getfixturevalue(kind)
    rows = _rows(case.stages, case.x)
    assert rows["trained-folded"].verdict == "pass"
    assert rows["quantised-chip"].verdict == "pass"
    assert rows["folded-quantised"].verdict == "info"
    assert 0 < rows["quantised-chip"].max_difference <= rows["quantised-chip"].bound


def test_rebuilt_stages_are_the_conversion(case: Any) -> None:
    for rebuilt, original in (
        (case.stages.folded, case.conversion.folded),
        (case.stages.quantised, case.conversion.quantised),
    ):
        for a, b in zip(rebuilt.nodes, original.nodes, strict=True):
            for key, value in vars(a).items():
                assert np.array_equal(value, getattr(b, key)) or value == getattr(b, key)


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_wrong_folding_fails_the_exact_stage(case: Any, part: str) -> None:
    stages = case.stages
    node = stages.folded.nodes[0]
    changed = getattr(node, part).copy()
    changed.flat[0] += 1e-6
    nodes = (replace(node, **{part: changed}), *stages.folded.nodes[1:])
    broken = stages.with_stage("folded", network=replace(stages.folded, nodes=nodes))
    rows = _rows(broken, case.x)
    assert rows["trained-folded"].verdict == "fail"
    assert rows["quantised-chip"].verdict == "pass"


def test_wrong_integer_dynamics_fail_the_bounded_stage(case: Any, with_layer: Any) -> None:
    """The quantised network is what the chip should compute; one decay step more is not it."""
    stages = case.stages
    chip = with_layer(stages.chip, "l2", "neuron", dv=stages.chip.layers[1].neuron.dv + 60)
    rows = _rows(stages.with_stage("chip", network=chip), case.x)
    assert rows["quantised-chip"].verdict == "fail"
    assert rows["trained-folded"].verdict == "pass"


def test_threshold_beyond_the_bound_fails(case: Any, with_layer: Any) -> None:
    stages = case.stages
    neuron = stages.chip.layers[1].neuron
    chip = with_layer(
        stages.chip, "l2", "neuron", threshold=neuron.threshold + neuron.threshold // 9
    )
    assert (
        _rows(stages.with_stage("chip", network=chip), case.x)["quantised-chip"].verdict == "fail"
    )


def test_undeclared_bound_is_inconclusive(case: Any) -> None:
    stages = case.stages.with_stage("chip", relation=Relation("behavioural"))
    assert _rows(stages, case.x)["quantised-chip"].verdict == "inconclusive"


@pytest.mark.parametrize("stage", ["folded", "quantised", "chip"])
def test_nothing_declared_or_too_little_is_inconclusive(case: Any, stage: str) -> None:
    before = {"folded": "trained", "quantised": "folded", "chip": "quantised"}[stage]
    for relation in (None, Relation("behavioural")):
        rows = _rows(case.stages.with_stage(stage, relation=relation), case.x)
        enough = stage == "quantised" and relation is not None
        assert rows[f"{before}-{stage}"].verdict == ("info" if enough else "inconclusive")


def test_a_stronger_relation_than_holds_is_not_believed(case: Any) -> None:
    stages = case.stages.with_stage("quantised", relation=Relation("exact"))
    assert _rows(stages, case.x)["folded-quantised"].verdict == "fail"


def test_every_stage_declares_what_its_passes_do(case: Any) -> None:
    for found in (case.conversion, case.stages):
        kinds = [(s.name, s.relation and s.relation.kind) for s in found.stages]
        assert kinds == [
            ("trained", None),
            ("folded", "exact"),
            ("quantised", "behavioural"),
            ("chip", "bounded"),
        ]
    assert case.conversion.relations == case.stages.relations


def _membrane(v: float, spike: int, samples: int) -> Membrane:
    return Membrane(
        "l", np.full((samples, 1, 1), v), np.full((samples, 1, 1), spike, np.uint8), np.ones((1, 1))
    )


def test_tie_by_rounding_is_excused_but_many_are_inconclusive() -> None:
    """A spike that float64 rounding decides proves nothing either way."""
    above, below = _membrane(1.0 + 1e-12, 1, 5), _membrane(1.0 - 1e-12, 0, 5)
    assert compare_exact([above], [below], LIMITS).verdict == "inconclusive"
    lenient = StageLimits(exact_tolerance=1e-9, excused=0.999999)
    assert compare_exact([above], [above], LIMITS).verdict == "pass"
    assert compare_exact([above], [below], lenient).flipped_spikes == 5


def test_spike_flip_far_from_the_threshold_fails() -> None:
    same_v = [_membrane(1.5, 1, 3)], [_membrane(1.5, 0, 3)]
    assert compare_exact(*same_v, LIMITS).verdict == "fail"


def test_foreign_checkpoint_is_refused(case: Any) -> None:
    nodes = case.source.nodes
    shorter = replace(
        case.source,
        nodes=(
            *nodes[:3],
            nodes[3],
            replace(nodes[6], weight=np.ones((3, 36), np.float32)),
            nodes[7],
        ),
    )
    with pytest.raises(ConversionError, match="the list of layers is"):
        rebuild_stages(case.bundle.network, shorter, case.bundle.record)
    with pytest.raises(InputError, match="no units for l1, l2, out"):
        rebuild_stages(case.bundle.network, case.source, BundleRecord())


def test_local_error_is_not_the_accumulated_one(case: Any, with_layer: Any) -> None:
    """A bad first layer shows locally in l1 only, and end to end in all that follows."""
    stages = case.stages
    neuron = stages.chip.layers[0].neuron
    chip = with_layer(stages.chip, "l1", "neuron", threshold=neuron.threshold * 2)
    good = {r.name: r for r in layer_errors(run_stages(stages, case.x))}
    bad = {
        r.name: r for r in layer_errors(run_stages(stages.with_stage("chip", network=chip), case.x))
    }
    assert bad["l1"].local.flip_rate > 10 * good["l1"].local.flip_rate + 0.01
    assert bad["l1"].local == bad["l1"].accumulated
    assert bad["l2"].local == good["l2"].local
    assert bad["l2"].accumulated.flip_rate > good["l2"].accumulated.flip_rate + 0.01
    assert good["l2"].local.sqnr_db > 20


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"timesteps": 3}, "the number of timesteps is 3 in the bundle, 4 in the checkpoint"),
        ({"coding": "spikes"}, "the coding of the input is spikes in the bundle, pixels in"),
        ({"input_shape": (1, 7, 7)}, r"the shape of the input is \(1, 7, 7\) in the bundle"),
    ],
)
def test_a_bundle_with_another_frame_fails_and_says_at_which_stage(
    change: dict[str, Any], told: str
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (64, 1, 6, 6)).astype(np.uint8)
    made = make(float_network(), images, ConvertOptions(search=False))
    other = replace(made.network, **change)
    with pytest.raises(ConversionError, match=told) as caught:
        stages_of(replace(made, network=other))
    assert caught.value.exit_code == 1
    assert "V2 fails at stage folded to integers" in str(caught.value)
