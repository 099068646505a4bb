"""No command writes over what it reads, or over a file of another kind, however it is named."""

from __future__ import annotations

import inspect
import json
import os
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikeproof.cli.app import run
from spikeproof.cli.outputs import Output, check_outputs
from spikeproof.cli.parser import COMMANDS
from spikeproof.errors import InputError
from spikeproof.io.bundle import save_bundle
from spikeproof.io.kinds import Kind, is_kind

PLACES = {
    "convert": ({"output"}, {"calibration", "config"}),
    "run": ({"trace", "journal"}, {"bundle", "data"}),
    "export": ({"output"}, {"bundle"}),
    "attack": ({"output", "journal"}, {"data"}),
    "faults": ({"output", "journal"}, {"bundle", "data"}),
    "verify": ({"output"}, {"bundle", "config", "data", "calibration"}),
    "train": ({"output"}, {"recipe", "data_dir"}),
    "report": ({"output", "card"}, {"run"}),
    "demo": ({"output"}, set()),
    "fuzz": ({"output"}, {"replay"}),
    "bench": ({"scaling"}, set()),
    "inspect": (set(), set()),
    "doctor": (set(), set()),
}
"""Every option and argument that is a path: what is written, and what is only read."""


def paths_of(command: str) -> set[str]:
    build: Callable[[], Any] = import_module(f"spikeproof.cli.commands.{command}").build

    def is_path(annotation: Any) -> bool:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else ()
        return annotation is Path or Path in members

    parameters = inspect.signature(build()).parameters.values()
    return {p.name for p in parameters if is_path(p.annotation)}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_path_of_every_command_is_known_here_as_read_or_written(command: str) -> None:
    written, read = PLACES[command]
    assert paths_of(command) == written | read
    if written and command != "fuzz":  # whose files have names of their own
        build = import_module(f"spikeproof.cli.commands.{command}").build
        assert "force" in inspect.signature(build()).parameters


@dataclass
class Place:
    """A folder with one of each input, and the commands that read and write them."""

    root: Path
    inputs: dict[str, Path] = field(default_factory=dict)

    def snapshot(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in self.inputs.values()}


@pytest.fixture
def place(tmp_path: Path, root: Path, tiny_network: Any, tiny_checkpoint: Path) -> Place:
    from spikeproof.convert.options import ConvertOptions
    from spikeproof.convert.pipeline import convert_network
    from spikeproof.engines.self_test import make_bundle

    x = np.random.default_rng(1).integers(0, 256, (24, 1, 8, 8), dtype=np.uint8)
    chip = convert_network(tiny_network, x, ConvertOptions(search=False, compensate=False)).chip
    save_bundle(tmp_path / "b.spk", make_bundle(chip, {}, x[:2]))
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(24) % 10)
    (tmp_path / "c.toml").write_text("")
    recipe = (root / "models/recipes/lif-natural.toml").read_text()
    (tmp_path / "r.toml").write_text(recipe)
    found = Place(tmp_path, {"checkpoint": tiny_checkpoint})
    names = {"bundle": "b.spk", "data": "d.npz", "config": "c.toml", "recipe": "r.toml"}
    found.inputs |= {name: tmp_path / file for name, file in names.items()}
    return found


CASES = [
    (
        "convert {checkpoint} --calibration {data} --config {config} -o OUT",
        ["checkpoint", "data", "config"],
    ),
    ("run {bundle} --data {data} --trace OUT", ["bundle", "data"]),
    ("export {bundle} -o OUT", ["bundle"]),
    ("attack {bundle} --data {data} -o OUT", ["bundle", "data"]),
    ("attack {checkpoint} --data {data} -o OUT", ["checkpoint", "data"]),
    (
        "faults {bundle} --against {checkpoint} --data {data} -o OUT",
        ["bundle", "checkpoint", "data"],
    ),
    ("export {bundle} --format net -o OUT", ["bundle"]),
    ("report {data} -o OUT", ["data"]),
    ("report {data} --card OUT", ["data"]),
]


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("form", ["plain", "dotted", "relative", "symlink", "hard link"])
@pytest.mark.parametrize(("line", "targets"), CASES)
def test_no_output_is_an_input_whatever_it_is_called(
    line: str,
    targets: list[str],
    form: str,
    forced: bool,
    place: Place,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place.root)
    before = place.snapshot()
    for target in targets:
        out = named(place.inputs[target], form)
        words = [word.format(**place.inputs) for word in line.split()]
        args = [str(out) if word == "OUT" else word for word in words]
        assert run([*args, *["--force"] * forced]) == 2
        assert "is an input of this command" in capsys.readouterr().err
        assert place.snapshot() == before


