"""The report of a verification as one typed document, for ``verify`` and for every reader."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, field_serializer

from spikeproof.document.values import (
    Anything,
    Count,
    Json,
    Number,
    Record,
    Text,
    dump,
    explain,
    fit,
)
from spikeproof.errors import InputError, list_problems
from spikeproof.io.files import read_bytes
from spikeproof.io.known import DataRecord
from spikeproof.io.record import TableRow
from spikeproof.io.wiring import ConnectionRow
from spikeproof.verify.checks.base import Check
from spikeproof.verify.checks.registry import known
from spikeproof.verify.operations import LayerOperations

SCHEMA = 2
"""1: version 0.1 and what came up to the second house plan; every version differed a little."""
REPORT_JSON, REPORT_HTML = "report.json", "report.html"
_LIMIT_BYTES = 64 << 20
_HINT = "Run `spikeproof verify` again to write a fresh report."

DataT = TypeVar("DataT", bound=Record)


class FitRow(Record):
    """What the network needs of one chip's resource, and what there is."""

    chip: Text
    resource: Text
    needed: Count
    available: Count
    fits: bool | None
    source: Text


class Network(Record):
    """The network that was converted, and what it costs."""

    name: Text
    input_shape: list[int]
    timesteps: int
    layers: list[TableRow] = Field(default_factory=list)
    chip_fit: list[FitRow] = Field(default_factory=list)
    connections: list[ConnectionRow] = Field(default_factory=list)
    """What each layer reads; empty where that is the layer before it."""
    operations: list[LayerOperations] = Field(default_factory=list)
    operations_samples: Count = None

    @property
    def readouts(self) -> set[str]:
        """Name the layers that fire no spikes."""
        return {row.layer for row in self.layers if row.neuron == "readout"}


class Provenance(Record):
    """Everything needed to repeat the run; reports of version 0.1 lack some of it."""

    spikeproof: Text | None = None
    python: Text | None = None
    numpy: Text | None = None
    machine: Text | None = None
    packages: dict[str, Anything] = Field(default_factory=dict)
    sources: Text | None = None
    """Hash of the program's own source."""
    bundle_hash: Text | None = None
    checkpoint_hash: Text | None = None
    source: Text | None = None
    """The file of another kind that the checkpoint was read from, and with which settings."""
    data_hash: Text | None = None
    calibration_hash: Text | None = None
    data_samples: Count = None
    data: DataRecord | None = None
    warnings: list[Text] = Field(default_factory=list)
    seeds: Anything = None
    suite: Anything = None
    """The settings of the run."""
    command: Text | None = None

    @field_serializer("data")
    def _whole(self, data: DataRecord | None) -> Json | None:
        return None if data is None else data.model_dump(mode="json")


class Report(Record):
    """The whole verification report."""

    schema_version: Literal[2] = Field(
        default=2, validation_alias="schema", serialization_alias="schema"
    )
    verdict: Literal["pass", "fail", "inconclusive"]
    sentence: Text
    network: Network
    checks: list[Check]
    report: Text | None = None
    """The page."""
    provenance: Provenance
    timing: dict[str, Number | Text] = Field(default_factory=dict)
    """Seconds by check, and when the run finished: all that differs from run to run."""

    @property
    def finished(self) -> datetime | None:
        """Return when the run ended; None in reports that do not say it."""
        try:
            return datetime.fromisoformat(str(self.timing.get("finished")))
        except ValueError:
            return None

    def check(self, identifier: str) -> Check | None:
        """Return the check with this id, or None when it did not run."""
        return next((c for c in self.checks if c.id == identifier), None)

    def result(self, kind: type[DataT]) -> DataT:
        """Return what the check with results of this type measured; empty when it did not run."""
        found = (c.data for c in self.checks)
        return next((data for data in found if isinstance(data, kind)), None) or kind()

    def json_document(self) -> Json:
        """Return the report as plain JSON, as it stands in its file."""
        return {"schema": SCHEMA, **dump(self)}


def parse_report(value: object, *, where: str = "report") -> Report:
    """Check a report and give it types.

    Raises:
        InputError: not a report, another schema, or fields that are missing or wrong (all listed).
    """
    if not isinstance(value, dict) or "schema" not in value:
        raise InputError("is not a spikeproof report (no 'schema' field)", where=where, hint=_HINT)
    if value["schema"] == 1:
        value = upgrade(value)
    if value["schema"] != SCHEMA:
        raise InputError(
            f"has report schema {value['schema']!r}; this version reads schemas 1 and {SCHEMA}",
            where=where,
            hint="Install the spikeproof version that wrote it, or run `spikeproof verify` again.",
        )
    try:
        report = Report.model_validate(value)
    except ValidationError as error:
        raise InputError(explain(error), where=where, hint=_HINT) from error
    seen: set[str] = set()
    for check in report.checks:
        if check.id in seen:
            raise InputError(f"holds check {check.id} twice", where=where, hint=_HINT)
        seen.add(check.id)
    return report.model_copy(update={"checks": _typed(report.checks, where)})


def load_report(path: Path | str) -> Report:
    """Read a report file.

    Raises:
        InputError: missing, not UTF-8, not JSON, or not a report of a schema that is read here.
    """
    raw = read_bytes(path, limit=_LIMIT_BYTES)
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not a text file (byte {error.start:,} is not UTF-8); expected report JSON",
            where=str(path),
            hint="Give the .json file that `spikeproof verify` wrote.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"is damaged or not JSON: {str(error)[:200]} ({len(raw):,} bytes)",
            where=str(path),
            hint=_HINT,
        ) from error
    return parse_report(value, where=str(path))


def as_report(report: Json | Report) -> Report:
    """Return ``report`` as a checked Report."""
    return report if isinstance(report, Report) else parse_report(report)


def upgrade(old: Json) -> Json:
    """Make a report of schema 1 one of today.

    What is not known any more is dropped; what was not recorded yet stays empty, and the page says
    so. The limits of V5 stood only among the settings.
    """
    report = fit({**old, "schema": SCHEMA}, Report)
    settings = old.get("provenance", {})
    suite = settings.get("suite") if isinstance(settings, dict) else None
    for check in report.get("checks", []):
        kind = known(str(check.get("id"))) if isinstance(check, dict) else None
        if kind is None:
            continue
        check["figures"] = fit(check.get("figures") or {}, kind.figures)
        data = fit(check.get("data") or {}, kind.result)
        if "limits" in kind.result.model_fields and isinstance(suite, dict):
            data = {"limits": suite.get("mppd"), **data}
        check["data"] = data
    return dict(report)


def _typed(checks: list[Check], where: str) -> list[Check]:
    """Give the figures and the data of every known check their types."""
    problems: list[str] = []
    typed = []
    for check in checks:
        kind = known(check.id)
        parts = {} if kind is None else {"figures": kind.figures, "data": kind.result}
        for name, of in parts.items():
            if isinstance(value := getattr(check, name), of):
                continue
            try:
                check = check.model_copy(update={name: of.model_validate(value)})
            except ValidationError as error:
                problems.append(explain(error, f"{check.id}.{name}."))
        typed.append(check)
    if problems:
        raise InputError(list_problems(problems), where=where, hint=_HINT)
    return typed
