"""State dicts of the reference code of "Robust Stable SNNs": read, refused, converted, verified."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch files need torch")

import stable_snn
import torch

from spikeproof import api
from spikeproof.cli.app import run
from spikeproof.engines.floats import run_float
from spikeproof.errors import BundleError, InputError, UnsupportedError
from spikeproof.formats.torch_state import read_state
from spikeproof.io.bundle import Bundle, bundle_bytes, load_bundle
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spikeproof.io.files import sha256
from spikeproof.ir.floats import AvgPool2d, FloatNetwork, Lif

WIDTHS = {"vgg5": (5, 6, 7), "vgg11": (4, 5, 6, 7, 8, 6, 7, 5)}
NORM: dict[str, Any] = {"mean": (0.49, 0.48, 0.45), "std": (0.2, 0.25, 0.3)}
SAID: dict[str, Any] = {"threshold": 1.0, "leak": 0.99, **NORM}
FLAGS = ["--threshold", 1, "--leak", 0.99, "--mean", "0.49,0.48,0.45", "--std", "0.2,0.25,0.3"]
IMAGE = (3, 8, 8)
STEPS = 4


def draw(architecture: str, **options: Any) -> dict[str, Any]:
    """Draw a narrow network whose layers all spike."""
    image = options.pop("image", IMAGE)
    state = stable_snn.make_state(
        architecture, widths=WIDTHS[architecture], dense=14, image=image, classes=6, **options
    )
    x = stable_snn.make_images(40, image) / 255
    stable_snn.logits(state, x, STEPS, settle=True, **NORM)
    return state


def load(path: Path, architecture: str = "vgg5", **changes: Any) -> FloatNetwork:
    said = {"timesteps": STEPS, **SAID, **changes}
    found = api.load(path, frontend="stable-snn", architecture=architecture, **said)
    assert isinstance(found, Checkpoint)
    return found.network


def gains(layers: int, kind: str) -> Any:
    rng = np.random.default_rng(8)
    varying = rng.uniform(0.8, 1.6, (layers, STEPS))
    if kind == "constant":
        return np.full((layers, STEPS), 1.25)
    if kind == "negative":
        varying[1, 2] = -0.7
    if kind == "zero":
        varying[0, 0] = 0.0
    return None if kind == "LIF" else varying


# --- the same network --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LIF", "constant", "varying", "negative", "zero"])
@pytest.mark.parametrize("architecture", ["vgg5", "vgg11"])
def test_logits_are_those_of_the_equations(architecture: str, kind: str, tmp_path: Path) -> None:
    layers = len(WIDTHS[architecture]) + 2
    state = draw(architecture, gains=gains(layers, kind))
    path = stable_snn.save(state, tmp_path / "net.pth")
    x = stable_snn.make_images(30, IMAGE, seed=5)
    network = load(path, architecture)
    found = run_float(network, x, trace=True)
    membranes: dict[str, Any] = {}
    expected = stable_snn.logits(state, x / 255, STEPS, **NORM, membranes=membranes)
    assert found.logits.shape == expected.shape == (30, 6)
    np.testing.assert_allclose(found.logits, expected, rtol=1e-12, atol=1e-12)
    assert expected.std(axis=0).min() > 1e-3
    # Spikes hide small differences; membranes do not.
    assert list(membranes) == [name for name, t in found.traces.items() if t.v is not None]
    for name, v in membranes.items():
        np.testing.assert_allclose(found.traces[name].v, v, rtol=1e-11, atol=1e-11)
    rates = {name: t.s.mean() for name, t in found.traces.items() if t.s is not None}
    assert len(rates) == layers and all(0.005 < rate < 0.9 for rate in rates.values())
    pools = [n for n in network.nodes if isinstance(n, AvgPool2d)]
    assert len(pools) == {"vgg5": 2, "vgg11": 3}[architecture]
    has = [n.gain is not None for n in network.nodes if isinstance(n, Lif)]
    assert set(has) == {kind != "LIF"}


def test_a_membrane_on_the_threshold_fires(tmp_path: Path) -> None:
    state = draw("vgg5")
    for name in list(state):  # every current of a convolution is its batch norm's bias: 1
        if name.startswith("layer") and name.endswith(("0.weight", "3.weight", "0.bias", "3.bias")):
            state[name] = torch.zeros_like(state[name])
        if name.endswith("running_mean"):
            state[name] = torch.zeros_like(state[name])
        if name.endswith(("1.bias", "4.bias")) and name.startswith("layer"):
            state[name] = torch.ones_like(state[name])
    path = stable_snn.save(state, tmp_path / "net.pth")
    x = stable_snn.make_images(3, IMAGE)
    traces = run_float(load(path), x, trace=True).traces
    for name in ("layer1.2", "layer2.2", "layer2.5"):
        assert (traces[name].v == 1.0).all() and traces[name].s.all()
    found, expected = run_float(load(path), x).logits, stable_snn.logits(state, x / 255, 4, **NORM)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    # Above the threshold only it would be another network.
    higher = run_float(load(path, threshold=1.0 + 1e-9), x).logits
    assert np.abs(higher - expected).max() > 1e-3


@pytest.mark.parametrize("leak", [0.0, 0.5, 1.0])
def test_threshold_and_leak_are_those_that_were_given(leak: float, tmp_path: Path) -> None:
    state = draw("vgg5")
    path = stable_snn.save(state, tmp_path / "net.pth")
    x = stable_snn.make_images(10, IMAGE)
    said = {"threshold": 0.7, "leak": leak, "mean": (0.1, 0.2, 0.3), "std": (0.5, 1.0, 2.0)}
    expected = stable_snn.logits(state, x / 255, 3, **said)
    found = run_float(load(path, timesteps=3, **said), x).logits
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("image", "given"),
    [((3, 8, 8), None), ((3, 10, 11), (3, 10, 11)), ((3, 4, 16), (3, 4, 16)), ((1, 12, 12), None)],
)
def test_the_image_is_a_square_or_what_is_given(image: Any, given: Any, tmp_path: Path) -> None:
    norm = {"mean": (0.0,) * image[0], "std": (1.0,) * image[0]}
    state = stable_snn.make_state("vgg5", widths=(4, 4, 4), dense=8, image=image, classes=3)
    path = stable_snn.save(state, tmp_path / "net.pth")
    network = load(path, input_shape=given, **norm)
    assert network.input_shape == image and network.nodes[0].name == "layer1.0"
    x = stable_snn.make_images(4, image)
    expected = stable_snn.logits(state, x / 255, STEPS, **norm)
    np.testing.assert_allclose(run_float(network, x).logits, expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(InputError, match="expected"):
        api.convert(
            path,
            stable_snn.make_images(4, (3, 9, 9)),
            frontend="stable-snn",
            architecture="vgg5",
            timesteps=STEPS,
            **{**SAID, **norm, "input_shape": given},
        )


# --- files -------------------------------------------------------------------------------------


@pytest.fixture
def state() -> dict[str, Any]:
    return draw("vgg5")


@pytest.fixture
def file(state: dict[str, Any], tmp_path: Path) -> Path:
    return stable_snn.save(state, tmp_path / "net.pth")


def on_gpu(path: Path) -> None:
    """Mark the tensors of a file as those of a GPU, as saving there does."""
    with zipfile.ZipFile(path) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    cpu, gpu = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    assert sum(cpu in content for content in members.values()) == 1
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for info, content in members.items():
            archive.writestr(info.filename, content.replace(cpu, gpu))


def wrapped(state: dict[str, Any], path: Path) -> None:
    stable_snn.save({f"module.{name}": value for name, value in state.items()}, path)


def parameters(state: dict[str, Any], path: Path) -> None:
    found = {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in state.items()}
    stable_snn.save(found, path)


HARMLESS: dict[str, Callable[[dict[str, Any], Path], object]] = {
    "of a GPU": lambda state, path: on_gpu(stable_snn.save(state, path)),
    "of DataParallel": wrapped,
    "parameters": parameters,
    "before PyTorch 1.6": lambda state, path: stable_snn.save(
        state, path, _use_new_zipfile_serialization=False
    ),
    "in double precision": lambda state, path: stable_snn.save(
        {k: v.double() if v.is_floating_point() else v for k, v in state.items()}, path
    ),
    "without counters": lambda state, path: stable_snn.save(
        {k: v for k, v in state.items() if not k.endswith("tracked")}, path
    ),
}


@pytest.mark.parametrize("how", HARMLESS)
def test_files_that_say_the_same_load(how: str, state: Any, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    HARMLESS[how](state, other)
    assert other.read_bytes() != file.read_bytes()
    if how == "of a GPU":
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(other, weights_only=True)
    x = stable_snn.make_images(5, IMAGE)
    found, same = (run_float(load(path), x).logits for path in (other, file))
    np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_without_changing_a_value(
    kind: Any, state: Any, tmp_path: Path
) -> None:
    half = {k: v.to(kind) if v.is_floating_point() else v for k, v in state.items()}
    path = stable_snn.save(half, tmp_path / "half.pth")
    x = stable_snn.make_images(5, IMAGE)
    expected = stable_snn.logits(half, x / 255, STEPS, **NORM)
    np.testing.assert_allclose(run_float(load(path), x).logits, expected, rtol=1e-12, atol=1e-12)


class Module(torch.nn.Module):
    """A whole module, which a state dict is not."""


def changed(**changes: Any) -> Callable[[dict[str, Any], Path], object]:
    """Save with entries replaced (None: left out); underscores stand for dots."""

    def write(state: dict[str, Any], path: Path) -> object:
        found = dict(state)
        for name, make in changes.items():
            key = name.replace("__", ".")
            if make is None:
                del found[key]
            else:
                found[key] = make(found.get(key))
        return stable_snn.save(found, path)

    return write


def with_gains(*lengths: int) -> Callable[[dict[str, Any], Path], object]:
    names = ("layer1.2", "layer2.2", "layer2.5", "classifier.1", "classifier.3")

    def write(state: dict[str, Any], path: Path) -> object:
        given = {f"{n}.p": torch.ones(t) for n, t in zip(names, lengths, strict=False)}
        return stable_snn.save({**state, **given}, path)

    return write


def spoilt(value: float) -> Callable[[Any], Any]:
    def make(tensor: Any) -> Any:
        tensor = tensor.clone()
        tensor.view(-1)[3] = value
        return tensor

    return make


def cut(state: dict[str, Any], path: Path, **options: Any) -> object:
    data = stable_snn.save(state, path, **options).read_bytes()
    return path.write_bytes(data[: len(data) // 2])


def narrow_image(state: dict[str, Any], path: Path) -> object:
    other = stable_snn.make_state("vgg5", widths=(4, 4, 4), dense=8, image=(3, 8, 12))
    return stable_snn.save(other, path)


BAD: dict[str, tuple[Callable[[dict[str, Any], Path], object], list[object], list[str]]] = {
    "a module": (lambda s, p: torch.save(Module(), p), [], ["a PyTorch file that holds more than"]),
    "torch's own module": (
        lambda s, p: torch.save(torch.nn.Linear(2, 2), p),
        [],
        ["is a whole pickled PyTorch module, expected a state dict"],
    ),
    "truncated": (cut, [], ["is a damaged zip archive", "Copy or create it again"]),
    "truncated, old": (
        lambda s, p: cut(s, p, _use_new_zipfile_serialization=False),
        [],
        ["is a damaged or truncated PyTorch file", "Copy or create it again"],
    ),
    "empty": (lambda s, p: p.write_bytes(b""), [], ["is an empty file"]),
    "a picture": (lambda s, p: p.write_bytes(b"GIF89a..."), [], ["is a picture"]),
    "nested": (
        lambda s, p: torch.save({"epoch": 3, "state_dict": s}, p),
        [],
        ["epoch, state_dict", 'its entry "state_dict"', "model.state_dict()"],
    ),
    "a list": (lambda s, p: torch.save([torch.ones(2)], p), [], ["holds a list"]),
    "no entry": (lambda s, p: torch.save({}, p), [], ["holds more or less", "nothing"]),
    "names": (
        changed(
            layer2__0__weight=None,
            classifier__4__bias=None,
            head=lambda _: torch.ones(3),
            layer9__0__p=lambda _: torch.ones(2),
        ),
        [],
        [
            "2 problems",
            "not in the file, expected (2): layer2.0.weight, classifier.4.bias",
            "in the file, not expected (2): head, layer9.0.p",
        ],
    ),
    "many names": (
        changed(
            layer1__0__weight=None,
            **{f"head__{i}": lambda _: torch.ones(3) for i in range(40)},
        ),
        [],
        ["not expected (40): head.0, head.1, head.2, head.3 and 36 more"],
    ),
    "of another architecture": (
        changed(
            layer7__0__weight=lambda _: torch.ones(3),
            layer7__1__num_batches_tracked=lambda _: torch.tensor(5),
            layer8__1__num_batches_tracked=lambda _: torch.tensor(5),
        ),
        [],
        ["in the file, not expected (3): layer7.0.weight, 2 num_batches_tracked"],
    ),
    "shapes": (
        changed(
            layer1__0__weight=lambda w: w[:, :, :2],
            layer2__1__running_var=lambda w: w[:-1],
            classifier__2__weight=lambda w: w[:, :13],
        ),
        [],
        [
            "3 problems",
            "layer1.0.weight has shape (5, 3, 2, 3), expected (any, any, 3, 3)",
            "layer2.1.running_var has shape (5,), expected (6,)",
            "classifier.2.weight has shape (14, 13), expected (any, 14)",
        ],
    ),
    "values": (
        changed(
            layer1__0__weight=spoilt(np.nan),
            classifier__0__bias=spoilt(np.inf),
            classifier__2__bias=lambda w: w.long(),
            layer2__1__running_var=lambda w: w.to(torch.complex64),
        ),
        [],
        [
            "4 problems",
            "layer1.0.weight: 1 of 135 values is NaN or infinite",
            "classifier.0.bias: 1 of 14 values is NaN or infinite",
            "classifier.2.bias holds int64",
            "layer2.1.running_var holds complex64",
        ],
    ),
    "variance": (
        changed(layer2__1__running_var=lambda w: -w),
        [],
        ["layer2.1: eps must be in", "var + eps at least"],
    ),
    "sparse": (changed(classifier__4__weight=lambda w: w.to_sparse()), [], ["is a sparse tensor"]),
    "some gains": (
        with_gains(4, 4),
        [],
        ["not in the file, expected (3): layer2.5.p, classifier.1.p, classifier.3.p"],
    ),
    "gains of two lengths": (
        with_gains(4, 4, 5, 4, 4),
        [],
        ["layer2.5.p has shape (5,), expected (4,)"],
    ),
    "other steps": (
        with_gains(7, 7, 7, 7, 7),
        [],
        ["--timesteps 4 contradicts its DLIF neurons, whose gains have 7 steps"],
    ),
    "no steps": (
        lambda s, p: stable_snn.save(s, p),
        ["--timesteps"],
        ["holds plain LIF neurons and no number of steps: give --timesteps T", "scripts: 8"],
    ),
    "no square": (
        narrow_image,
        [],
        ["the 6 places before the classifier are no square: give --input-shape C H W"],
    ),
    "channels": (
        lambda s, p: stable_snn.save(s, p),
        ["--mean", 0, "--std", 1],
        ["--mean has 1 value, the first convolution has 3 input", "--std has 1 value,"],
    ),
    "another image": (
        lambda s, p: stable_snn.save(s, p),
        ["--input-shape", 3, 12, 12],
        ["--input-shape 3 12 12 leaves 9 places", "the file has 4 and 3"],
    ),
    "another architecture": (
        lambda s, p: stable_snn.save(s, p),
        ["--architecture", "vgg11"],
        ["the names in this file are vgg5's, not vgg11's", "Give --architecture vgg5."],
    ),
    "a wide ResNet": (
        lambda s, p: stable_snn.save(s, p),
        ["--architecture", "wrn16"],
        ["the names in this file are vgg5's, not wrn16's", "Give --architecture vgg5."],
    ),
    "no architecture of theirs": (
        lambda s, p: stable_snn.save(s, p),
        ["--architecture", "lenet"],
        ["lenet is no architecture that can be read; those that can: vgg5, vgg11, wrn16"],
    ),
    "numbers": (
        lambda s, p: stable_snn.save(s, p),
        ["--leak", 1.5, "--threshold", 0, "--std", "1,0,1", "--mean", "a,b,c"],
        ["6 problems", "leak: ", "threshold: ", "std.1: ", "mean.0: ", "mean.2: "],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_one_error(
    name: str, state: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, more, messages = BAD[name]
    path, target = tmp_path / "net.pth", tmp_path / "net.spk"
    write(state, path)
    np.savez(tmp_path / "x.npz", x=stable_snn.make_images(4, IMAGE))
    before = sorted(tmp_path.iterdir())
    options: dict[str, list[object]] = {
        "--architecture": ["vgg5"],
        "--timesteps": [STEPS],
        "--threshold": [1],
        "--leak": [0.99],
        "--mean": [FLAGS[5]],
        "--std": [FLAGS[7]],
    }
    key = ""
    for word in more:
        if isinstance(word, str) and word.startswith("--"):
            key, options[word] = word, []
        else:
            options[key].append(word)
    words = [w for k, v in options.items() if v for w in (k, *v)]
    given = ["--from", "stable-snn", *words, "--calibration", tmp_path / "x.npz", "-o", target]
    capsys.readouterr()
    assert run(["convert", str(path), *map(str, given), "-q"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "internal" not in told
    assert [m for m in messages if m not in told] == [], told
    assert sorted(tmp_path.iterdir()) == before


def test_what_neither_the_file_nor_the_command_says_is_the_papers_and_is_told(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Threshold 1 and leak 0.99 are fixed in the paper; pixels enter as they are."""
    np.savez(tmp_path / "x.npz", x=stable_snn.make_images(4, IMAGE))
    words = ["--from", "stable-snn", "--architecture", "vgg5", "--timesteps", str(STEPS)]
    calibration = ["--calibration", str(tmp_path / "x.npz"), "--dry-run"]
    capsys.readouterr()
    assert run(["convert", str(file), *words, *calibration]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "so this is taken: threshold 1.0, leak 0.99, mean none, std none, input_shape 3 8 8" in told
    )
    said = [*map(str, FLAGS), "--input-shape", *map(str, IMAGE)]
    assert run(["convert", str(file), *words, *said, *calibration]) == 0
    assert "so this is taken" not in capsys.readouterr().err
    same = {"threshold": 1.0, "leak": 0.99, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    x = stable_snn.make_images(4, IMAGE)
    plain = api.load(file, frontend="stable-snn", architecture="vgg5", timesteps=STEPS)
    said = load(file, **same)
    np.testing.assert_array_equal(run_float(plain.network, x).logits, run_float(said, x).logits)


def test_everything_that_must_be_said_is_asked_for_at_once(file: Path) -> None:
    with pytest.raises(InputError) as caught:
        api.load(file, frontend="stable-snn", timesteps=4)
    assert "give architecture: vgg5, vgg11 or wrn16; the names in this file" in str(caught.value)
    assert "threshold 1 leak 0.99" in str(caught.value)  # as keywords: no dashes
    assert "CIFAR-10 mean 0.4914,0.4822,0.4465" in str(caught.value)
    with pytest.raises(InputError, match="mean and std belong together"):
        load(file, std=())
    with pytest.raises(InputError, match=r"unknown setting 'threshhold'; did you mean 'threshold'"):
        load(file, threshhold=2)
    with pytest.raises(BundleError, match="the frontend stable-snn reads"):
        api.load(file)
    with pytest.raises(InputError, match=r"no frontend 'stable-sn'; did you mean 'stable-snn'\?"):
        api.load(file, frontend="stable-sn")
    with pytest.raises(InputError, match="leak, mean does not apply to a checkpoint"):
        api.load("fmnist-lif-natural", leak=1.0, mean=(0.0,))


def told_of(file: Path, **given: Any) -> str:
    with pytest.raises(InputError) as caught:
        api.load(file, frontend="stable-snn", **given)
    return str(caught.value)


def test_all_that_must_be_said_and_is_not_stands_in_one_error_with_what_the_file_tells(
    file: Path, state: Any, tmp_path: Path
) -> None:
    told = told_of(file, mean=(0.5,) * 3)
    assert "3 problems" in told and "is missing" not in told
    assert "give architecture: vgg5, vgg11 or wrn16; the names in this file are vgg5's" in told
    assert "give timesteps T" in told and "mean and std belong together" in told
    del state["layer1.0.bias"]
    other = told_of(stable_snn.save(state, tmp_path / "other.pth"))
    assert "give architecture: vgg5, vgg11 or wrn16\n" in other and "give timesteps T" in other
    named = told_of(file, architecture="vgg-5", timesteps=4, std=(0.5,) * 3)
    assert "vgg-5 is no architecture" in named and "mean and std belong together" in named
    both = told_of(file, leak=2)  # what is missing first, then the value
    lines = both.splitlines()
    assert "3 problems" in lines[0] and "give architecture: vgg5" in lines[1]
    assert "give timesteps T" in lines[2] and lines[3] == "  * leak: must be at most 1 (found 2)"
    assert "scripts use" in lines[4] and "leak takes a number" in lines[4]
    wrong = told_of(file, architecture="vgg5", input_shape=(3, 0, 8), timesteps=2)
    assert "input_shape" in wrong and "problems" not in wrong
    assert "takes a text" not in named and "Give architecture vgg5." in named


def test_the_steps_of_a_file_with_gains_are_not_asked_for(tmp_path: Path) -> None:
    path = stable_snn.save(draw("vgg5", gains=gains(5, "varying")), tmp_path / "net.pth")
    told = told_of(path)
    assert "give architecture" in told and "give timesteps T" not in told


HINTS: dict[str, tuple[Callable[[dict[str, Any], Path], object], dict[str, Any], str]] = {
    "no steps": (stable_snn.save, {"timesteps": None}, "The reference code's own scripts use"),
    "other steps": (with_gains(7, 7, 7, 7, 7), {}, "Leave timesteps out."),
    "not finite": (changed(layer1__0__weight=spoilt(np.nan)), {}, "take an earlier checkpoint"),
    "shapes": (
        changed(layer2__1__running_var=lambda w: w[:-1]),
        {},
        "Give the state dict of the network that architecture names.",
    ),
}


@pytest.mark.parametrize("name", HINTS)
def test_every_error_has_the_hint_that_mends_it_and_no_other(
    name: str, state: Any, tmp_path: Path
) -> None:
    write, changes, hint = HINTS[name]
    write(state, tmp_path / "net.pth")
    given = {"architecture": "vgg5", "timesteps": STEPS, **SAID, **changes}
    told = told_of(tmp_path / "net.pth", **given).partition("\n  -> ")[2]
    assert hint in told
    assert [h for _, _, h in HINTS.values() if h in told] == [hint]


def test_a_network_without_normalisation_is_shown_without_empty_words(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "x.npz", x=stable_snn.make_images(4, IMAGE))
    words = ["--from", "stable-snn", "--architecture", "vgg5", "--timesteps", str(STEPS)]
    given = [*words, "--calibration", str(tmp_path / "x.npz"), "--dry-run"]
    capsys.readouterr()
    assert run(["convert", str(file), *given]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "threshold 1.0, leak 0.99 warning" in told.replace("network: ", "")
    assert "std ," not in told and "mean ," not in told


def test_steps_of_gains_need_not_be_repeated(tmp_path: Path) -> None:
    path = stable_snn.save(draw("vgg5", gains=gains(5, "varying")), tmp_path / "net.pth")
    assert load(path, timesteps=None).timesteps == load(path).timesteps == STEPS


# --- the whole way -----------------------------------------------------------------------------


def converted(path: Path, x: Any, **changes: Any) -> Bundle:
    said = {"architecture": "vgg5", "timesteps": STEPS, **SAID, **changes}
    return api.convert(path, x, frontend="stable-snn", **said)


@pytest.mark.parametrize(
    ("kind", "neurons"), [("LIF", {"LifNeuron"}), ("constant", {"LifNeuron"}), ("varying", None)]
)
def test_gains_are_folded_or_become_tables(kind: str, neurons: Any, tmp_path: Path) -> None:
    path = stable_snn.save(draw("vgg5", gains=gains(5, kind)), tmp_path / "net.pth")
    x = stable_snn.make_images(48, IMAGE)
    bundle = converted(path, x)
    hidden = {type(layer.neuron).__name__ for layer in bundle.network.layers[:-1]}
    assert hidden == (neurons or {"TableLifNeuron"})
    fresh = stable_snn.make_images(60, IMAGE, seed=7)
    logits = run_float(load(path), fresh).logits
    gap = np.sort(logits, axis=1)
    clear = gap[:, -1] - gap[:, -2] > 0.25 * logits.std()
    agree = api.run(bundle, fresh, engine="numpy").predictions == logits.argmax(axis=1)
    assert clear.sum() > 20 and agree[clear].mean() > 0.8


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("negative", r"layer2\.2: the gain is not positive at 1 of 4 steps \(a\[2\] = -0\.7\)"),
        ("zero", r"layer1\.2: the gain is not positive at 1 of 4 steps \(a\[0\] = 0\)"),
    ],
)
def test_gains_that_no_table_can_hold_are_refused(kind: str, message: str, tmp_path: Path) -> None:
    path = stable_snn.save(draw("vgg5", gains=gains(5, kind)), tmp_path / "net.pth")
    with pytest.raises(UnsupportedError, match=message):
        converted(path, stable_snn.make_images(8, IMAGE))


