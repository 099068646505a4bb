"""docs/performance.md and docs/scaling.md show the figures that were measured."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from spikeproof.bench.document import Line, Point, Scaling, Series, Speeds, load_document
from spikeproof.document.values import dump
from spikeproof.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
SWEEP = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def figures() -> dict:
    return runpy.run_path(str(ROOT / "tests" / "figures.py"))


def test_the_pages_show_the_measured_figures(figures: dict) -> None:
    assert figures["performance"](PAGE) == PAGE, "run: python tests/figures.py"
    assert figures["sweep"](SWEEP) == SWEEP, "run: python tests/figures.py"
    assert "Not measured" not in PAGE + SWEEP
    machine = load_document(ROOT / "docs" / "bench.json", Speeds).machine
    assert machine.load_before <= 0.5, "the page says that such figures do not belong there"


def test_scaling_figures_come_with_their_drawing(figures: dict, tmp_path: Path) -> None:
    point = Point(
        timesteps=16, neurons=1, synapses=1, seconds=0.0125, peak_bytes=300 << 20, own_bytes=0
    )
    fit = Line(fixed_seconds=2e-5, seconds_per_unit=7.8e-4, largest_deviation=0.071)
    series = Series(axis="timesteps", fit=fit, points=[point])
    (tmp_path / "docs").mkdir()
    document = Scaling(schema_version=1, generator="x", samples_per_call=1, series=[series])
    (tmp_path / "docs" / "scaling.json").write_text(json.dumps(dump(document)))
    made = figures["performance"](PAGE, tmp_path)
    assert "| timesteps | 20 µs | 7.8e+05 ms | 7 % | 16 | 12.5 ms | 300 MiB |" in made
    assert "Not measured yet." in made
    assert (ROOT / "docs/scaling.json").is_file() == (ROOT / "docs/scaling.svg").is_file()


def test_a_page_without_its_markers_is_an_error(figures: dict) -> None:
    with pytest.raises(ValueError, match="figures:bench"):
        figures["with_table"]("nothing here", "x", "bench")


def test_a_document_from_before_it_named_its_writer_is_read(tmp_path: Path) -> None:
    old = json.loads((ROOT / "docs" / "scaling.json").read_text(encoding="utf-8"))
    del old["generator"]
    path = tmp_path / "scaling.json"
    path.write_text(json.dumps(old))
    assert load_document(path, Scaling) == load_document(ROOT / "docs" / "scaling.json", Scaling)


def test_another_document_is_an_error_with_the_command_that_makes_one(tmp_path: Path) -> None:
    old = json.loads((ROOT / "docs" / "scaling.json").read_text(encoding="utf-8"))
    path = tmp_path / "scaling.json"
    for change, message in (
        ({"schema": 7}, "has schema 7, this version reads 1"),
        ({"series": [{"axis": "speed"}]}, "series.0.axis: "),
        ({"sereis": []}, "sereis: "),
    ):
        path.write_text(json.dumps({**old, **change}))
        with pytest.raises(InputError, match=message) as error:
            load_document(path, Scaling)
        assert "spikeproof bench --scaling" in str(error.value)
    path.write_text("[]")
    with pytest.raises(InputError, match="is no document of the bench"):
        load_document(path, Speeds)
