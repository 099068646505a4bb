"""State dicts of the reference code's WRN-16: an analog residual stream between spiking layers."""

from __future__ import annotations

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
from spikeproof.errors import InputError, UnsupportedError
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spikeproof.ir.floats import FloatNetwork

NORM: dict[str, Any] = {"mean": (0.49, 0.48, 0.45), "std": (0.2, 0.25, 0.3)}
IMAGE = (3, 16, 16)
STEPS = 3
LAYERS = 13


def draw(widths: Any = (3, 5, 6, 7), image: Any = IMAGE, **options: Any) -> dict[str, Any]:
    """Draw a narrow network whose layers all spike, batch norms as training would leave them."""
    state = stable_snn.make_wide_state(widths, image=image, classes=4, **options)
    x = stable_snn.make_images(12, image) / 255
    stable_snn.logits(state, x, STEPS, settle=True, **NORM)
    return state


def gains(kind: str) -> Any:
    varying = np.random.default_rng(8).uniform(0.8, 1.6, (LAYERS, STEPS))
    if kind == "constant":
        return np.full((LAYERS, STEPS), 1.25)
    if kind == "negative":
        varying[2, 1] = -0.7
    if kind == "zero":
        varying[0, 0] = 0.0
    return None if kind == "LIF" else varying


def load(path: Path, **changes: Any) -> FloatNetwork:
    said = {"timesteps": STEPS, "threshold": 1.0, "leak": 0.99, "input_shape": IMAGE, **NORM}
    found = api.load(path, frontend="stable-snn", architecture="wrn16", **{**said, **changes})
    assert isinstance(found, Checkpoint)
    return found.network


def same_logits(network: FloatNetwork, state: Any, image: Any = IMAGE) -> None:
    """Check logits and every membrane against the equations."""
    x = stable_snn.make_images(6, image, seed=5)
    found = run_float(network, x, trace=True)
    membranes: dict[str, Any] = {}
    expected = stable_snn.logits(state, x / 255, STEPS, **NORM, membranes=membranes)
    np.testing.assert_allclose(found.logits, expected, rtol=1e-10, atol=1e-10)
    assert expected.std(axis=0).min() > 1e-3
    for name, trace in found.traces.items():
        if trace.v is not None:
            np.testing.assert_allclose(trace.v, membranes[name], rtol=1e-9, atol=1e-9)
            assert 0.005 < trace.s.mean() < 0.9, name


@pytest.mark.parametrize("kind", ["LIF", "constant", "varying", "negative", "zero"])
def test_logits_are_those_of_the_equations(kind: str, tmp_path: Path) -> None:
    state = draw(gains=gains(kind))
    network = load(stable_snn.save(state, tmp_path / "net.pth"))
    same_logits(network, state)
    assert sum(hasattr(node, "leak") for node in network.nodes) == LAYERS


@pytest.mark.parametrize(
    ("image", "given"),
    [((3, 32, 32), None), ((3, 28, 28), (3, 28, 28)), ((3, 17, 31), (3, 17, 31))],
)
def test_the_pool_and_the_image_are_the_reference_codes(
    image: Any, given: Any, tmp_path: Path
) -> None:
    """Windows of 8x8 from 32 rows on, else of 4x4; what is left over of a map is dropped."""
    state = draw(image=image)
    network = load(stable_snn.save(state, tmp_path / "net.pth"), input_shape=given)
    assert network.input_shape == image
    same_logits(network, state, image)


def test_widths_and_both_ways_to_name_blocks_are_read(tmp_path: Path) -> None:
    """A first group as wide as the first convolution has no shortcut convolution."""
    state = draw((4, 4, 6, 5), inner=".layer")
    assert "block1.layer.0.convShortcut.weight" not in state
    same_logits(load(stable_snn.save(state, tmp_path / "net.pth")), state)


@pytest.mark.parametrize("zero", [0, 1])
def test_a_branch_whose_coefficient_is_zero_counts_for_nothing(zero: int, tmp_path: Path) -> None:
    """Projection on the simplex, as the reference code's regulariser does, leaves such zeros."""
    state = draw()
    for at in ("block1.1", "block2.0", "block3.1"):
        state[f"{at}.convex.comb"] = torch.tensor([1.0, 0.0] if zero else [0.0, 1.0])
    stable_snn.logits(state, stable_snn.make_images(12, IMAGE) / 255, STEPS, settle=True, **NORM)
    network = load(stable_snn.save(state, tmp_path / "net.pth"))
    same_logits(network, state)
    names = {node.name for node in network.nodes}
    assert ("block3.1.act2" in names) is not bool(zero)
    assert ("block2.0.convShortcut" in names) is bool(zero)


