"""The commands as a contract: exit codes, one JSON document on stdout, files that appear."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from residual import residual

from spikeproof.cli.app import run
from spikeproof.cli.parser import COMMANDS
from spikeproof.describe.trained import checkpoint_rows
from spikeproof.io.checkpoint import Checkpoint

Cli = Callable[..., Any]


def test_help_lists_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_common_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--json", "--quiet", "--verbose", "--debug"))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["runn"], "Did you mean 'run'"),
        (["run", "--sped"], "--sped"),
        (["run"], "BUNDLE"),
        (["run", "x.spk"], "cannot be read"),
        (["inspect", "no-such-network"], "neither a file nor a shipped network"),
        (["inspect", "nothing.ckpt"], "cannot be read"),
        (["run", "x.spk", "--self-test", "--limit", "0"], "limit"),
    ],
)
def test_wrong_use_is_exit_code_2_with_the_reason(
    args: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert expected in err
    assert "Traceback" not in err
    assert out == ""


def test_no_command_shows_the_help_and_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([]) == 2
    assert "demo" in capsys.readouterr().out


def test_an_error_with_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "nothing.ckpt", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == 2
    assert "nothing.ckpt" in error["message"]


def test_an_unexpected_error_is_exit_code_4_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("spikeproof.cli.show.show_file", explode)
    assert run(["inspect", "x.ckpt"]) == 4
    assert "Traceback" not in capsys.readouterr().err
    assert run(["inspect", "x.ckpt", "--debug"]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_is_exit_code_2_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spikeproof.cli.show.show_file", interrupt)
    assert run(["inspect", "x.ckpt"]) == 2
    assert "run the same command again" in capsys.readouterr().err


def test_inspect_counts_the_neurons_of_an_or_pool() -> None:
    rows = {row.layer: row for row in checkpoint_rows(Checkpoint(residual()))}
    assert rows["any"].kind == "MaxPool2d"
    assert rows["any"].neurons == 6 * 4 * 4
    assert rows["any"].details == "windows (2, 2), stride (2, 2)"


def test_inspect_describes_checkpoint_and_bundle(
    tiny_checkpoint: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(tiny_checkpoint), "--json"]) == 0
    checkpoint = json.loads(capsys.readouterr().out)
    assert checkpoint["kind"] == "checkpoint"
    assert [r["neurons"] for r in checkpoint["layers"] if r["kind"] == "Lif"] == [64, 12]
    assert run(["inspect", str(tiny_bundle), "--json"]) == 0
    bundle = json.loads(capsys.readouterr().out)
    assert bundle["kind"] == "bundle"
    assert [r["layer"] for r in bundle["layers"]] == ["l1", "l2", "out"]
    table = {row["layer"]: row for row in bundle["record"]["table"]}  # what convert shows
    for row in bundle["layers"]:
        assert (row["kind"], row["neuron"]) == tuple(
            table[row["layer"]][k] for k in ("kind", "neuron")
        )
    assert bundle["record"]["checkpoint"]["name"] == "tiny"
    assert all(row["fits"] for row in bundle["chip_fit"])


def test_inspect_gives_the_same_answer_through_the_parser_and_without_it(
    tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(tiny_checkpoint), "--json"]) == 0
    quick = capsys.readouterr()
    assert run(["inspect", "--json", str(tiny_checkpoint)]) == 0
    assert capsys.readouterr() == quick


def test_convert_is_deterministic_and_records_its_origin(
    tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").mkdir()
    paths = [tmp_path / "a" / "one.spk", tmp_path / "two.spk"]
    for path in paths:
        code = run(
            [
                "convert",
                str(tiny_checkpoint),
                "-o",
                str(path),
                "--json",
                "--calibration",
                str(tiny_images),
            ]
        )
        assert code == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    first, _ = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["bundle"] == str(paths[0])
    assert first["options"]["weight_bits"] == 8


def test_convert_takes_options_from_a_file_and_the_command_line_wins(
    tiny_checkpoint: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "convert.toml"
    config.write_text("weight_bits = 4\ncalibration_samples = 8\n")
    args = [
        "convert",
        str(tiny_checkpoint),
        "--calibration",
        str(tiny_images),
        "--dry-run",
        "--config",
        str(config),
        "--weight-bits",
        "6",
        "--json",
    ]
    assert run(args) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["weight_bits"], plan["calibration_samples"]) == (6, 8)
    assert not list(tmp_path.glob("*.spk"))
    config.write_text("weight_bit = 4\n")
    assert run(args) == 2
    assert "did you mean 'weight_bits'" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_run_prints_the_result_and_writes_the_trace(
    engine: str,
    tiny_bundle: Path,
    tiny_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trace = tmp_path / "trace.npz"
    code = run(
        [
            "run",
            str(tiny_bundle),
            "--engine",
            engine,
            "--data",
            str(tiny_images),
            "--limit",
            "5",
            "--trace",
            str(trace),
            "--json",
        ]
    )
    assert code == 0
    result = json.loads(capsys.readouterr().out)
    assert {k: result[k] for k in ("schema", "engine", "samples")} == {
        "schema": 1,
        "engine": engine,
        "samples": 5,
    }
    assert len(result["predictions"]) == 5
    assert 0 <= result["accuracy"] <= 1
    assert result["seconds"] >= 0
    with np.load(trace) as arrays:
        shapes = {name: arrays[name].shape for name in arrays.files}
    conv, dense = (5, 4, 4, 4, 4), (5, 4, 12)
    assert shapes == {
        "l1/s": conv,
        "l1/u": conv,
        "l1/v": conv,
        "l2/s": dense,
        "l2/u": dense,
        "l2/v": dense,
        "out/v": (5, 4, 10),
    }


def test_run_without_labels_reports_no_accuracy(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "x.npz"
    np.savez(images, x=np.random.default_rng(0).random((3, 1, 8, 8)))
    assert run(["run", str(tiny_bundle), "--data", str(images), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] is None


def test_self_test_passes_and_its_exit_code_follows_the_result(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["run", str(tiny_bundle), "--self-test", "--engine", "fast", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["self_test"] == "pass"
    assert result["compared"] > 0
    assert result["mismatches"] == 0

    from spikeproof.engines import self_test

    wrong = self_test.SelfTest(compared=10, mismatches={"l1/s": 1})
    monkeypatch.setattr(self_test, "self_test", lambda *_: wrong)
    assert run(["run", str(tiny_bundle), "--self-test", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["self_test"] == "fail"


def test_json_keeps_stdout_for_the_document_and_quiet_keeps_stderr_short(
    tiny_bundle: Path, tiny_images: Path, cli: Cli
) -> None:
    done = cli("run", tiny_bundle, "--data", tiny_images, "--json", "-q")
    assert done.returncode == 0
    json.loads(done.stdout)
    said = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(said) == 1
    assert "\x1b" not in done.stderr
    plain = cli("run", tiny_bundle, "--data", tiny_images)
    assert "accuracy" in plain.stdout
    assert "\x1b" not in plain.stdout + plain.stderr


def test_doctor_says_in_about_ten_lines_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    out, err = capsys.readouterr()
    findings = json.loads(out)["findings"]
    assert {"Python", "NumPy", "Lava", "torch", "GPU", "Loihi extension"} <= {
        f["name"] for f in findings
    }
    assert all(f["fix"] for f in findings if f["state"] == "bad")
    assert len(err.splitlines()) < 24


def test_convert_says_what_it_uses_and_calls_a_sorted_file_so(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), np.uint8)
    data = tmp_path / "sorted.npz"
    np.savez(data, x=x, y=np.repeat([0, 1], 30))
    line = ["convert", str(tiny_checkpoint), "--calibration", str(data), "-o", str(tmp_path / "n")]
    assert run([*line, "--dry-run", "--calibration-samples", "20"]) == 0
    told = capsys.readouterr().err
    assert "60 samples" in told and "of these the first 20" in told
    assert "the first 20 of 60 images" in told and "shuffle the file" in told
    assert "give images of several classes" not in told
    assert run([*line, "--dry-run", "--calibration-samples", "1"]) == 0
    told = capsys.readouterr().err
    assert "some hundreds of the 60 in the file (--calibration-samples)" in told
    assert "classes" not in told and "one label" not in told


def test_the_folder_of_a_run_and_another_number_of_samples_are_called_so(
    tiny_bundle: Path, tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "report.json").write_text("{}")
    assert run(["inspect", str(folder)]) == 2
    told = capsys.readouterr().err
    assert "is the folder of a verification" in told and "spikeproof report" in told
    line = ["run", str(tiny_bundle), "--data", str(tiny_images), "--journal", str(tmp_path / "j")]
    assert run([*line, "--engine", "reference", "--limit", "4"]) == 0
    capsys.readouterr()
    assert run([*line, "--engine", "reference", "--limit", "5"]) == 2
    told = capsys.readouterr().err
    assert "samples was 4, is 5" in told and "data was" not in told
