"""The verification report as typed data: strict on its frame, tolerant to extra measurements."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from spikeproof.errors import InputError, list_problems
from spikeproof.io.files import read_bytes
from spikeproof.io.known import DataRecord
from spikeproof.reasons import Reason
from spikeproof.report.data import (
    DATA_TYPES,
    Anything,
    ConversionRow,
    Count,
    FitRow,
    Loose,
    MatchLimits,
    Number,
    OperationRow,
    Text,
    Verdict,
)

SCHEMA = 1
_LIMIT_BYTES = 64 << 20
_MAX_PROBLEMS = 8
_HINT = "Run `spikeproof verify` again to write a fresh report."

DataT = TypeVar("DataT", bound=Loose)


class Strict(BaseModel):
    """A record in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Network(Loose):
    """The network that was converted."""

    name: Text
    input_shape: list[int]
    timesteps: int
    layers: list[ConversionRow] = Field(default_factory=list)
    chip_fit: list[FitRow] = Field(default_factory=list)
    operations: list[OperationRow] = Field(default_factory=list)
    operations_samples: Count = None

    @property
    def readouts(self) -> set[str]:
        """Name the layers that fire no spikes."""
        return {row.layer for row in self.layers if row.neuron == "readout"}


class Provenance(Loose):
    """Everything needed to repeat the run."""

    spikeproof: Text | None = None
    python: Text | None = None
    numpy: Text | None = None
    packages: dict[str, Anything] = Field(default_factory=dict)
    bundle_hash: Text | None = None
    checkpoint_hash: Text | None = None
    data_hash: Text | None = None
    data_samples: Count = None
    data: DataRecord | None = None
    warnings: list[Text] = Field(default_factory=list)
    seeds: Anything = None
    suite: Anything = None
    command: Text | None = None


class Check(Strict):
    """One check: its verdict, one sentence, flat figures, what it measured, why it did not pass.

    Reports of version 0.1 have no ``reasons``.
    """

    id: Text
    title: Text
    kind: Literal["proved", "tested", "measured"]
    verdict: Verdict
    summary: Text = ""
    figures: dict[str, Anything] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    reasons: list[Reason] = Field(default_factory=list)

    @field_validator("data", mode="before")
    @classmethod
    def _absent_is_empty(cls, value: object) -> object:
        return {} if value is None else value


class Report(Strict):
    """The whole verification report."""

    schema_version: Literal[1] = Field(alias="schema")
    verdict: Literal["pass", "fail", "inconclusive"]
    sentence: Text
    network: Network
    checks: list[Check]
    report: Text | None = None
    provenance: Provenance
    timing: dict[str, Number | Text] = Field(default_factory=dict)
    """Seconds by check, and when the run finished: all that differs from run to run."""

    _data: dict[str, Loose] = PrivateAttr(default_factory=dict)

    @property
    def finished(self) -> datetime | None:
        """Return when the run ended; None in reports that do not say it."""
        try:
            return datetime.fromisoformat(str(self.timing.get("finished")))
        except ValueError:
            return None

    @property
    def limits(self) -> MatchLimits:
        """Return what V5 was judged by, from the settings of the run."""
        suite = self.provenance.suite
        found = suite.get("mppd") if isinstance(suite, dict) else None
        try:
            return MatchLimits.model_validate(found or {})
        except ValidationError:
            return MatchLimits()

    def check(self, identifier: str) -> Check | None:
        """Return the check with this id, or None when it did not run."""
        return next((c for c in self.checks if c.id == identifier), None)

    def data(self, identifier: str, kind: type[DataT]) -> DataT:
        """Return what a check measured; empty when it did not run."""
        known = self._data.get(identifier)
        if not isinstance(known, kind):
            check = self.check(identifier)
            known = kind.model_validate(check.data if check else {})
            self._data[identifier] = known
        return known


def parse_report(value: object, *, where: str = "report") -> Report:
    """Check a report and give it types.

    Raises:
        InputError: not a report, another schema, or fields that are missing or wrong (all listed).
    """
    if not isinstance(value, dict) or "schema" not in value:
        raise InputError("is not a spikeproof report (no 'schema' field)", where=where, hint=_HINT)
    if value["schema"] != SCHEMA:
        raise InputError(
            f"has report schema {value['schema']!r}; this version reads schema {SCHEMA}",
            where=where,
            hint="Install the spikeproof version that wrote it, or run `spikeproof verify` again.",
        )
    try:
        report = Report.model_validate(value)
    except ValidationError as error:
        raise InputError(_explain(error, ""), where=where, hint=_HINT) from error
    _check_unique(report, where)
    _check_data(report, where)
    return report


def load_report(path: Path | str) -> Report:
    """Read a report file.

    Raises:
        InputError: missing, not UTF-8, not JSON, or not a report of this schema.
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


def as_report(report: dict[str, Any] | Report) -> Report:
    """Return ``report`` as a checked Report."""
    return report if isinstance(report, Report) else parse_report(report)


def _check_unique(report: Report, where: str) -> None:
    seen: set[str] = set()
    for check in report.checks:
        if check.id in seen:
            raise InputError(f"holds check {check.id} twice", where=where, hint=_HINT)
        seen.add(check.id)


def _check_data(report: Report, where: str) -> None:
    problems: list[str] = []
    for check in report.checks:
        if (kind := DATA_TYPES.get(check.id)) is None:
            continue
        try:
            report.data(check.id, kind)
        except ValidationError as error:
            problems.append(_explain(error, f"{check.id}.data."))
    if problems:
        raise InputError(list_problems(problems), where=where, hint=_HINT)


def _explain(error: ValidationError, prefix: str) -> str:
    found = error.errors(include_url=False, include_context=False)
    lines = [
        f"{prefix}{'.'.join(map(str, e['loc']))}: {e['msg']} (found {_short(e['input'])})"
        for e in found[:_MAX_PROBLEMS]
    ]
    if len(found) > _MAX_PROBLEMS:
        lines.append(f"... and {len(found) - _MAX_PROBLEMS} more")
    return list_problems(lines)


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
