"""A row of the conversion's table is one type, closed for who writes and for who reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from verified import Case, build_case

from spikeproof import __version__
from spikeproof.errors import BundleError, InputError
from spikeproof.io.bundle import bundle_bytes, load_bundle
from spikeproof.io.record import TableRow, read_table
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
    with pytest.raises(ValueError, match=r"table\.0\.headroom_bits_x: Extra inputs"):
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
    record = {**case.bundle.record, "table": list(map(_renamed, case.bundle.record["table"]))}

    def write(**fields: Any) -> None:
        path.write_bytes(bundle_bytes(replace(case.bundle, record={**record, **fields})))

    write(spikeproof="0.0.9")
    assert load_bundle(path).record["table"] == record["table"]
    write(spikeproof=__version__, table=case.bundle.record["table"])
    assert load_bundle(path).record["table"] == case.bundle.record["table"]
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
