"""A row of the conversion's table is one type, closed for who writes and for who reads."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from verified import Case, build_case

from spikeproof import __version__
from spikeproof.engines.self_test import make_bundle
from spikeproof.errors import BundleError, InputError
from spikeproof.io.bundle import Bundle, bundle_bytes, load_bundle, save_bundle
from spikeproof.io.record import BundleRecord, TableRow, read_record, read_table
from spikeproof.verify.document import parse_report

REAL = Path(__file__).parents[1] / "report" / "real"


@pytest.fixture(scope="module")
def case() -> Case:
    return build_case()


def _report(name: str = "report") -> Any:
    return json.loads((REAL / f"{name}.json").read_text(encoding="utf-8"))


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    return {f"{k}_x" if k == "headroom_bits" else k: v for k, v in row.items()}


def test_a_writer_can_neither_rename_a_column_nor_leave_one_out() -> None:
    row = _report()["network"]["layers"][1]
    whole = TableRow(**row)
    assert whole.model_dump(mode="json") == row and isinstance(whole.v_low, int)
    for wrong in (_renamed(row), row | {"new": 1}, {k: row[k] for k in row if k != "scale"}):
        with pytest.raises(ValueError, match=r"headroom_bits_x|new|scale"):
            TableRow(**wrong)


def test_a_table_of_this_version_is_closed_and_others_are_read_as_far_as_they_go() -> None:
    row = _report()["network"]["layers"][0]
    with pytest.raises(ValueError, match=r"table\.0\.headroom_bits_x: is unknown"):
        read_table([_renamed(row)], __version__)
    for version in ("0.0.9", None):
        (read,) = read_table([_renamed(row)], version)
        assert read.headroom_bits is None and read.scale == row["scale"]
    (short,) = read_table([{"layer": "l1", "scale": 2}], __version__)
    assert (short.layer, short.scale, short.v_low, short.kind) == ("l1", 2, None, "")
    with pytest.raises(ValueError, match=r"table\.0\.scale: expected a number, found str"):
        read_table([row | {"scale": "2"}], None)


def test_a_bundle_with_a_renamed_column_is_refused_unless_another_version_wrote_it(
    case: Case, tmp_path: Path
) -> None:
    path = tmp_path / "net.spk"
    held = case.bundle.record.document
    record = {**held, "table": list(map(_renamed, held["table"]))}

    def write(**fields: Any) -> None:
        path.write_bytes(bundle_bytes(_unchecked(case.bundle, {**record, **fields})))

    write(spikeproof="0.0.9")
    assert load_bundle(path).record.document["table"] == record["table"]
    write(spikeproof=__version__, table=held["table"])
    assert load_bundle(path).record.document["table"] == held["table"]
    write(spikeproof=__version__)
    with pytest.raises(BundleError, match=r"table\.0\.headroom_bits_x"):
        load_bundle(path)


def test_the_rows_of_a_report_are_closed_and_those_of_older_ones_are_read() -> None:
    report = _report()
    layers = report["network"]["layers"]
    assert parse_report(report).network.layers[0] == TableRow(**layers[0])
    for rows in ([_renamed(layers[0])], [layers[0] | {"new": 1}]):
        with pytest.raises(InputError, match=r"network\.layers\.0\.(headroom_bits_x|new)"):
            parse_report({**report, "network": {**report["network"], "layers": rows}})
    for name in ("report-schema-1", "report-0.1"):
        old = _report(name)
        old["network"]["layers"] = [_renamed(row) for row in layers]
        read = parse_report(old).network.layers
        assert [r.headroom_bits for r in read] == [None] * len(layers)
        assert [r.scale for r in read] == [row["scale"] for row in layers]


KEYS = ["checkpoint", "calibration", "options", "units", "relations", "table"]
"""What every conversion writes, besides its version."""


def _without(record: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return the record with the key at ``path`` renamed."""
    key, *rest = path
    if rest:
        return {**record, key: _without(record[key], *rest)}
    return {f"{k}_x" if k == key else k: v for k, v in record.items()}


def _with(bundle: Bundle, record: dict[str, Any]) -> Bundle:
    """Return the bundle with another record."""
    return replace(bundle, record=read_record(BundleRecord, record, "a test"))


