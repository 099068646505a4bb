"""The records inside bundles and checkpoints, as typed documents.

What is read from a file of others is checked here once, so that nothing behind it meets a list
where it expects a number. Fields that another release adds pass through; a record that names this
release has all the fields that this release writes, and no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from spikeproof import __version__
from spikeproof.document.values import Count, Json, Number, Record, dump, explain, fit, message_of
from spikeproof.document.values import Text as Label
from spikeproof.errors import BundleError, list_problems
from spikeproof.io.known import DataRecord

Text = Annotated[str, Field(max_length=4096)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1 + 1e-9)]  # sums of floats may exceed 1 by a hair
Pixel = Annotated[float, Field(ge=-1e6, le=1e6)]
Whole = Annotated[int, Field(ge=0, lt=1 << 53)]
Cell = Text | Finite | bool | None | list[Finite | Text]


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class _HeldRecord(_Record):
    """A record as a file holds it: typed for who reads, and written again to the byte.

    To change one, change its document and read that (:func:`read_record`).
    """

    _document: Json | None = PrivateAttr(default=None)

    @property
    def document(self) -> Json:
        """The JSON it was read from, or that of the fields it was made with."""
        return dump(self) if self._document is None else self._document


class SourceRecord(_Record):
    """The foreign file a trained network was read from, and what was said that it leaves open.

    frontend: that read it. hash: SHA-256 of its bytes. settings: by name, plain JSON.
    """

    frontend: Text
    hash: Text
    settings: dict[Text, Any] = {}

    def text(self) -> str:
        """Say it in one line."""
        given = {name: value for name, value in self.settings.items() if value != []}
        told = ", ".join(f"{name} {_words(value)}" for name, value in given.items())
        return f"{self.frontend} file {self.hash[:12]}, read with {told}"


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


class Origin(_Record):
    """The checkpoint a bundle was converted from; ``source``: where that was of another kind."""

    name: Text
    hash: Text
    source: SourceRecord | None = None


class NetxOrigin(_Record):
    """The lava-dl ``.net`` file a bundle was read from."""

    name: Text
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    format: Text


class DeclaredRelation(Record):
    """What a pass promises, as :class:`spikeproof.convert.conversion.Relation`."""

    kind: Literal["exact", "bounded", "behavioural"]
    bound: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    unit: Text = ""


class TableRow(Record):
    """What conversion did to one layer: written by ``convert``, judged by ``verify``, and shown.

    Every column is written; None stands for what a layer has not, and for a column that an older
    version did not write. ``threshold`` and ``dv`` are integers, or lists with one entry per step
    for a DLIF table (``dv`` then holds 4096 - leak). ``flip_rate_calibration`` of a readout is the
    share of calibration images whose argmax changes. ``coding_flip_rates``: each coding tried.
    """

    layer: Label
    kind: Label
    neuron: Label
    inputs: Count
    neurons: Count
    synapses: Count
    weight_bits: Count
    scale: Number
    clipped_share: Number
    threshold: Number | list[Number] | None
    dv: Number | list[Number] | None
    bias_exponent: Count
    flip_rate_calibration: Number
    coding: Label
    coding_flip_rates: dict[Label, Number]
    sum_bound: Number
    host_bound: Number
    v_low: Number
    v_high: Number
    headroom_bits: Number


class FrontendRow(_Record):
    """One layer as the frontend of a file of chip integers describes it, in its own columns."""

    __pydantic_extra__: dict[str, Cell | dict[Text, Cell]] = Field(init=False)

    layer: Text | None = None
    kind: Text | None = None
    neuron: Text | None = None
    neurons: Whole | None = None
    scale: Finite | None = None
    v_low: Finite | None = None
    v_high: Finite | None = None
    headroom_bits: Finite | None = None


class LayerCost(Record):
    """Share of a layer's spikes that differ from the trained network's, 0..1."""

    layer: Text
    flips_default: Share
    flips: Share


class ProfileCost(Record):
    """A profile's conversion next to the default one, on the calibration images.

    accuracy_*: share of images with the right class, None (all three) without labels;
    agreement_*: share with the class the trained network gives.
    """

    profile: Text
    samples: Whole
    accuracy_trained: Share | None
    accuracy_default: Share | None
    accuracy: Share | None
    agreement_default: Share
    agreement: Share
    layers: list[LayerCost]

    @model_validator(mode="after")
    def _all_accuracies_or_none(self) -> ProfileCost:
        known = {a is None for a in (self.accuracy_trained, self.accuracy_default, self.accuracy)}
        if len(known) > 1:
            raise ValueError("accuracies are known of all three networks or of none")
        return self


class NetxOptionsRecord(_Record):
    """What was told about a ``.net`` file that it leaves open itself."""

    pixel_range: tuple[Pixel, Pixel] | None = None

    @field_validator("pixel_range")
    @classmethod
    def _tells_pixels_apart(cls, ends: tuple[float, float] | None) -> tuple[float, float] | None:
        if ends is not None and ends[0] == ends[1]:
            raise ValueError("black and white are the same value")
        return ends


class CalibrationRecord(_Record):
    """The images a bundle was calibrated with: the first ``samples`` of a file."""

    hash: Text | None = None
    samples: Whole = 0
    data: DataRecord | None = None


_Keys = tuple[set[str], set[str]]


def _keys_of(model: type[BaseModel]) -> _Keys:
    """Return the fields of a model that must be there, and those that may be."""
    needed = {name for name, info in model.model_fields.items() if info.is_required()}
    return needed, set(model.model_fields) - needed


_WRITTEN: dict[str, dict[str, _Keys]] = {
    "checkpoint": {
        "": (
            {"checkpoint", "calibration", "options", "units", "relations", "table", "spikeproof"},
            {"profile_cost"},
        ),
        "checkpoint": _keys_of(Origin),
        "calibration": (set(CalibrationRecord.model_fields), set()),
    },
    "netx": {
        "": ({"netx", "options", "stimulus", "table", "spikeproof"}, set()),
        "netx": _keys_of(NetxOrigin),
        "options": ({"timesteps", "pixel_range", "skip_input", "input_shape"}, set()),
    },
    "fuzz": {"": ({"fuzz", "engine", "mismatch", "spikeproof"}, set())},
}
"""By origin, what this version writes: the keys that are always there, and those that may be.

