"""The faults command: paired figures with intervals, the same after a stop, errors that say how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.bundles import load_safe_bundle
from spikeproof.cli.app import run
from spikeproof.engines.floats import run_float
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.faults.registry import FAULTS
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spikeproof.io.kinds import is_kind
from spikeproof.io.record import TrainingRecord
from spikeproof.verify.faulted import FaultsDocument


@pytest.fixture
def data(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """40 images labelled as the trained network sees them."""
    x = np.random.default_rng(1).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    y = run_float(load_checkpoint(tiny_checkpoint).network, x).predictions
    np.savez(tmp_path / "labelled.npz", x=x, y=y)
    return tmp_path / "labelled.npz"


def words(bundle: Path, checkpoint: Path, data: Path, *more: object) -> list[str]:
    fixed = ["faults", bundle, "--against", checkpoint, "--data", data, "--json", *more]
    return list(map(str, fixed))


def document(capsys: pytest.CaptureFixture[str], given: list[str]) -> Any:
    capsys.readouterr()
    assert run(given) == 0
    return {**json.loads(capsys.readouterr().out), "seconds": 0, "results": None}


def failure(capsys: pytest.CaptureFixture[str], given: list[str]) -> str:
    capsys.readouterr()
    assert run(given) == 2
    return str(json.loads(capsys.readouterr().out)["error"]["message"])


def test_all_kinds(
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("numba", reason="the worst bits are found with a compiled twin")
    out = tmp_path / "results.json"
    given = words(tiny_bundle, tiny_checkpoint, data, "--seeds", 2, "-o", out)
    found = document(capsys, [*given, "--journal", str(tmp_path / "journal")])
    assert [one["kind"] for one in found["faults"][::3]] == FAULTS.names()
    assert found["samples"] == 40 and found["seeds"] == 2
    clean = found["clean"]
    chip = ReferenceEngine().run(load_safe_bundle(tiny_bundle).network, np.load(data)["x"])
    assert clean["trained"] == 1.0
    assert clean["chip"] == pytest.approx((chip.predictions == np.load(data)["y"]).mean())
    for one in found["faults"]:
        low, high = one["interval"]
        assert low <= one["difference"] <= high and one["draws"] == 2 and not one["refused"]
        assert one["difference"] == pytest.approx(one["chip"] - one["trained"])
        least, most = one["chip_range"]
        assert least <= one["chip"] <= most
    strongest = {one["kind"]: one for one in found["faults"]}
    assert strongest["weight-bits"]["chip"] < 0.9 and strongest["dead"]["trained"] < 0.9
    assert is_kind(out, "fault results")
    held = json.loads(out.read_text())
    assert held.pop("schema") == 1 and held.pop("generator") == "spikeproof"
    assert FaultsDocument.model_validate_json(json.dumps(held)).faults[0].kind == "weight-bits"
    # What is done stays done, and more seeds go on from there.
    before = (tmp_path / "journal/journal.jsonl").read_bytes()
    again = document(capsys, [*given, "--journal", str(tmp_path / "journal")])
    assert again == found and (tmp_path / "journal/journal.jsonl").read_bytes() == before
    more = [*given, "--kind", "dead", "--seeds", "3", "--journal", str(tmp_path / "journal")]
    assert document(capsys, more)["seeds"] == 3
    after = (tmp_path / "journal/journal.jsonl").read_bytes()
    assert after.startswith(before) and after.count(b"\n") == before.count(b"\n") + 3


def test_named_kinds_and_rates_on_two_processes(
    tiny_bundle: Path, tiny_checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(tiny_bundle, tiny_checkpoint, data, "--kind", "dead, dropped", "--rate", "0,.3")
    one = document(capsys, [*given, "--seeds", "2"])
    assert [(f["kind"], f["rate"]) for f in one["faults"]] == [
        ("dead", 0.0),
        ("dead", 0.3),
        ("dropped", 0.0),
        ("dropped", 0.3),
    ]
    for none in one["faults"][::2]:
        assert [none[k] for k in ("trained", "chip")] == [
            one["clean"][k] for k in ("trained", "chip")
        ]
    assert document(capsys, [*given, "--seeds", "2", "--workers", "2"]) == one


def test_a_table_for_people(
    tiny_bundle: Path, tiny_checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(tiny_bundle, tiny_checkpoint, data, "--kind", "stuck", "--seeds", 1)
    given.remove("--json")
    assert run(given) == 0
    shown = capsys.readouterr().out
    assert "20 % of neurons" in shown and "differ most under stuck" in shown


def test_what_cannot_be_done_says_why(
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tiny_network: Any,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = words(tiny_bundle, tiny_checkpoint, data)
    assert "no fault 'ded'; did you mean 'dead'?" in failure(capsys, [*given, "--kind", "ded"])
    assert "names no fault" in failure(capsys, [*given, "--kind", ","])
    wrong = [*given, "--kind", "dead", "--rate"]
    assert "dead at 5, expected 0 to 1 (of neurons)" in failure(capsys, [*wrong, "5"])
    assert "found 'x', expected a number" in failure(capsys, [*wrong, ".1,x"])
    other = tmp_path / "other.ckpt"
    record = TrainingRecord(recipe={"name": "tiny", "seed": 1})
    save_checkpoint(other, Checkpoint(tiny_network, record))
    told = failure(capsys, words(tiny_bundle, other, data))
    assert "the bundle was made from checkpoint" in told
    bare = tmp_path / "bare.npz"
    np.savez(bare, x=np.load(data)["x"])
    assert "no labels" in failure(capsys, words(tiny_bundle, tiny_checkpoint, bare))
