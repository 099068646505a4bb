"""Types of what each check measured; every field may be missing, unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from spikeproof.attacks.weak import GRADIENT_KINDS
from spikeproof.report.numbers import finite
from spikeproof.text import clean_text

Verdict = Literal["pass", "fail", "inconclusive", "info"]


def clean_tree(value: object) -> object:
    """Clean every string in a JSON value; NaN and infinity become None."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(k)): clean_tree(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_tree(v) for v in value]
    if isinstance(value, float):
        return finite(value)
    return value


def _number(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"expected a number, found {type(value).__name__}")
    return value if finite(value) is not None else None


def _pair(value: object) -> object:
    return None if value in ([], ()) else value


Text = Annotated[str, AfterValidator(clean_text)]
Number = Annotated[float | None, BeforeValidator(_number)]
Count = Annotated[int | None, BeforeValidator(_number)]
Pair = Annotated[tuple[Number, Number] | None, BeforeValidator(_pair)]
Anything = Annotated[Any, AfterValidator(clean_tree)]


class Loose(BaseModel):
    """A record that ignores fields it does not know."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class ConversionRow(Loose):
    """One layer of the conversion table; ``threshold`` and ``dv`` may be lists over time."""

    layer: Text
    kind: Text = ""
    neuron: Text = ""
    inputs: Anything = None
    neurons: Anything = None
    synapses: Count = None
    weight_bits: Number = None
    scale: Anything = None
    clipped_share: Number = None
    threshold: Anything = None
    dv: Anything = None
    bias_exponent: Count = None
    flip_rate_calibration: Number = None
    sum_bound: Number = None
    v_low: Number = None
    v_high: Number = None
    headroom_bits: Number = None


class FitRow(Loose):
    """What the network needs of one chip's resource, and what there is."""

    chip: Text
    resource: Text
    needed: Count = None
    available: Count = None
    fits: bool | None = None
    source: Text = ""


class OperationRow(Loose):
    """What one image costs in one layer, on average."""

    name: Text
    spikes: Number = None
    synaptic: Number = None
    synaptic_most: Number = None
    host: Number = None


class ExactLayer(Loose):
    """V1: values compared in one layer."""

    name: Text
    values: Count = None
    mismatches: Count = None


class ExactData(Loose):
    """V1: target against specification."""

    layers: list[ExactLayer] = Field(default_factory=list)


class Stage(Loose):
    """V2: one pass and the relation it promised."""

    source: Text = Field(alias="from", default="")
    target: Text = Field(alias="to", default="")
    relation: Text = ""
    bound: Number = None
    unit: Text = ""
    max_difference: Number = None
    flipped_spikes: Count = None
    spikes: Count = None
    agreement: Number = None
    verdict: Verdict = "info"


class StageData(Loose):
    """V2: every pass of the conversion."""

    stages: list[Stage] = Field(default_factory=list)


class Divergence(Loose):
    """V3: the first state in which two stages differ."""

    source: Text = Field(alias="from", default="")
    target: Text = Field(alias="to", default="")
    found: bool = False
    layer: Text | None = None
    neuron: Anything = None
    step: Count = None
    sample: Count = None
    values: dict[str, Anything] | None = None
    margin: Number = None
    margin_lsb: Number = None


class DivergenceData(Loose):
    """V3: pairs of stages."""

    pairs: list[Divergence] = Field(default_factory=list)


class ErrorFigures(Loose):
    """V4: error of one layer; membrane differences in units of the threshold."""

    flip_rate: Number = None
    sqnr_db: Number = None
    dv_p50: Number = None
    dv_p99: Number = None
    dv_max: Number = None


class ErrorLayer(Loose):
    """V4: one layer alone, and at the end of the chain."""

    name: Text
    local: ErrorFigures = Field(default_factory=ErrorFigures)
    accumulated: ErrorFigures = Field(default_factory=ErrorFigures)


class ErrorData(Loose):
    """V4: all layers."""

    layers: list[ErrorLayer] = Field(default_factory=list)


class Cloud(Loose):
    """V5: paired values of the trained and the chip network."""

    trained: list[Number] = Field(alias="float", default_factory=list)
    chip: list[Number] = Field(default_factory=list)