def _unchecked(bundle: Bundle, record: dict[str, Any]) -> Bundle:
    """Return the bundle with any record, as a file of somebody else may hold it."""
    held = BundleRecord()
    held._document = record
    return replace(bundle, record=held)


@pytest.fixture
def converted(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.mark.parametrize(
    "path",
    [(key,) for key in KEYS]
    + [("checkpoint", "hash"), ("calibration", "hash"), ("calibration", "samples")],
    ids=".".join,
)
def test_a_conversion_of_this_version_has_every_key_and_no_other(
    converted: Bundle, tmp_path: Path, path: tuple[str, ...]
) -> None:
    renamed = _without(converted.record.document, *path)
    told = r"no origin" if path == ("checkpoint",) else rf"{re.escape('.'.join(path))}: missing"
    with pytest.raises(BundleError, match=told):
        make_bundle(converted.network, renamed, converted.stimulus)
    (tmp_path / "a.spk").write_bytes(bundle_bytes(_unchecked(converted, renamed)))
    with pytest.raises(BundleError, match=told):
        load_bundle(tmp_path / "a.spk")


def test_what_a_conversion_does_not_write_is_refused_and_a_profile_is_not(
    converted: Bundle, tmp_path: Path
) -> None:
    for part, told in (({"units_x": {}}, "units_x: not known"), ({"netx": None}, "netx: not kno")):
        with pytest.raises(BundleError, match=told):
            _with(converted, converted.record.document | part)
    cost = {"profile": "loihi", "samples": 1, "agreement_default": 1, "agreement": 1, "layers": []}
    cost |= {"accuracy_trained": None, "accuracy_default": None, "accuracy": None}
    whole = _with(converted, converted.record.document | {"profile_cost": cost})
    assert load_bundle_of(save_bundle(tmp_path / "a.spk", whole), tmp_path).record == whole.record


def load_bundle_of(saved: Bundle, folder: Path) -> Bundle:
    """Read a bundle again that was saved as a.spk."""
    found = load_bundle(folder / "a.spk")
    assert found.content_hash == saved.content_hash
    return found


@pytest.mark.parametrize("version", ["0.0.9", None])
def test_records_of_other_releases_load_with_less_and_with_more(
    converted: Bundle, tmp_path: Path, version: str | None
) -> None:
    record = {
        k: v for k, v in converted.record.document.items() if k not in ("calibration", "options")
    }
    record |= {"later": 1, "spikeproof": version}
    saved = save_bundle(tmp_path / "a.spk", _with(converted, record))
    assert load_bundle_of(saved, tmp_path).record.document == record


def test_a_bundle_of_version_0_1_has_all_that_is_asked_for(
    converted: Bundle, tmp_path: Path
) -> None:
    """It knows no data set."""
    calibration = {k: converted.record.document["calibration"][k] for k in ("hash", "samples")}
    record = converted.record.document | {"calibration": calibration, "spikeproof": "0.1.0"}
    saved = save_bundle(tmp_path / "a.spk", _with(converted, record))
    assert load_bundle_of(saved, tmp_path).record.document == record


NETX = {
    "netx": {"name": "a.net", "hash": "a" * 64, "format": "lava-dl .net"},
    "options": {"timesteps": 4, "pixel_range": None, "skip_input": False, "input_shape": None},
    "stimulus": "given",
    "table": [{"layer": "l1", "own column": 3}],
    "spikeproof": __version__,
}
FUZZ = {"fuzz": {"seed": 1}, "engine": "fast", "mismatch": "s", "spikeproof": __version__}


@pytest.mark.parametrize("record", [NETX, FUZZ], ids=["net", "fuzz"])
def test_the_other_writers_of_this_version_are_known_too(
    converted: Bundle, tmp_path: Path, record: dict[str, Any]
) -> None:
    saved = save_bundle(tmp_path / "a.spk", _with(converted, record))
    assert load_bundle_of(saved, tmp_path).record.document == record
    for key in record:
        if key != "spikeproof":
            with pytest.raises(BundleError, match=rf"{key}: missing|no origin"):
                _with(converted, _without(record, key))
