"""Three hundred networks through every engine that is installed, and the command around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from spikeproof.cli.commands.fuzz import find_engines, load_engine
from spikeproof.engines.self_test import make_bundle
from spikeproof.errors import InputError
from spikeproof.fuzz import campaign
from spikeproof.fuzz.draw.nasty import KINDS, draw_case
from spikeproof_lava import compat


def fuzz(*arguments: Any, **options: Any) -> Any:
    """Run a campaign and return its report as JSON."""
    return campaign.fuzz(*arguments, **options).json_document


SEED = 7
IN_PROCESS = {"numpy": None, "fast": None, "onnx": "onnxruntime", "torch": "torch"}
"""Engines, and the library that an engine cannot do without."""


def assert_clean(report: dict[str, Any], nets: int) -> None:
    assert report["failures"] == []
    assert report["verdict"] == "pass" and report["done"] == report["asked"] == nets
    for row in report["engines"]:
        assert row["compared"] == nets and row["skipped"] == 0, row
        assert row["values"] > 1000 * nets and row["nasty"] > 0.2 * nets


@pytest.mark.slow
def test_300_networks_on_every_engine_of_this_process() -> None:
    names = [n for n, library in IN_PROCESS.items() if library is None or find_spec(library)]
    report = fuzz(300, SEED, [load_engine(name) for name in names])
    assert_clean(report, 300)
    for kind in KINDS:
        assert report["kinds"][kind]["networks"] >= 3
        assert report["kinds"][kind]["events"] >= report["kinds"][kind]["networks"]


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.skipif(compat.installed_version() is None, reason="needs lava-nc")
def test_lava_on_a_part_of_them() -> None:
    report = fuzz(120, SEED, [load_engine("lava")])
    assert_clean(report, 120)
    assert all(row["networks"] >= 1 and row["events"] >= 1 for row in report["kinds"].values())


def test_the_command_shows_what_was_compared(cli: Callable[..., Any]) -> None:
    done = cli("fuzz", "--nets", 24, "--seed", 3, "--engine", "numpy", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "pass" and report["engines"][0]["compared"] == 24
    assert "PASS: 24 of 24 networks of seed 3 (8 nasty), 0 differences" in done.stderr
    assert "tie" in done.stderr and "times it happened" in done.stderr


def test_the_command_replays_a_bundle_that_leaves_the_chips_ranges(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    from spikeproof.io.bundle import save_bundle

    case = draw_case(SEED, 3 * list(KINDS).index("wrap"))
    assert case.kind == "wrap"
    save_bundle(tmp_path / "wrap.spk", make_bundle(case.network, {}, case.x[:2]))
    done = cli("fuzz", "--replay", tmp_path / "wrap.spk", "--engine", "numpy", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engines"][0]["values"] > 0
    data = bytearray((tmp_path / "wrap.spk").read_bytes())
    data[-1] ^= 1
    (tmp_path / "wrap.spk").write_bytes(data)
    done = cli("fuzz", "--replay", tmp_path / "wrap.spk", "--engine", "numpy")
    assert done.returncode == 2 and "wrap.spk" in done.stderr


@pytest.mark.parametrize("names", [["numpy", "numpy"], ["reference"], ["nonsense"]])
def test_engines_that_cannot_be_compared_are_refused(names: list[str]) -> None:
    with pytest.raises(InputError, match="--engine"):
        find_engines(names)


def test_all_installed_engines_are_taken_by_default() -> None:
    engines, absent = find_engines(None)
    names = {engine.name for engine in engines}
    assert {"numpy", "fast"} <= names and "reference" not in names
    assert not names & set(absent)
    assert len(names) == len(engines)