class MatchLayer(Loose):
    """V5: perturbation of one layer's membrane, before and after conversion."""

    name: Text
    samples: Count = None
    median_rel_diff: Number = None
    p99_rel_diff: Number = None
    spearman: Number = None
    direction: Number = None
    ratio: Number = None
    ratio_ci: Pair = None
    verdict: Verdict = "info"
    scatter: Cloud = Field(default_factory=Cloud)
    energy: Cloud = Field(default_factory=Cloud)


class Attack(Loose):
    """V5: one perturbation."""

    name: Text
    layers: list[MatchLayer] = Field(default_factory=list)


class MatchLimits(Loose):
    """V5: what each layer is judged by, as the suite sets it."""

    median_difference: Number = None
    p99_difference: Number = None
    spearman: Number = None
    ratio: Pair = None


class MatchData(Loose):
    """V5: all perturbations."""

    attacks: list[Attack] = Field(default_factory=list)


class AccuracyRow(Loose):
    """V7: accuracy before and after under one perturbation; shares in 0..1."""

    perturbation: Text
    strength: Number = None
    samples: Count = None
    float_accuracy: Number = None
    chip_accuracy: Number = None
    difference: Number = None
    ci: Pair = None
    margin: Number = None
    tost: Verdict = "info"
    mcnemar_p: Number = None
    only_float: Count = None
    only_chip: Count = None
    float_ci: Pair = None
    chip_ci: Pair = None
    clean_float_accuracy: Number = None
    clean_chip_accuracy: Number = None
    clean_float_ci: Pair = None
    clean_chip_ci: Pair = None
    bound: Text = ""

    @property
    def bound_note(self) -> str:
        """What an accuracy under attack is, and of which attack; empty for clean and noise."""
        attacked = self.perturbation.lower().startswith(GRADIENT_KINDS)
        return self.bound or ("upper bound: weak attack" if attacked else "")


class View(Loose):
    """V7: one image as both networks saw it; pixels are uint8 (C, H, W) in base64."""

    perturbation: Text = ""
    strength: Number = None
    trained: Count = None
    chip: Count = None
    shape: list[int] = Field(default_factory=list)
    pixels: Text = ""


class Example(Loose):
    """V7: one image of the data set, clean and perturbed; ``kind`` says why it was chosen."""

    kind: Text = ""
    image: Count = None
    label: Count = None
    views: list[View] = Field(default_factory=list)


class Plausibility(Loose):
    """V7: is the trained network's clean accuracy believable? Shares in 0..1."""

    accuracy: Number = None
    chance: Number = None
    recorded: Number = None
    floor: Number = None
    believable: bool = True


class AccuracyData(Loose):
    """V7: all perturbations and strengths.

    ``predictions``: (true class, class of the trained network, class of the chip network, images)
    for clean images, one entry per combination that occurs.
    """

    rows: list[AccuracyRow] = Field(default_factory=list)
    predictions: list[tuple[int, int, int, int]] = Field(default_factory=list)
    examples: list[Example] = Field(default_factory=list)
    plausibility: Plausibility | None = None


class RangeLayer(Loose):
    """V9: proved bounds of one layer, in v-units."""

    name: Text
    sum_bound: Number = None
    u_bound: Number = None
    v_low: Number = None
    v_high: Number = None
    headroom_bits: Number = None
    ok: bool | None = None


class RangeData(Loose):
    """V9: all layers."""

    layers: list[RangeLayer] = Field(default_factory=list)


class BoundaryLayer(Loose):
    """V13: states on or beside the threshold; quantiles of the margin in threshold units."""

    name: Text
    states: Count = None
    on_threshold: Count = None
    within_1_lsb: Count = None
    float_within_1_lsb: Count = None
    margin_quantiles: dict[str, Number] = Field(default_factory=dict)


class ForcedTies(Loose):
    """V13: states put exactly on the threshold on purpose."""

    states: Count = None
    mismatches: Count = None


class BoundaryData(Loose):
    """V13: all layers."""

    layers: list[BoundaryLayer] = Field(default_factory=list)
    forced_ties: ForcedTies | None = None


DATA_TYPES: dict[str, type[Loose]] = {
    "V1": ExactData,
    "V2": StageData,
    "V3": DivergenceData,
    "V4": ErrorData,
    "V5": MatchData,
    "V7": AccuracyData,
    "V9": RangeData,
    "V13": BoundaryData,
}