# --- files -------------------------------------------------------------------------------------


def test_a_coefficient_of_one_stays_one_that_is_trained(tmp_path: Path) -> None:
    state = draw()
    state["block1.0.convex.comb"] = torch.tensor([1.0, 0.5], dtype=torch.float64)
    path = tmp_path / "w.pth"
    torch.save(state, path)
    edges = [edge for edge in load(path).edges if edge.target == "block1.0.convex"]
    assert [(edge.coefficient, edge.trained) for edge in edges] == [(1.0, True), (0.5, False)]
    save_checkpoint(tmp_path / "w.ckpt", Checkpoint(load(path)))
    assert load_checkpoint(tmp_path / "w.ckpt").network.edges == load(path).edges


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-900])


def _spoil(name: str, change: Any) -> Any:
    def apply(state: dict[str, Any]) -> None:
        state[name] = change(state[name].clone())

    return apply


def _nan(values: Any) -> Any:
    values.view(-1)[0] = np.nan
    return values


BAD: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "names": (
        lambda s: (s.pop("block2.0.convShortcut.weight"), s.update(head=torch.ones(2))),
        {},
        [
            "not in the file, expected (1): block2.0.convShortcut.weight",
            "in the file, not expected (1): head",
        ],
    ),
    "shapes": (
        lambda s: (
            _spoil("block1.0.conv2.weight", lambda w: w[:, :, :1])(s),
            _spoil("block3.1.bn1.bias", lambda w: w[:-1])(s),
            _spoil("block2.1.convex.comb", lambda w: w[:1])(s),
            _spoil("fc.weight", lambda w: w[:, :-1])(s),
        ),
        {},
        [
            "block1.0.conv2.weight has shape (5, 5, 1, 3), expected (5, 5, 3, 3)",
            "block3.1.bn1.bias has shape (6,), expected (7,)",
            "block2.1.convex.comb has shape (1,), expected (2,)",
        ],
    ),
    "a group of two widths": (
        _spoil("block2.0.convShortcut.weight", lambda w: w[:-1]),
        {},
        ["block2.0.convShortcut.weight has shape (5, 5, 1, 1), expected (6, 5, 1, 1)"],
    ),
    "values": (
        lambda s: (_spoil("conv1.weight", _nan)(s), _spoil("block1.1.convex.comb", _nan)(s)),
        {},
        ["conv1.weight: 1 of 81 values is NaN", "block1.1.convex.comb: 1 of"],
    ),
    "nothing passes": (
        _spoil("block1.1.convex.comb", torch.zeros_like),
        {},
        ["block1.1.convex.comb is zero for shortcut and residual"],
    ),
    "no steps": (lambda s: None, {"timesteps": None}, ["give timesteps T", "scripts: 8"]),
    "other steps": (
        lambda s: s.update({f"{n}.p": torch.ones(2) for n in _neurons(s)}),
        {},
        ["timesteps 3 contradicts its DLIF neurons, whose gains have 2 steps"],
    ),
    "some gains": (
        lambda s: s.update({"act.p": torch.ones(STEPS)}),
        {},
        ["not in the file, expected (12): block1.0.act1.p"],
    ),
    "an image": (
        lambda s: None,
        {"input_shape": (3, 64, 64)},
        ["3 64 64 leaves 4 place", "the file has 1 and 3"],
    ),
    "channels": (lambda s: None, {"mean": (0,), "std": (1,)}, ["mean has 1 value,"]),
    "another architecture": (
        lambda s: None,
        {"architecture": "vgg5"},
        ["the names in this file are wrn16's, not vgg5's"],
    ),
    "another depth": (
        lambda s: None,
        {"architecture": "wrn28"},
        ["wrn28 is no architecture that can be read; those that can: vgg5, vgg11, wrn16"],
    ),
    "a file that ends early": (_cut, {}, ["net.pth"]),
    "a pickled module": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        {},
        ["state_dict()"],
    ),
}