They stand for the record itself and for its parts; whatever else is in a part has a type that is
closed anyway, or its keys are names of layers.
"""


def _strange_keys(part: str, found: Any, needed: set[str], more: set[str]) -> list[str]:
    """Name the keys that a part of a record lacks, and those that it may not have."""
    where = f"{part}." if part else ""
    keys = set(found) if isinstance(found, dict) else set()
    lacking = [f"{where}{key}: missing" for key in sorted(needed - keys)]
    return lacking + [f"{where}{key}: not known" for key in sorted(keys - needed - more)]


class BundleRecord(_HeldRecord):
    """How a bundle was made: from a checkpoint, from a ``.net`` file, or neither (tests, fuzz).

    Not both: what is read from a ``.net`` file may wrap and saturate, as its integers say, and what
    was converted may not; no converted bundle gets round that by a second origin.
    """

    checkpoint: Origin | None = None
    netx: NetxOrigin | None = None
    units: dict[Text, Positive] = {}
    relations: dict[Text, DeclaredRelation] = {}
    table: list[FrontendRow] = []
    """Of a conversion every row is a :class:`TableRow`."""
    options: dict[Text, Any] = {}
    spikeproof: Text | None = None
    calibration: CalibrationRecord | None = None
    profile_cost: ProfileCost | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> BundleRecord:
        if self.checkpoint is not None and self.netx is not None:
            raise ValueError("names a checkpoint and a .net file; a bundle comes from one of them")
        return self

    @model_validator(mode="before")
    @classmethod
    def _all_that_this_version_writes(cls, record: Any) -> Any:
        if not isinstance(record, dict) or record.get("spikeproof") != __version__:
            return record
        origin = next((key for key in _WRITTEN if record.get(key) is not None), None)
        if origin is None:
            raise ValueError(
                f"names spikeproof {__version__} as its writer, but no origin: "
                f"{', '.join(_WRITTEN)}"
            )
        problems = [
            problem
            for part, (needed, more) in _WRITTEN[origin].items()
            for problem in _strange_keys(part, record.get(part) if part else record, needed, more)
        ]
        if problems:
            raise ValueError(
                f"it is not what spikeproof {__version__} writes: {list_problems(problems)}"
            )
        return record

    @model_validator(mode="after")
    def _rows_of_a_conversion(self) -> BundleRecord:
        if self.checkpoint is not None:
            read_table([row.model_dump(exclude_unset=True) for row in self.table], self.spikeproof)
        return self

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """The values for pixel 0 and 255 that a ``.net`` file was read with, where given."""
        return None if self.netx is None else _netx_options(self.options).pixel_range

    @model_validator(mode="after")
    def _options_of_a_net_file(self) -> BundleRecord:
        if self.netx is not None:
            _netx_options(self.options)
        return self


def _netx_options(options: dict[str, Any]) -> NetxOptionsRecord:
    try:
        return NetxOptionsRecord.model_validate(options)
    except ValidationError as error:  # told with its place; a validator may only raise ValueError
        found = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, found["loc"]))
        raise ValueError(f"options.{key}: {message_of(found)}") from error


def read_table(rows: Sequence[Json], version: str | None) -> list[TableRow]:
    """Give the rows of a conversion's table their type; ``version``: of the one who wrote them.

    A column that is missing is None, and whoever needs it says so. Columns that are none of this
    version's are left out of a table that another version wrote.

    Raises:
        ValueError: a value that cannot be, or in a table of this version a column that it has not.
    """
    found = []
    for i, row in enumerate(rows):
        known = fit(row, TableRow)
        try:
            others = row if version == __version__ else {}
            found.append(TableRow.model_validate({**known, **others}))
        except ValidationError as error:
            raise ValueError(f"table.{i}.{explain(error)}") from error
    return found


class EpochRecord(_Record):
    """One epoch of a training run."""

    epoch: Whole
    loss: Finite | None = None
    score: Finite | None = None
    clean: Finite | None = None
    perturbed: Finite | None = None


class Plan(Record):
    """How many epochs a run was to have from one epoch on: the learning rate depends on it."""

    from_epoch: int = Field(ge=1)
    epochs: int = Field(ge=1)


class TrainingRecord(_HeldRecord):
    """How a checkpoint was trained; empty for a network from elsewhere."""

    recipe: dict[Text, Any] | None = None
    training_images: Whole | None = None
    training_data_sha256: Text | None = None
    selected_epoch: Whole | None = None
    selected_by: Text | None = None
    data: DataRecord | None = None
    """What the images are, recognised by content."""
    history: list[EpochRecord] | None = None
    plans: list[Plan] | None = None
    """How many epochs it was to have, if that changed on the way."""
    torch: Text | None = None
    source: SourceRecord | None = None
    """The file of another kind that the network was read from."""

    @field_serializer("data")
    def _whole(self, data: DataRecord | None) -> Json | None:
        return None if data is None else data.model_dump(mode="json")


RecordT = TypeVar("RecordT", BundleRecord, TrainingRecord)


def read_record(kind: type[RecordT], record: Json, where: str) -> RecordT:
    """Check a record and return it as typed data that remember what they were read from.

    Raises:
        BundleError: a field has another type or an impossible value; the first few are listed.
    """
    try:
        found = kind.model_validate(record)
    except ValidationError as error:
        raise BundleError(
            f"its record cannot be used: {explain(error)}",
            where=where,
            hint="Create the file again with the release at hand.",
        ) from error
    found._document = record
    return found