def named(path: Path, form: str) -> str:
    other = path.with_name(f"other-{path.name}")
    if form == "symlink":
        other.symlink_to(path)
    elif form == "hard link":
        os.link(path, other)
    forms = {"plain": path, "dotted": f"./{path.name}", "symlink": other, "hard link": other}
    return str(forms.get(form, f"../{path.parent.name}/{path.name}"))


def test_files_of_a_run_are_not_its_inputs_either(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    folder, bundle, checkpoint = place.root / "f", *map(str, map(place.inputs.get, CONVERTED))
    folder.mkdir()
    for name in ("report.json", "report.html", "journal.jsonl", "previous-report.json"):
        odd = folder / name
        os.link(bundle, odd)
        args = ["verify", str(odd), "--against", checkpoint, "-o", str(folder)]
        assert run(args) == 2
        assert "is an input of this command" in capsys.readouterr().err
        odd.unlink()
    os.link(place.inputs["recipe"], folder / "fmnist-lif-natural.ckpt")
    assert run(["train", str(folder / "fmnist-lif-natural.ckpt"), "-o", str(folder)]) == 2
    assert "is an input of this command" in capsys.readouterr().err
    os.link(checkpoint, folder / "tiny.spk")
    assert run(["demo", "--model", str(folder / "tiny.spk"), "-o", str(folder)]) == 2
    assert "is an input of this command" in capsys.readouterr().err


CONVERTED = ("bundle", "checkpoint")


def test_the_parts_of_a_data_folder_are_inputs_too(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place.root / "data"
    folder.mkdir()
    with np.load(place.inputs["data"]) as arrays:
        for name in "xy":
            np.save(folder / f"{name}.npy", arrays[name])
    for name in ("x.npy", "y.npy"):
        args = ["run", str(place.inputs["bundle"]), "--data", str(folder), "--trace"]
        assert run([*args, str(folder / name), "--force"]) == 2
        assert "is an input of this command" in capsys.readouterr().err


WRITERS = [
    "attack {bundle} --data {data} -o OUT",
    "convert {checkpoint} --calibration {data} -o OUT",
    "run {bundle} --data {data} --trace OUT",
    "export {bundle} -o OUT",
    "export {bundle} --format net -o OUT",
    "report {data} -o OUT",
    "report {data} --card OUT",
    "bench --scaling OUT",
]


@pytest.mark.parametrize("line", WRITERS)
def test_a_file_of_another_kind_stays_without_force(
    line: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = place.root / "precious.txt"
    precious.write_text("years of work\n")
    args = [w.format(**place.inputs) if w != "OUT" else str(precious) for w in line.split()]
    assert run(args) == 2
    shown = capsys.readouterr().err
    assert "precious.txt: exists and is no " in shown
    assert "--force replaces it" in shown
    assert precious.read_text() == "years of work\n"


@pytest.mark.parametrize("line", WRITERS)
def test_a_missing_folder_is_named_and_nothing_is_made(
    line: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place.root / "nosuch" / "dir" / "x"
    args = [w.format(**place.inputs) if w != "OUT" else str(out) for w in line.split()]
    assert run(args) == 2
    shown = capsys.readouterr().err
    assert f"the folder {out.parent} does not exist" in shown
    assert "mkdir -p" in shown
    assert not (place.root / "nosuch").exists()


@pytest.mark.parametrize(
    "line",
    [
        "verify {bundle} --against {checkpoint} -o OUT",
        "demo -o OUT",
        "train {recipe} -o OUT",
        "fuzz -o OUT",
        "run {bundle} --data {data} --journal OUT",
    ],
)
def test_a_folder_of_results_is_made_but_not_its_parents(
    line: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    for out, message in (
        (place.root / "nosuch" / "dir", "does not exist"),
        (place.inputs["config"], "is not a folder"),
    ):
        args = [w.format(**place.inputs) if w != "OUT" else str(out) for w in line.split()]
        assert run(args) == 2
        shown = capsys.readouterr().err
        assert shown.count(message) == 1  # not once for each file of the folder
        assert " problems" not in shown
        assert not (place.root / "nosuch").exists()


TO_A_NET = "convert {checkpoint} --calibration {data} --profile loihi -o {mappable}"
LINKED = [
    ("convert {checkpoint} --calibration {data} --no-search --no-compensate -o OUT", "bundle"),
    ("run {bundle} --data {data} --engine numpy --trace OUT", "trace"),
    ("export {bundle} -o OUT", "ONNX model"),
    ("export {mappable} --format net -o OUT", ".net file"),
    ("report {report} -o OUT", "report page"),
    ("report {report} -o {report}.html --card OUT", "card"),
]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(("line", "kind"), LINKED)
def test_an_output_that_is_a_symbolic_link_is_written_through(
    line: str, kind: Kind, there: bool, place: Place, root: Path, tmp_path: Path
) -> None:
    if line.startswith("export"):
        pytest.importorskip("h5py" if "net" in line else "onnx")
    place.inputs["mappable"] = place.root / "m.spk"
    if "mappable" in line:
        assert run([word.format(**place.inputs) for word in TO_A_NET.split()]) == 0
    report = root / "tests/unit/report/real/report.json"
    place.inputs["report"] = place.root / "report.json"
    place.inputs["report"].write_bytes(report.read_bytes())
    (elsewhere := tmp_path / "elsewhere").mkdir()
    link, target = place.root / "link", elsewhere / "target"
    link.symlink_to(Path("elsewhere", "target"))  # relative to the folder that holds the link
    if there:
        target.write_bytes(b"")
    args = [w.format(**place.inputs) if w != "OUT" else str(link) for w in line.split()]
    assert run(args) == 0
    assert link.is_symlink()
    assert target.stat().st_size
    assert is_kind(target, kind)
    assert [p.name for p in elsewhere.iterdir()] == ["target"]


def test_a_link_into_a_missing_folder_is_refused_before_any_work(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    link = place.root / "link"
    link.symlink_to(place.root / "nosuch" / "x")
    assert run(["export", str(place.inputs["bundle"]), "-o", str(link)]) == 2
    assert f"-o {link}: the folder {place.root / 'nosuch'} does not" in capsys.readouterr().err
    assert link.is_symlink()


def test_force_replaces_and_the_same_kind_needs_none(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    target = place.root / "out.spk"
    target.write_text("a note")
    args = [
        "convert",
        str(place.inputs["checkpoint"]),
        "-o",
        str(target),
        "--no-search",
        "--no-compensate",
        "--calibration",
        str(place.inputs["data"]),
    ]
    assert run(args) == 2
    assert run([*args, "--force"]) == 0
    assert is_kind(target, "bundle")
    assert run(args) == 0
    trace = place.root / "t.npz"
    args = [
        "run",
        str(place.inputs["bundle"]),
        "--data",
        str(place.inputs["data"]),
        "--engine",
        "numpy",
        "--trace",
        str(trace),
    ]
    assert run(args) == 0
    assert is_kind(trace, "trace")
    assert run(args) == 0
    assert not is_kind(place.inputs["data"], "trace")


THEIRS: list[tuple[Kind, str]] = [
    ("ONNX model", "import spikeproof\nprint(1)\n"),
    ("ONNX model", '[project]\ndependencies = ["spikeproof"]\n'),
    ("ONNX model", "\x08\x08\x12\x07pytorch\x1a\x05spikeproof"),
    ("report page", "<!doctype html><h1>My thesis about spikeproof</h1>"),
    ("report page", '<!doctype html><!-- <meta name="generator" content="spikeproof"> -->'),
    ("report page", '<!doctype html><body>\n<meta name="generator" content="spikeproof">'),
    ("card", "## my notes\nspikeproof is fine"),
    ("drawing", '<svg xmlns="http://www.w3.org/2000/svg">mine</svg>'),
    ("figures", '{"schema": 1, "series": []}'),
    ("report", '{"schema": 1, "verdict": "guilty", "checks": []}'),
]


@pytest.mark.parametrize(("kind", "text"), THEIRS)
def test_a_users_file_that_mentions_spikeproof_is_not_one_of_ours(
    kind: Kind, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine"
    path.write_text(text)
    assert not is_kind(path, kind)
    with pytest.raises(InputError, match="--force replaces it"):
        check_outputs([Output(path, kind)], [])


def test_a_page_from_before_there_was_a_mark_is_ours_beside_its_report(
    tmp_path: Path, root: Path
) -> None:
    page, report = tmp_path / "report.html", tmp_path / "report.json"
    page.write_text("\n<!doctype html>\n<html><head><title>Pass: net, verification report</title>")
    assert not is_kind(page, "report page")
    report.write_text('{"generator": "mine"}')
    with pytest.raises(InputError, match="exists and is no report page"):
        check_outputs([Output(page, "report page")], [])
    report.write_bytes((root / "tests/unit/report/real/report-0.1.json").read_bytes())
    check_outputs([Output(page, "report page"), Output(report, "report")], [])
    page.write_text("# my notes\n")
    assert not is_kind(page, "report page")


def test_what_export_and_report_wrote_is_replaced_and_notes_added_to_a_card_are_kept(
    place: Place, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = json.loads((root / "tests/unit/report/real/report.json").read_text())
    report, page, card = (place.root / name for name in ("report.json", "p.html", "card.md"))
    report.write_text(json.dumps(given))
    args = ["report", str(report), "-o", str(page), "--card", str(card)]
    assert [run(args), run(args)] == [0, 0]
    assert is_kind(page, "report page")
    assert is_kind(report, "report")
    card.write_text(card.read_text() + "\nmy own remarks\n")
    assert run(args) == 2
    pytest.importorskip("onnx")
    out = place.root / "out.onnx"
    args = ["export", str(place.inputs["bundle"]), "-o", str(out)]
    assert [run(args), run(args)] == [0, 0], capsys.readouterr().err
    assert is_kind(out, "ONNX model")


def test_a_net_file_that_export_wrote_is_replaced(tiny_network: Any, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    from spikeproof.convert.options import ConvertOptions
    from spikeproof.convert.pipeline import convert_network
    from spikeproof.formats.netx.write import save_netx

    x = np.random.default_rng(1).integers(0, 256, (8, 1, 8, 8), dtype=np.uint8)
    options = ConvertOptions(profile="loihi", search=False, compensate=False)
    save_netx(convert_network(tiny_network, x, options).chip, tmp_path / "out.net")
    assert is_kind(tmp_path / "out.net", ".net file")


def test_a_net_file_of_lava_dl_is_not_replaced(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "trained.net"
    with h5py.File(path, "w") as file:
        file.create_dataset("layer/0/shape", data=[1])
    assert not is_kind(path, ".net file")


def test_outputs_of_one_command_are_different_files_and_never_folders_or_devices(
    tmp_path: Path,
) -> None:
    a = tmp_path / "a"
    for outputs, message in (
        (
            [Output(a, "report page"), Output(tmp_path / "." / "a", "card", "--card")],
            "is the place of the report page, too (-o)",
        ),
        ([Output(tmp_path, "bundle")], "is a folder"),
        ([Output(Path(os.devnull), "bundle")], "is a pipe or a device"),
    ):
        with pytest.raises(InputError, match=r"-o|--card") as error:
            check_outputs(outputs, [], force=True)
        assert message in str(error.value)


def test_only_runs_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_outputs([Output(Path("runs/net.spk"), "bundle")], [])
    check_outputs([Output(Path("runs/a/report.json"), "report", "-o", Path("runs/a"))], [])
    for outside in ("other/net.spk", "runs/../other/net.spk"):
        with pytest.raises(InputError, match="does not exist"):
            check_outputs([Output(Path(outside), "bundle")], [])
    assert list(tmp_path.iterdir()) == []