def _neurons(state: dict[str, Any]) -> list[str]:
    norms = [name.removesuffix(".running_var") for name in state if name.endswith("running_var")]
    return [n.replace(".bn", ".act") if "." in n else "act" for n in norms]


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_one_error(name: str, tmp_path: Path) -> None:
    change, said, messages = BAD[name]
    state, path = draw(), tmp_path / "net.pth"
    on_file = name in ("a file that ends early", "a pickled module")
    if not on_file:
        change(state)
    stable_snn.save(state, path)
    if on_file:
        change(path)
    given = {"architecture": "wrn16", "timesteps": STEPS, "input_shape": IMAGE, **NORM, **said}
    with pytest.raises(InputError) as caught:
        api.load(path, frontend="stable-snn", **given)
    told = f"{caught.value}"
    assert [m for m in messages if m not in told] == [], told


def test_images_of_another_size_than_was_assumed_are_told_the_option_that_gives_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wide ResNet of 16x16 images pools 4x4 and leaves one place, as one of 32x32 does."""
    small = (3, 16, 16)
    path = stable_snn.save(draw(image=small), tmp_path / "net.pth")
    x = stable_snn.make_images(4, small)
    np.savez(tmp_path / "x.npz", x=x)
    words = ["convert", str(path), "--from", "stable-snn", "--architecture", "wrn16"]
    words += ["--timesteps", str(STEPS), "--calibration", str(tmp_path / "x.npz"), "--dry-run"]
    assert run(words) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "so this is taken: " in told and "input_shape 3 32 32" in told
    assert "3x32x32 was assumed" in told and "give --input-shape 3 16 16" in told
    assert run([*words, "--input-shape", "3", "16", "16"]) == 0
    assert "input_shape" not in " ".join(capsys.readouterr().err.split("taken:")[1:])
    said = {"frontend": "stable-snn", "architecture": "wrn16", "timesteps": STEPS}
    with pytest.raises(InputError, match="give input_shape 3 16 16"):
        api.convert(path, x, **said)
    with pytest.raises(InputError) as caught:
        api.convert(path, x, input_shape=(3, 32, 32), **said)
    assert "assumed" not in str(caught.value)


# --- the whole way -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("negative", r"block1\.1\.act1: the gain is not positive at 1 of 3 steps"),
        ("zero", r"block1\.0\.act1: the gain is not positive at 1 of 3 steps"),
    ],
)
def test_gains_that_no_table_can_hold_are_refused(kind: str, message: str, tmp_path: Path) -> None:
    path = stable_snn.save(draw(gains=gains(kind)), tmp_path / "net.pth")
    said = {"architecture": "wrn16", "timesteps": STEPS, "input_shape": IMAGE, **NORM}
    with pytest.raises(UnsupportedError, match=message):
        api.convert(path, stable_snn.make_images(8, IMAGE), frontend="stable-snn", **said)


@pytest.mark.parametrize(
    ("kind", "neurons"),
    [("LIF", "LifNeuron"), ("constant", "LifNeuron"), ("varying", "TableLifNeuron")],
)
def test_the_command_converts_it_and_engines_agree(
    kind: str, neurons: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stable_snn.save(draw(gains=gains(kind)), tmp_path / "net.pth")
    x, target = stable_snn.make_images(40, IMAGE), tmp_path / "net.spk"
    np.savez(tmp_path / "x.npz", x=x)
    words = ["--from", "stable-snn", "--architecture", "wrn16", "--timesteps", STEPS]
    words += ["--mean", "0.49,0.48,0.45", "--std", "0.2,0.25,0.3", "--input-shape", *IMAGE]
    words += ["--calibration", tmp_path / "x.npz", "-o", target]
    code = run(["convert", str(path), *map(str, words), "-q"])
    assert code == 0, capsys.readouterr().err
    bundle = api.load(target)
    hidden = {type(layer.neuron).__name__ for layer in bundle.network.layers[:-1]}
    assert hidden == {neurons}
    fresh = stable_snn.make_images(4, IMAGE, seed=7)
    found, expected = (api.run(bundle, fresh, engine=e, trace=True) for e in ("numpy", "reference"))
    np.testing.assert_array_equal(found.logits, expected.logits)
    for name, trace in (expected.traces or {}).items():
        np.testing.assert_array_equal((found.traces or {})[name].v, trace.v)
    logits = run_float(load(path), x).logits
    chip = api.run(bundle, x, engine="numpy").predictions
    assert (chip == logits.argmax(axis=1)).mean() > 0.6
