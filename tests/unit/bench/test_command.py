"""``spikeproof bench``: the form of its document, and figures that fit together."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from spikeproof.bench.document import Speeds, load_document
from spikeproof.bench.run import net_names
from spikeproof.cli.app import run
from spikeproof.errors import InputError
from spikeproof.io.zoo import zoo_networks

ROOT = Path(__file__).resolve().parents[3]
REQUIRED_RATIOS = {"lava", "torch_float", "torch_float_batch1", "onnx", "torch_snn"}


def test_the_quick_document_has_the_promised_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "--quick", "--json", "--nets", "mlp", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["schema"] == 1
    assert document["machine"]["threads"] == 1
    (net,) = document["nets"]
    assert net["net"] == "mlp"
    assert set(net["ratios"]) >= REQUIRED_RATIOS
    assert net["ratios"]["lava"] is None
    assert net["absent"]["lava"] == "left out"
    assert 0.08 <= net["activity"]["l1"] <= 0.12
    check_figures(net)
    path = tmp_path / "bench.json"
    path.write_text(out)
    check_tables(load_document(path, Speeds))
    assert "fast" in err
    assert "absent: lava: left out" in err


def check_figures(net: dict) -> None:
    """Rates are medians of the turns, ratios medians of the ratios within a round."""
    turns, rates = net["turns"], net["samples_per_second"]
    assert rates["fast"] >= rates["fast_batch1"] > 0
    fast = {key: turns["fast"][str(net["batches"][key])] for key in ("fast", "fast_batch1")}
    for key, ratio in net["ratios"].items():
        if ratio is None:
            continue
        own = turns[net["winners"][key]][str(net["batches"][key])]
        against = fast["fast_batch1" if key.endswith("_batch1") else "fast"]
        assert rates[key] == pytest.approx(np.median(own))
        assert ratio == pytest.approx(np.median(np.divide(against, own)))
        low, high = net["quartiles"][key]
        assert low <= ratio <= high
    whole = net["ceilings"]
    if whole["share"] is not None:
        assert whole["share"] == pytest.approx(whole["floor_seconds"] * rates["fast"])


def check_tables(document: Speeds) -> None:
    """The page's tables take any document; what is missing is a dash."""
    figures = runpy.run_path(str(ROOT / "tests" / "figures.py"))
    (net,) = document.nets
    speeds, shares = figures["bench_tables"](document), figures["share_table"](document)
    ratios = next(line for line in speeds.splitlines()[8:] if line.startswith("| mlp |"))
    assert ratios.endswith("| – |")  # Lava
    assert f"{net.samples_per_second['fast']:,.0f}" in speeds
    assert [line.split(" | ")[1] for line in shares.splitlines() if line.startswith("| mlp")] == [
        "l1",
        "l2",
        "all, on all threads",
    ]


def test_names_of_networks_are_checked_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "--nets", "mlp,cnov"]) == 2
    err = capsys.readouterr().err
    assert "'cnov'" in err
    assert "mlp, conv, fmnist-" in err
    assert "Peaks" not in err


def test_zoo_stands_for_all_shipped_networks_once() -> None:
    shipped = list(zoo_networks())
    assert net_names(["zoo", shipped[0], "mlp"]) == [*shipped, "mlp"]
    with pytest.raises(InputError, match="no network 'x', 'y'"):
        net_names(["x", "y"])


def test_a_drawing_that_cannot_be_written_is_refused_first(
    tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", "--quick", "--scaling", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