def test_from_a_state_dict_to_a_verdict(
    file: Path, state: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, test = stable_snn.make_images(64, IMAGE), stable_snn.make_images(24, IMAGE, seed=3)
    np.savez(tmp_path / "x.npz", x=x)
    y = stable_snn.logits(state, test / 255, STEPS, **NORM).argmax(1)
    np.savez(tmp_path / "test.npz", x=test, y=y)

    def command(*words: object, codes: tuple[int, ...] = (0,)) -> Any:
        capsys.readouterr()
        assert run([*map(str, words), "--json", "-q"]) in codes, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    target, data = tmp_path / "net.spk", tmp_path / "test.npz"
    said = ["--from", "stable-snn", "--architecture", "vgg5", "--timesteps", STEPS, *FLAGS]
    calibration = ["--calibration", tmp_path / "x.npz"]
    plan = command("convert", file, *said, *calibration, "-o", target, "--dry-run")["plan"]
    assert plan["source"]["settings"]["leak"] == 0.99 and not target.exists()
    command("convert", file, *said, *calibration, "-o", target)
    source = {
        "frontend": "stable-snn",
        "hash": sha256(file.read_bytes()),
        "settings": {
            "architecture": "vgg5",
            "timesteps": STEPS,
            "threshold": 1.0,
            "leak": 0.99,
            "mean": [0.49, 0.48, 0.45],
            "std": [0.2, 0.25, 0.3],
        },
    }
    bundle = load_bundle(target)
    assert bundle.record.document["checkpoint"]["source"] == plan["source"] == source
    assert bundle_bytes(converted(file, x)) == target.read_bytes()
    fast, slow = (api.run(bundle, test, engine=e, trace=True) for e in ("fast", "reference"))
    np.testing.assert_array_equal(fast.logits, slow.logits)
    for name, trace in (slow.traces or {}).items():
        for key in ("u", "v", "s"):
            np.testing.assert_array_equal(
                getattr((fast.traces or {})[name], key), getattr(trace, key)
            )
    folder = tmp_path / "run"
    few = [w for kind in ("pgd", "fgsm") for w in ("--set", f"perturbations.{kind}=[]")]
    verify = ["verify", target, "--data", data, *calibration, "--engine", "fast", *few]
    report = command(*verify, "--against", file, "--limit", 12, "-o", folder, codes=(1, 3))
    judged = {c["id"]: c["verdict"] for c in report["checks"]}
    # A dozen images of an untrained network say little of accuracy and membranes; of the rest all.
    rest = {k: v for k, v in judged.items() if k not in ("V2", "V5", "V7") and v != "info"}
    assert {"V1", "V9", "V16"} <= set(rest) and set(rest.values()) == {"pass"}, judged
    assert "read with architecture vgg5, timesteps 4, thresh" in report["provenance"]["source"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "mean 0.49 0.48 0.45, std 0.2 0.25 0.3" in page
    again = api.verify(
        bundle,
        file,
        data,
        calibration=tmp_path / "x.npz",
        limit=4,
        output=tmp_path / "again",
        settings={"engine": "fast", **{f"perturbations.{k}": [] for k in ("pgd", "fgsm")}},
    )
    assert again.report.provenance.source == report["provenance"]["source"]
    # Other weights, and the same ones read as another network, are not what it was made from.
    other = stable_snn.save(draw("vgg5", seed=1), tmp_path / "other.pth")
    refused = command(*verify, "--against", other, "-o", tmp_path / "no", codes=(2,))
    assert "the bundle was made from checkpoint" in refused["error"]["message"]
    with pytest.raises(InputError, match="the bundle was made from checkpoint"):
        wrong = api.load(
            file, frontend="stable-snn", architecture="vgg5", timesteps=4, **{**SAID, "leak": 1}
        )
        api.verify(bundle, wrong, data, output=tmp_path / "no")  # type: ignore[arg-type]


def test_what_was_read_can_be_kept_as_a_checkpoint(file: Path, tmp_path: Path) -> None:
    found = api.load(file, frontend="stable-snn", architecture="vgg5", timesteps=STEPS, **SAID)
    assert isinstance(found, Checkpoint)
    save_checkpoint(tmp_path / "net.ckpt", found)
    kept = load_checkpoint(tmp_path / "net.ckpt")
    assert kept.training.document == found.training.document
    x = stable_snn.make_images(6, IMAGE)
    same = [run_float(c.network, x).logits for c in (found, kept)]
    np.testing.assert_array_equal(*same)
    bundle = api.convert(kept, x)
    assert bundle.record.document["checkpoint"]["source"] == found.training.document["source"]
    assert api.inspect(tmp_path / "net.ckpt").document["training"] == found.training.document


def test_brackets_of_the_reference_codes_file_names_do_not_get_into_the_name(
    file: Path, tmp_path: Path
) -> None:
    path = file.rename(tmp_path / "vgg5DLI_ATFGSM[1.0000,4.00,0.50]v2.pth")
    assert load(path).name == "vgg5DLI_ATFGSM_1.0000_4.00_0.50_v2"
    assert load(path.rename(tmp_path / "[].pth")).name == "network"


@pytest.mark.lava
@pytest.mark.parametrize("kind", ["LIF", "varying"])
def test_lava_gives_the_same_integers(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("lava", reason="needs lava-nc")
    image = (3, 4, 4)
    options = {"widths": (2, 3, 3), "dense": 5, "image": image, "classes": 3}
    state = stable_snn.make_state("vgg5", gains=gains(5, kind), **options)
    x = stable_snn.make_images(24, image)
    stable_snn.logits(state, x / 255, STEPS, settle=True, **NORM)
    path = stable_snn.save(state, tmp_path / "net.pth")
    bundle = converted(path, x)
    few = stable_snn.make_images(3, image, seed=2)
    found, expected = (
        api.run(bundle, few, engine=engine, trace=True) for engine in ("lava", "reference")
    )
    np.testing.assert_array_equal(found.logits, expected.logits)
    assert found.traces is not None and expected.traces is not None
    assert 0 < np.mean([t.s.mean() for t in expected.traces.values() if t.s is not None]) < 1
    for name, trace in expected.traces.items():
        for key in ("u", "v", "s"):
            np.testing.assert_array_equal(getattr(found.traces[name], key), getattr(trace, key))


def test_a_tensor_larger_than_what_its_file_holds_is_refused_before_it_takes_memory() -> None:
    spread = torch.zeros(1).expand(1 << 20, 1 << 20)
    file = io.BytesIO()
    torch.save({"conv1.weight": spread, "fc.bias": torch.zeros(3)}, file)
    assert len(file.getvalue()) < 10_000
    with pytest.raises(InputError, match="has 1,099,511,627,776 values, the file holds 1 of them"):
        read_state(file.getvalue(), "net.pth")
    part = io.BytesIO()
    torch.save({"a": torch.arange(12.0).reshape(3, 4)[:, 1:3].T}, part)
    np.testing.assert_array_equal(
        read_state(part.getvalue(), "net.pth")["a"], np.arange(12.0).reshape(3, 4)[:, 1:3].T
    )
