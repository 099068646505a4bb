"""What the commands say about boards: the profile's price, its refusals, the chips' limits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

from spikeproof.cli.app import run
from spikeproof.io.bundle import load_bundle
from spikeproof.io.checkpoint import Checkpoint, save_checkpoint
from spikeproof.io.record import ProfileCost
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    DenseSynapse,
    LifNeuron,
    ReadoutNeuron,
)
from spikeproof.ir.floats import FloatNetwork, Lif, Linear, Readout
from spikeproof_lava import hardware
from spikeproof_lava.limits import LOWER_BOUNDS
from spikeproof_lava.target import LavaTarget

Text = pytest.CaptureFixture[str]


def document(capsys: Text, *args: object, code: int = 0) -> Any:
    capsys.readouterr()
    assert run([*map(str, args), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def convert(checkpoint: Path, images: Path, output: Path, *more: str) -> list[object]:
    return ["convert", checkpoint, "--calibration", images, "-o", output, *more]


def test_the_table_of_chips_fits_sixty_columns(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    bundle = tmp_path / "net.spk"
    assert run(["convert", "fmnist-lif-natural", "--no-search", "-o", str(bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    weights = r"Loihi 1  stored weights        ≥ 302,0\d\d  130,000,000  yes"
    assert any(re.fullmatch(weights, line) for line in lines), lines
    assert "Loihi 1  neurons                   7,194      131,072  yes" in lines
    assert max(len(line) for line in lines if not line.startswith("bundle: ")) <= 60


def test_the_profile_reports_its_price_in_output_json_and_record(
    tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path, capsys: Text
) -> None:
    path = tmp_path / "board.spk"
    args = convert(tiny_checkpoint, tiny_images, path, "--profile", "loihi")
    found = document(capsys, *args)
    cost = ProfileCost.model_validate(found["profile_cost"])
    assert [row.layer for row in cost.layers] == ["l1", "l2"] and cost.samples == 24
    assert cost.accuracy is not None and 0 <= cost.agreement <= 1
    record = load_bundle(path).record.document
    assert record["profile_cost"] == found["profile_cost"]
    assert record["options"]["profile"] == found["options"]["profile"] == "loihi"
    assert run([*map(str, args)]) == 0
    shown = "".join(capsys.readouterr())
    assert "accuracy on the 24 calibration images" in shown
    assert f"{cost.layers[0].flips:.4%}" in shown and "flips, profile loihi" in shown
    assert run(["inspect", str(path)]) == 0
    assert "flips, profile loihi" in "".join(capsys.readouterr())


def test_the_default_profile_reports_no_price(
    tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path, capsys: Text
) -> None:
    found = document(capsys, *convert(tiny_checkpoint, tiny_images, tmp_path / "a.spk"))
    assert found["profile_cost"] is None and found["options"]["profile"] == "default"
    assert "profile_cost" not in load_bundle(tmp_path / "a.spk").record.document


@pytest.mark.parametrize("coding", ["auto", "graded"])
def test_what_the_profile_makes_is_exported_and_accepted_by_the_board(
    tiny_checkpoint: Path,
    tiny_images: Path,
    tmp_path: Path,
    capsys: Text,
    coding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, net, back = (tmp_path / name for name in ("a.spk", "a.net", "b.spk"))
    args = convert(tiny_checkpoint, tiny_images, path, "--profile", "loihi")
    document(capsys, *args, "--input-coding", coding)
    document(capsys, "export", path, "--format", "net", "-o", net)
    document(capsys, "convert", net, "--calibration", tiny_images, "-o", back)
    first, second = load_bundle(path), load_bundle(back)
    np.testing.assert_array_equal(first.stimulus, second.stimulus)
    for ours, theirs in zip(first.network.layers, second.network.layers, strict=True):
        key = "v" if isinstance(ours.neuron, ReadoutNeuron) else "s"
        expected, found = (
            bundle.expected[f"{layer.name}/{key}"]
            for bundle, layer in ((first, ours), (second, theirs))
        )
        np.testing.assert_array_equal(expected, found)
    monkeypatch.setattr(hardware, "missing", list)
    assert LavaTarget("loihi2").problems(first.network) == []


def test_a_refused_export_names_the_profile(
    tiny_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    path = tmp_path / "a.net"
    assert run(["export", str(tiny_bundle), "--format", "net", "-o", str(path)]) == 2
    assert "--profile loihi" in capsys.readouterr().err and not path.exists()


def test_a_gain_over_time_is_refused_and_nothing_is_written(
    tiny_images: Path, tmp_path: Path, capsys: Text
) -> None:
    rng = np.random.default_rng(0)
    nodes = (
        Linear("fc1", rng.normal(0, 0.2, (12, 64)), None),
        Lif("l1", 0.9, 1.0, gain=np.array([1.0, 0.7, 1.3, 0.9])),
        Linear("fc2", rng.normal(0, 0.5, (10, 12)), None),
        Readout("out"),
    )
    path = tmp_path / "dlif.ckpt"
    save_checkpoint(path, Checkpoint(FloatNetwork("dlif", (1, 8, 8), 4, nodes)))
    args = convert(path, tiny_images, tmp_path / "a.spk", "--profile", "loihi")
    assert run([*map(str, args)]) == 2
    shown = capsys.readouterr().err
    assert "l1: its gain changes with the step" in shown and "plain LIF" in shown
    assert not (tmp_path / "a.spk").exists()


def test_limits_of_the_chips_show_in_convert_inspect_and_for_net_files(
    tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path, capsys: Text
) -> None:
    bundle, net = tmp_path / "a.spk", tmp_path / "a.net"
    args = convert(tiny_checkpoint, tiny_images, bundle, "--profile", "loihi")
    wanted = document(capsys, *args)["chip_fit"]
    assert {row["chip"] for row in wanted} == {"Loihi 1", "Loihi 2"}
    assert {"inputs to one neuron", "cores (at least)"} <= {row["resource"] for row in wanted}
    document(capsys, "export", bundle, "--format", "net", "-o", net)
    for command in (
        ["inspect", bundle],
        ["inspect", net],
        ["convert", net, "-o", tmp_path / "b.spk"],
    ):
        assert document(capsys, *command)["chip_fit"] == wanted
        assert run([*map(str, command)]) == 0
        told = " ".join("".join(capsys.readouterr()).split())
        assert f"published limit exceeded; {LOWER_BOUNDS}" in told or (
            "beyond published limits" in told and f"; {LOWER_BOUNDS}" in told
        )


def test_the_line_names_what_exceeds_a_limit(tmp_path: Path, capsys: Text) -> None:
    from spikeproof.formats.netx.write import save_netx

    weight = np.full((2, 5000), 2, np.int16)
    layer = ChipLayer(
        "wide",
        (Connection(DenseSynapse(weight, "excitatory")),),
        LifNeuron(9, 41, np.zeros(1, np.int32), 6),
        (2,),
    )
    save_netx(ChipNetwork("wide", (5000, 1, 1), 4, (layer,), "spikes"), tmp_path / "wide.net")
    assert run(["inspect", str(tmp_path / "wide.net")]) == 0
    assert "beyond published limits: Loihi 1: inputs to one neuron" in "".join(capsys.readouterr())
