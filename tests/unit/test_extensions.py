"""One toy of each kind, in this file or in toys.py, goes through the chain it belongs to.

A toy is what docs/architecture.md promises: one class or value and its registration.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_check
import toys
from pydantic import BaseModel, ConfigDict, Field, field_validator

from spikeproof import api
from spikeproof.attacks.base import Attack
from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.pgd import PGD
from spikeproof.attacks.registry import ATTACKS, adversarial_kinds
from spikeproof.attacks.surrogates import SURROGATES
from spikeproof.attacks.weak import WEAK
from spikeproof.certify.ranges import certify_ranges
from spikeproof.cli.app import run as command
from spikeproof.convert.board import BOARDS, chip_fit_rows
from spikeproof.convert.fold import as_affine
from spikeproof.engines.floats import apply_node, run_float
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.registry import ENGINES, get_engine
from spikeproof.engines.self_test import make_bundle
from spikeproof.errors import BundleError, InputError, UnsupportedError
from spikeproof.faults.registry import FAULTS
from spikeproof.faults.spikes import SpikeFault
from spikeproof.formats.netx.form import FormProblem, netx_form
from spikeproof.formats.onnx.graph import onnx_problems
from spikeproof.fuzz.case import check_engine, run_reference
from spikeproof.io import files
from spikeproof.io.bundle import Bundle, bundle_bytes, load_bundle, save_bundle
from spikeproof.io.checkpoint import Checkpoint
from spikeproof.io.files import sha256
from spikeproof.io.formats import (
    EXPORTERS,
    FRONTENDS,
    Exported,
    Exporter,
    TrainedFrontend,
    load_source,
)
from spikeproof.io.kinds import is_kind
from spikeproof.ir.chip import (
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    LifNeuron,
    Neuron,
    ReadoutNeuron,
    Synapse,
)
from spikeproof.ir.floats import FloatNetwork, InputScale, Lif, Linear, Readout
from spikeproof.ir.registry import NEURONS, SYNAPSES
from spikeproof.registry import Registry
from spikeproof.report.card import render_card
from spikeproof.verify.checks import base
from spikeproof.verify.checks import registry as checks
from spikeproof.verify.checks.accuracy import Accuracy
from spikeproof.verify.config import load_config
from spikeproof.verify.interval import bound_network
from spikeproof.verify.material import Material
from spikeproof.verify.perturbations import craft_chunk, perturbations

Add = Callable[[Registry[Any], str, Any], None]


@pytest.fixture
def add() -> Iterator[Add]:
    """Register something for one test."""
    added: list[tuple[Registry[Any], str]] = []

    def register(registry: Registry[Any], name: str, thing: Any) -> None:
        registry.add(name, thing)
        added.append((registry, name))

    yield register
    for registry, name in added:
        registry.remove(name)


@pytest.fixture
def case(tiny_network: FloatNetwork, tiny_images: Path) -> tuple[FloatNetwork, Any, Any]:
    """The small network and images that it gets right."""
    with np.load(tiny_images) as arrays:
        x = arrays["x"]
    return tiny_network, x, run_float(tiny_network, x).predictions


# --- an attack ---------------------------------------------------------------------------------


def test_an_attack_is_one_class_and_its_registration(
    add: Add, case: tuple[FloatNetwork, Any, Any]
) -> None:
    pytest.importorskip("torch")
    network, x, y = case
    with pytest.raises(InputError, match=r"unknown setting 'perturbations\.mi-pgd'"):
        load_config(changes=["perturbations.mi-pgd=[12]"])
    add(ATTACKS, "mi-pgd", toys.MomentumPGD)
    assert "mi-pgd" in adversarial_kinds()
    alone = load_config(changes=["perturbations.mi-pgd=[12]"])
    assert alone.title == "quick, changed: perturbations.mi-pgd=[12]"
    (item,) = [p for p in perturbations(alone, 10**6) if p.kind == "mi-pgd"]
    assert item.samples == alone.samples.model_dump()["pgd"]
    assert pickle.loads(pickle.dumps(alone)) == alone
    own = {"perturbations.mi-pgd": [12], "samples.mi-pgd": 20, "margins.mi-pgd": 0.05}
    config = load_config(values=own)
    item = perturbations(config, len(x))[-1]
    assert (item.name, item.samples, item.attack.gradients) == ("mi-pgd-20 12/255", 20, 20)
    found = craft_chunk(item, network, x, y, 0, seed=config.seed)
    assert np.abs(found.images.astype(int) - x[:20]).max() <= 12
    assert (run_float(network, found.images).predictions != y[:20]).any()
    assert list(found.right) == [WEAK.members[0].name, WEAK.control.name]
    plain = craft_chunk(
        type(item)(WEAK.at("pgd", 12), 20), network, x, y, 0, seed=config.seed
    ).images
    assert not np.array_equal(found.images, plain)
    assert load_config().perturbations.model_dump()["mi-pgd"] == ()


@pytest.mark.parametrize("shipped", [False, True], ids=["from elsewhere", "a line in the table"])
def test_a_registered_attack_is_verified_with_and_reported(
    add: Add,
    monkeypatch: pytest.MonkeyPatch,
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tiny_images: Path,
    tmp_path: Path,
    shipped: bool,
) -> None:
    pytest.importorskip("torch")
    none: dict[str, Any] = {f"perturbations.{kind}": [] for kind in ATTACKS.shipped}
    none["worst_case.epsilons"] = []
    if shipped:
        monkeypatch.setitem(ATTACKS.shipped, "mi-pgd", "toys:MomentumPGD")
    else:
        add(ATTACKS, "mi-pgd", toys.MomentumPGD)
    own = {"perturbations.mi-pgd": [12], "samples.mi-pgd": 20, "margins.mi-pgd": 0.05}
    found = api.verify(
        tiny_bundle,
        tiny_checkpoint,
        tiny_images,
        calibration=tiny_images,
        settings={**none, **own, "engine": "fast"},
        output=tmp_path / "run",
    )
    rows = found.report.result(Accuracy).rows
    bound = "upper bound: attack mi-pgd-20, of no named suite"
    assert [(r.perturbation, r.bound) for r in rows] == [("clean", ""), ("mi-pgd-20", bound)]
    summary = next(c.summary for c in found.report.checks if c.id == "V7")
    page = found.page.read_text(encoding="utf-8")
    assert f"Accuracy under mi-pgd-20 is an {bound};" in summary
    assert f"mi-pgd-20 ({bound})" in page and WEAK.bound not in summary + render_card(found.report)


def test_training_takes_a_registered_attack(add: Add) -> None:
    from spikeproof_models.recipe import PerturbationConfig

    add(ATTACKS, "salt", Salt)  # as that of a package which happens to be installed
    with pytest.raises(ValueError, match="Input should be 'natural', ") as refused:
        PerturbationConfig(mode="mi-pgd")
    assert all(repr(kind) in str(refused.value) for kind in (*ATTACKS.shipped, "salt"))
    add(ATTACKS, "mi-pgd", toys.MomentumPGD)
    attack = PerturbationConfig(mode="mi-pgd", strength=4, steps=3, step=2).attack()
    assert attack == toys.MomentumPGD(4, steps=3, step=2)


@dataclass(frozen=True)
class Salt(Attack):
    """White pixels: noise, and so no upper bound."""

    kind = "salt"

    def _propose(self, model: Any, x: Any, y: Any, generator: Any) -> Any:
        return x + self.radius


def test_training_judges_epochs_by_a_registered_noise(
    add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from spikeproof_models.datasets import ImageSet
    from spikeproof_models.networks import SpikingNetwork
    from spikeproof_models.recipe import Recipe
    from spikeproof_models.training import steps

    add(ATTACKS, "salt", Salt)
    told: dict[str, Any] = {
        "name": "t",
        "network": {"architecture": "mlp", "hidden": (8,)},
        "perturbation": {"mode": "salt", "strength": 6},
    }
    recipe, tried = Recipe(**told), list[Any]()

    def correct(model: Any, images: Any, device: Any, attack: Any = None, *more: Any) -> Any:
        tried.append(attack)
        return np.array([True, attack is None])

    monkeypatch.setattr(steps, "correct", correct)
    images = ImageSet(np.zeros((2, 1, 28, 28), np.uint8), np.zeros(2, np.int64))
    model = SpikingNetwork(recipe.build_network())
    found = steps.held_out_figures(model, images, recipe, 0, torch.device("cpu"))
    assert tried == [None, Salt(6)]
    assert found == {"clean": 1.0, "perturbed": 0.5, "score": 0.75}


# --- a surrogate -------------------------------------------------------------------------------


def box(v: Any, threshold: float, width: float) -> Any:
    """Return 1 / (2 width) within the width, 0 beyond."""
    return ((v - threshold).abs() < width).to(v.dtype) / (2 * width)


def test_a_surrogate_is_one_function_and_its_registration(
    add: Add, case: tuple[FloatNetwork, Any, Any]
) -> None:
    pytest.importorskip("torch")
    from spikeproof.attacks import perturb_images

    network, x, y = case
    with pytest.raises(InputError, match="no surrogate 'box'"):
        Estimator(1.0, "detached", "box")
    add(SURROGATES, "box", box)
    ours, triangle = Estimator(1.0, "detached", "box"), Estimator(1.0, "detached")
    assert (ours.name, triangle.name) == ("1 detached box", "1 detached")
    assert ours.describe() != triangle.describe() == {"width": 1.0, "reset": "detached"}
    images = [
        perturb_images(PGD(12, steps=4), network, x, y, seed=1, estimator=e)
        for e in (ours, triangle)
    ]
    assert not np.array_equal(*images)


# --- a frontend --------------------------------------------------------------------------------


def read_json(path: Path) -> Checkpoint:
    """Read a dense network of one spiking layer: {"steps", "weights": [first, second]}."""
    found = json.loads(path.read_text())
    first, second = (np.array(w, np.float32) for w in found["weights"])
    shape = (1, 1, first.shape[1])
    nodes = (
        Linear("fc1", first, None),
        Lif("l1", 0.5, 1.0),
        Linear("fc2", second, None),
        Readout("out"),
    )
    network = FloatNetwork(path.stem, shape, found["steps"], nodes)
    return Checkpoint(network, content_hash=sha256(path.read_bytes()))


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A network in the toy format."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(s).round(3).tolist() for s in ((12, 6), (3, 12))]
    path = tmp_path / "net.toynet"
    path.write_text(json.dumps({"toynet": 1, "steps": 4, "weights": weights}))
    return path


def test_a_frontend_is_one_value_and_its_registration(
    add: Add, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def recognises(path: Path) -> bool:
        return path.read_bytes()[:9] == b'{"toynet"'

    assert command(["inspect", str(foreign)]) == 2
    add(FRONTENDS, "toynet", TrainedFrontend("toy network", recognises, read_json))
    loaded = api.load(foreign)
    assert isinstance(loaded, Checkpoint) and loaded.network.name == "net"
    assert api.inspect(foreign).kind == "toynet"
    x = np.random.default_rng(1).integers(0, 256, (40, 1, 1, 6), np.uint8)
    np.savez(tmp_path / "x.npz", x=x)
    bundle = api.convert(foreign, x)
    assert bundle.record.document["checkpoint"] == {"name": "net", "hash": loaded.content_hash}
    agree = api.run(bundle, x).predictions == run_float(loaded.network, x).predictions
    assert agree.mean() > 0.8
    target, data = str(tmp_path / "net.spk"), str(tmp_path / "x.npz")
    capsys.readouterr()
    assert command(["inspect", str(foreign)]) == 0
    assert "toynet" in capsys.readouterr().out
    assert command(["convert", str(foreign), "--calibration", data, "-o", target, "-q"]) == 0
    assert command(["run", target, "--data", data, "-q"]) == 0


class ToySettings(BaseModel):
    """What a toy leaves open."""

    model_config = ConfigDict(extra="forbid")
    dt: float = Field(gt=0, description="Length of a step.")
    black: tuple[float, ...] = Field(default=(0.0,), description="What black is.")

    @field_validator("black", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        return given.split(",") if isinstance(given, str) else given


def test_what_a_file_leaves_open_is_one_model_of_its_frontend(
    add: Add, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(path: Path, settings: ToySettings) -> Checkpoint:
        found = read_json(path)
        nodes = [
            replace(n, leak=settings.dt) if isinstance(n, Lif) else n for n in found.network.nodes
        ]
        return replace(found, network=replace(found.network, nodes=tuple(nodes)))

    def command_fails(*words: object) -> str:
        capsys.readouterr()
        assert command(["convert", str(foreign), *map(str, words)]) == 2
        return capsys.readouterr().err

    toy = TrainedFrontend(
        "toy", lambda path: False, read, settings=ToySettings, advice="See the toy's box."
    )
    add(FRONTENDS, "toynet", toy)
    x = np.random.default_rng(1).integers(0, 256, (40, 1, 1, 6), np.uint8)
    np.savez(tmp_path / "x.npz", x=x, y=np.zeros(40, int))
    target, data = tmp_path / "net.spk", tmp_path / "x.npz"
    more = ["--calibration", data, "-o", target, "-q"]
    told = command_fails("--from", "toynet", *more)
    assert "dt: is missing" in told and "See the toy's box." in told
    assert "dt: must be more than 0" in command_fails("--from", "toynet", "--dt", 0, *more)
    assert "leak" in command_fails("--from", "toynet", "--dt", 0.5, "--leak", 1, *more)
    assert not target.exists()
    words = ["--from", "toynet", "--dt", 0.5, "--black", "1,2"]
    assert command(["convert", str(foreign), *map(str, [*words, *more])]) == 0
    loaded = load_bundle(target)
    settings = {"dt": 0.5, "black": [1.0, 2.0]}
    assert loaded.record.document["checkpoint"]["source"] == {
        "frontend": "toynet",
        "hash": sha256(foreign.read_bytes()),
        "settings": settings,
    }
    same = api.convert(foreign, data, frontend="toynet", dt=0.5, black=(1, 2))
    assert bundle_bytes(same) == target.read_bytes()
    hashes = {api.load(foreign, frontend="toynet", dt=dt).content_hash for dt in (0.25, 0.5)}
    assert len(hashes) == 2 and loaded.record.document["checkpoint"]["hash"] not in hashes
    assert load_source(foreign, loaded).content_hash == loaded.record.document["checkpoint"]["hash"]


# --- an exporter -------------------------------------------------------------------------------

MARK = b"toy export\n"


def write_text(bundle: Bundle, path: Path, traces: bool, stage: Any) -> Exported:
    """Write the names of the layers."""
    with stage("Writing names"):
        names = "\n".join(layer.name for layer in bundle.network.layers)
    path.write_bytes(MARK + names.encode())
    return Exported(notes=["it is a toy"])


def test_an_exporter_is_one_value_and_its_registration(
    add: Add, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def recognises(path: Path) -> bool:
        return path.read_bytes().startswith(MARK)

    add(EXPORTERS, "names", Exporter("list of names", ".names", recognises, write_text))
    target = api.export(tiny_bundle, tmp_path / "net.names")
    assert target.read_bytes() == MARK + b"l1\nl2\nout"
    assert is_kind(target, "list of names") and not is_kind(tiny_bundle, "list of names")
    with pytest.raises(InputError, match="contradicts the name"):
        api.export(tiny_bundle, tmp_path / "net.names", format="onnx")
    args = ["export", str(tiny_bundle), "-o", str(target)]
    assert command(args) == 0
    assert "it is a toy" in capsys.readouterr().out
    target.write_text("a user's own notes")
    assert command(args) == 2
    assert "exists and is no list of names" in capsys.readouterr().err


# --- a target and a board ----------------------------------------------------------------------


class Renamed(NumpyEngine):
    """The NumPy engine under another name."""

    name = "toy"


class Breadboard:
    """A board of 100 neurons."""

    note = "a toy"

    def problems(self, network: ChipNetwork) -> list[str]:
        return []

    def fit(self, network: ChipNetwork) -> list[dict[str, Any]]:
        needed = sum(int(np.prod(layer.shape)) for layer in network.layers)
        row = {"chip": "breadboard", "resource": "neurons", "needed": needed, "available": 100}
        return [{**row, "fits": needed <= 100, "source": "this test"}]


def test_a_target_is_one_class_and_its_registration(
    add: Add, tiny_bundle: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(ENGINES, "toy", Renamed)
    found, same = (api.run(tiny_bundle, tiny_images, engine=e) for e in ("toy", "fast"))
    np.testing.assert_array_equal(found.logits, same.logits)
    assert command(["run", str(tiny_bundle), "--self-test", "--engine", "toy"]) == 0
    assert "differ" in capsys.readouterr().out
    assert load_config(engine="toy").engine == "toy"


def test_a_board_is_one_value_and_its_registration(
    add: Add, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(BOARDS, "breadboard", Breadboard())
    loaded = api.load(tiny_bundle)
    assert isinstance(loaded, Bundle)
    assert [r["fits"] for r in chip_fit_rows(loaded.network) if r["chip"] == "breadboard"] == [True]
    assert command(["inspect", str(tiny_bundle)]) == 0
    assert "breadboard" in capsys.readouterr().out


# --- a neuron and a synapse of the chip --------------------------------------------------------


def toy_network(kind: str, coding: Any) -> ChipNetwork:
    """Return a network whose first layer, an image, has a toy neuron or a toy synapse."""
    rng = np.random.default_rng(3)

    most, size = (20, 900) if coding == "spikes" else (6, 27_000)

    def weight(*shape: int) -> Any:
        return (2 * rng.integers(-most, most + 1, shape)).astype(np.int16)

    bias = rng.integers(-50, 51, (2, 4, 4)).astype(np.int32)
    neuron: Neuron = LifNeuron(size // 64, 96, bias, 1)
    synapse: Synapse = ConvSynapse(weight(2, 2, 3, 3), (2, 4, 4), padding=(1, 1))
    if kind == "TiringNeuron":
        neuron = toys.TiringNeuron(size, size // 3, bias, 1)
    else:
        synapse = toys.OneToOne(weight(32))
    layers = (
        ChipLayer("l1", (Connection(synapse),), neuron, (2, 4, 4)),
        ChipLayer(
            "l2",
            (Connection(DenseSynapse(weight(12, 32))),),
            LifNeuron(30, 41, bias[0, 0, :1]),
            (12,),
        ),
        ChipLayer(
            "out",
            (Connection(DenseSynapse(weight(3, 12))),),
            ReadoutNeuron(np.zeros(1, np.int32)),
            (3,),
        ),
    )
    return ChipNetwork("toy", (2, 4, 4), 5, layers, coding)


def register_toys(add: Add) -> None:
    """Name the toy neuron and the toy synapse for one test."""
    add(NEURONS, "TiringNeuron", toys.TiringNeuron)
    add(SYNAPSES, "OneToOne", toys.OneToOne)


def toy_package(folder: Path) -> str:
    """Write what an installed package of the toys leaves; return the folder it is in."""
    told = folder / "packages" / "toys-1.dist-info"
    told.mkdir(parents=True)
    told.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1\n")
    told.joinpath("entry_points.txt").write_text(
        "[spikeproof.neurons]\nTiringNeuron = toys:TiringNeuron\n"
        "[spikeproof.synapses]\nOneToOne = toys:OneToOne\n"
    )
    return str(told.parent)


LAVA = pytest.param("lava", marks=pytest.mark.lava)


@pytest.mark.parametrize("coding", ["spikes", "pixels"])
@pytest.mark.parametrize("kind", ["TiringNeuron", "OneToOne"])
@pytest.mark.parametrize("engine", ["numpy", "fast", "torch", "onnx", LAVA])
def test_a_chip_neuron_and_a_synapse_are_one_class_each(
    add: Add,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    kind: str,
    coding: str,
    tmp_path: Path,
) -> None:
    register_toys(add)
    monkeypatch.syspath_prepend(toy_package(tmp_path))  # for engines in processes of their own
    for needed in {"onnx": ["onnx", "onnxruntime"], "torch": ["torch"], "lava": ["lava"]}.get(
        engine, []
    ):
        pytest.importorskip(needed)
    network = toy_network(kind, coding)
    rng = np.random.default_rng(4)
    x = rng.integers(0, network.input_max + 1, (9, *network.sample_shape)).astype(np.uint8)
    bundle = save_bundle(tmp_path / "a.spk", make_bundle(network, {}, x))
    loaded = load_bundle(tmp_path / "a.spk")
    first = loaded.network.layers[0]
    assert kind in {type(part).__name__ for part in (first.neuron, first.synapse)}
    (outcome,) = check_engine(get_engine(engine), [(network, x)], [run_reference((network, x))])
    assert outcome.skipped is None and outcome.mismatch is None
    assert all(0 < bundle.expected[f"{name}/s"].mean() < 1 for name in ("l1", "l2"))


@pytest.mark.parametrize("coding", ["spikes", "pixels"])
@pytest.mark.parametrize("kind", ["TiringNeuron", "OneToOne"])
def test_a_chip_neuron_and_a_synapse_are_bounded_and_counted(kind: str, coding: Any) -> None:
    network = toy_network(kind, coding)
    rows = certify_ranges(network)
    assert all(row.ok for row in rows)
    rng = np.random.default_rng(5)
    x = rng.integers(0, network.input_max + 1, (50, *network.sample_shape)).astype(np.uint8)
    traces = NumpyEngine().run(network, x, trace=True).traces or {}
    for row in rows:
        v = traces[row.name].v
        assert row.v_low <= v.min() and v.max() <= row.v_high
        assert np.abs(traces[row.name].u).max() <= row.u_bound
    first = network.layers[0]
    assert first.neuron.figures(2)[1] == ([96, 96] if kind == "TiringNeuron" else 96)
    if kind == "OneToOne":
        weight = first.synapse.weight
        assert rows[0].sum_bound == network.input_max * np.abs(weight).max()
        assert first.synapse.stored == np.count_nonzero(weight)
        assert first.synapse.fan_in == 1
        assert onnx_problems(network) == []
        with pytest.raises(FormProblem, match=r"a \.net has no OneToOne"):
            netx_form(network)


@pytest.mark.parametrize("kind", ["TiringNeuron", "OneToOne"])
def test_another_package_adds_a_neuron_and_a_synapse_by_an_entry_point(
    kind: str, add: Add, tmp_path: Path
) -> None:
    """In a fresh process, in which nothing else imports the class."""
    network = toy_network(kind, "spikes")
    x = np.random.default_rng(4).integers(0, 2, (4, *network.sample_shape)).astype(np.uint8)
    with pytest.raises(BundleError, match=f"unknown node type '{kind}'"):
        bundle_bytes(make_bundle(network, {}, x))
    register_toys(add)
    save_bundle(tmp_path / "a.spk", make_bundle(network, {}, x))
    args = [sys.executable, "-m", "spikeproof", "run", str(tmp_path / "a.spk"), "--self-test"]
    env = {**os.environ, "PYTHONPATH": str(Path(toys.__file__).parent)}
    found = subprocess.run(args, env=env, capture_output=True, text=True, timeout=120)
    assert found.returncode == 2 and f"unknown node type '{kind}'" in found.stderr
    env["PYTHONPATH"] += os.pathsep + toy_package(tmp_path)
    found = subprocess.run(args, env=env, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("kind", ["TiringNeuron", "OneToOne"])
def test_the_second_judge_refuses_by_name_what_it_has_no_rules_for(kind: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{kind} is a (neuron|synapse) whose rules"):
        bound_network(toy_network(kind, "spikes"))


def test_a_verification_says_which_neuron_it_cannot_judge(
    add: Add,
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tiny_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    register_toys(add)
    bundle = load_bundle(tiny_bundle)
    first, *others = bundle.network.layers
    toy = toys.TiringNeuron(30_000, 100, first.neuron.bias, first.neuron.bias_exponent, 4095)
    network = replace(bundle.network, layers=(replace(first, neuron=toy), *others))
    with np.load(tiny_images) as arrays:
        changed = make_bundle(network, bundle.record.document, arrays["x"][:2])
    save_bundle(tmp_path / "toy.spk", changed)
    args = ["verify", str(tmp_path / "toy.spk"), "--against", str(tiny_checkpoint)]
    args += ["--data", str(tiny_images), "--calibration", str(tiny_images)]
    assert command([*args, "--set", "engine=fast", "-o", str(tmp_path / "run")]) == 2
    assert "TiringNeuron is a neuron whose rules" in capsys.readouterr().err


# --- an affine layer ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Brighten:
    """x -> factor * x + shift."""

    name: str
    factor: float
    shift: float


def test_an_affine_layer_is_one_class_and_its_functions(
    tiny_network: FloatNetwork, tiny_images: Path, tmp_path: Path
) -> None:
    """How it is applied, and which affine map it is; attacks take their gradients through that."""

    def scaled(node: Brighten) -> InputScale:
        mean = np.array([-node.shift / node.factor], np.float32)
        return InputScale(node.name, mean, np.array([1 / node.factor], np.float32))

    apply_node.register(Brighten, lambda node, x: node.factor * x + node.shift)
    as_affine.register(Brighten, lambda node, shape: as_affine(scaled(node), shape))
    node: Any = Brighten("brighten", 1.5, 0.125)
    with np.load(tiny_images) as arrays:
        x = arrays["x"]
    ours, same = (
        FloatNetwork("tiny", (1, 8, 8), 4, (first, *tiny_network.nodes))
        for first in (node, scaled(node))
    )
    np.testing.assert_allclose(run_float(ours, x).logits, run_float(same, x).logits)
    bundles = [api.convert(Checkpoint(n), x) for n in (ours, same)]
    results = [api.run(bundle, x).logits for bundle in bundles]
    np.testing.assert_array_equal(*results)
    pytest.importorskip("torch")
    data = tmp_path / "right.npz"  # labelled as the network answers, so an attack can mislead it
    np.savez(data, x=x, y=run_float(ours, x).predictions)
    none: dict[str, Any] = {f"perturbations.{kind}": [] for kind in ATTACKS.shipped}
    none["worst_case.epsilons"] = []
    rows = [
        api.verify(
            bundle,
            Checkpoint(network),
            data,
            calibration=data,
            settings={**none, "perturbations.fgsm": [12], "samples.fgsm": 40, "engine": "fast"},
            output=tmp_path / type(network.nodes[0]).__name__,
        )
        .report.result(Accuracy)
        .rows
        for bundle, network in zip(bundles, (ours, same), strict=True)
    ]
    assert [[row.perturbation for row in found] for found in rows] == 2 * [["clean", "fgsm"]]
    (_, ours_hit), (clean, same_hit) = ([r.float_accuracy for r in found] for found in rows)
    assert ours_hit == pytest.approx(same_hit, abs=0.05) and ours_hit < clean


# --- a fault -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Brownout(SpikeFault):
    """From some step on nobody fires."""

    kind = "brownout"
    title = "power lost"
    unit = "of the steps"
    rates = (0.5, 1.0)

    def way(self, layer: str, shape: Any, seed: int, images: Any) -> Any:
        return lambda t, fired: fired & (t < (1 - self.rate) * shape[0])


def test_a_fault_is_one_class_and_its_registration(
    add: Add,
    case: tuple[FloatNetwork, Any, Any],
    tiny_bundle: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "right.npz"
    np.savez(data, x=case[1], y=case[2])
    args = ["faults", str(tiny_bundle), "--against", str(tiny_checkpoint), "--json"]
    args += ["--data", str(data), "--kind", "brownout", "--rate", "0,1", "--seeds", "1"]
    assert command(args) == 2
    add(FAULTS, "brownout", Brownout)
    capsys.readouterr()
    assert command(args) == 0
    found = json.loads(capsys.readouterr().out)
    none, whole = found["faults"]
    assert none["chip"] == found["clean"]["chip"] > whole["chip"] + 0.2
    assert whole["shown"] == "100 % of the steps"
    assert whole["chip"] == whole["trained"]  # one class for all: the largest bias


# --- what the documents promise ----------------------------------------------------------------

ROOT = Path(__file__).parents[2]
MADE: dict[str, tuple[str, list[Any]]] = {
    "attack": ("ATTACKS", [toys.MomentumPGD]),
    "fault": ("FAULTS", [Brownout]),
    "surrogate": ("SURROGATES", [box]),
    "frontend": ("FRONTENDS", [read_json]),
    "exporter": ("EXPORTERS", [write_text]),
    "target": ("ENGINES", [Renamed]),
    "board": ("BOARDS", [Breadboard]),
    "neuron of the chip": ("NEURONS", [toys.TiringNeuron]),
    "synapse of the chip": ("SYNAPSES", [toys.OneToOne]),
    "affine layer": ("", [Brighten]),
    "check": ("CHECKS", [toy_check.Brightness, toy_check.Figures, toy_check.TOY.judge]),
}
"""By the kind's name in the table of docs/architecture.md: its registry, and its toy's parts."""


def registered(registry: str, parts: list[Any]) -> set[str]:
    """Return the names under which this file adds the toy of these parts to a registry."""
    calls = [
        node.args
        for node in ast.walk(ast.parse(Path(__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "add"
    ]
    return {
        ast.unparse(name)
        for table, name, thing in calls
        if ast.unparse(table) == registry
        and any(part.__name__ in ast.unparse(thing) for part in parts)
    }


def lines_of_a_check() -> int:
    """Count the lines of the registry that name one check: its import, and its place."""
    text = Path(str(inspect.getsourcefile(checks))).read_text(encoding="utf-8")
    return len(re.findall(r"^.*\bbit_exact\b.*$", text, re.MULTILINE))


def test_the_documents_promise_the_files_that_the_toys_take() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.split("## To add something")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z ]+) \| (\d.*?) \| .* \| (.*) \|$", section, re.MULTILINE)
    needed = {}
    for kind, (registry, parts) in MADE.items():
        files = len({inspect.getsourcefile(part) for part in parts})
        lines = len(registered(registry, parts)) if registry != "CHECKS" else lines_of_a_check()
        needed[kind] = f"{files} + {lines} line{'s' * (lines > 1)}" if registry else str(files)
    assert {kind: promised for kind, promised, _ in rows} == needed
    for kind, _, place in rows:
        if not (registry := MADE[kind][0]):
            assert place == "none"
            continue
        if registry == "CHECKS":
            assert place == "`verify/checks/registry.py`, none"
            continue
        file, group = re.findall(r"`(.*?)`", place)
        assert globals()[registry].group == group
        text = (ROOT / "toolchain" / "spikeproof" / file).read_text(encoding="utf-8")
        assert f"\n{registry}: " in text


def test_what_is_said_of_a_new_check_names_all_that_the_tests_demand_and_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    told = page.split("**A new check**")[1].split("\n\n")[0]
    for document in ("guarantees.md", "verification-failed.md"):
        assert f"]({document})" in told and (ROOT / "docs" / document).is_file()
    assert "two lines" in told and "one line" not in told
    for part in ("CheckKind", "Job", "Outcome"):
        assert f"`{part}`" in told and hasattr(base, part)
    named = re.search(r"`Material` \(`verify/material.py`\) holds (.*?)\. ", told, re.DOTALL)
    assert named is not None
    assert set(re.findall(r"`(\w+)`", named[1])) == set(vars(Material)["__dataclass_fields__"])
    assert "write_atomic" in page and "read_start" in page
    assert callable(files.write_atomic) and callable(files.read_start)
