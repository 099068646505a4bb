"""Training: what a recipe promises, exact resume, clear errors."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeproof.attacks import PGD
from spikeproof.cli.app import run
from spikeproof.errors import BundleError, InputError
from spikeproof.io import container
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.trained import trained_on
from spikeproof.io.zoo import shipped_folder
from spikeproof.ir.floats import Lif
from spikeproof_models.datasets import ImageSet
from spikeproof_models.networks import SpikingNetwork
from spikeproof_models.neurons import LifLayer
from spikeproof_models.recipe import DataConfig, Recipe
from spikeproof_models.training import load_recipe, loop, steps, train
from spikeproof_models.training.loop import make_optimiser
from spikeproof_models.training.steps import (
    TrainingError,
    augment,
    batches,
    held_out_figures,
    seeded,
    training_loss,
)

BASE = """
name = "tiny"
seed = 3
[data]
held_out = 20
crop_padding = 1
[network]
architecture = "mlp"
hidden = [12]
neuron = "dlif"
timesteps = 2
[perturbation]
mode = "fgsm"
[objective]
rho = 0.5
[optimiser]
epochs = 3
batch_size = 32
learning_rate = 1e-2
[selection]
pgd_steps = 2
pgd_images = 10
"""


@pytest.fixture
def data_dir(tmp_path):
    """Write 120 easy images: the class is the row that is bright."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 120).astype(np.uint8)
    images = rng.integers(0, 60, (120, 28, 28)).astype(np.uint8)
    images[np.arange(120), 2 * labels + 3] = 255
    for stem in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim])
            head += b"".join(n.to_bytes(4, "big") for n in array.shape)
            path = tmp_path / "data" / f"{stem}-{kind}-ubyte.gz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(head + array.tobytes()))
    return tmp_path / "data"


def write_recipe(folder: Path, text: str = BASE, **replacements: str) -> Path:
    for old, new in replacements.items():
        text = text.replace(f"{old} = ", f"{old} = {new} #")
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


class Stop(Exception):
    """Stands for a kill."""


def stop_at(step):
    def progress(tick):
        if tick.done == step:
            raise Stop

    return progress


@pytest.mark.parametrize("kind", ["adam", "sgd"])
@pytest.mark.parametrize("step", [2, 6, 9])
def test_a_killed_run_continues_to_the_same_bytes(tmp_path, data_dir, kind, step):
    recipe = write_recipe(tmp_path, BASE.replace("epochs = 3", f'epochs = 3\nkind = "{kind}"'))
    whole = train(recipe, tmp_path / "whole", data_dir=data_dir)
    with pytest.raises(Stop):
        train(recipe, tmp_path / "cut", data_dir=data_dir, progress=stop_at(step))
    assert not (tmp_path / "cut/tiny.ckpt").exists()
    resumed = train(recipe, tmp_path / "cut", data_dir=data_dir)
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_run_without_perturbed_figures_continues_to_the_same_bytes_too(tmp_path, data_dir):
    recipe = write_recipe(tmp_path, mode='"natural"', rho="0.0")
    whole = train(recipe, tmp_path / "whole", data_dir=data_dir)
    with pytest.raises(Stop):
        train(recipe, tmp_path / "cut", data_dir=data_dir, progress=stop_at(6))
    resumed = train(recipe, tmp_path / "cut", data_dir=data_dir)
    assert resumed.read_bytes() == whole.read_bytes()


def test_the_checkpoint_holds_network_recipe_and_history(tmp_path, data_dir):
    path = train(write_recipe(tmp_path), tmp_path / "out", data_dir=data_dir)
    found = load_checkpoint(path)
    assert path.name == "tiny.ckpt"
    assert found.network.name == "tiny"
    history = found.training.document["history"]
    assert [h["epoch"] for h in history] == [1, 2, 3]
    best = max(history, key=lambda h: h["score"])
    assert found.training.document["selected_epoch"] == best["epoch"]
    assert found.training.document["recipe"]["objective"]["rho"] == 0.5
    gain = next(n.gain for n in found.network.nodes if isinstance(n, Lif))
    assert (gain > 0).all()
    assert not np.array_equal(gain, np.ones(2))
    data = found.training.document["data"]
    assert (data["recognised"], data["held"]) == (False, 120)
    assert trained_on(found).data is None


def test_training_learns(tmp_path, data_dir):
    recipe = write_recipe(
        tmp_path, mode='"natural"', rho="0.0", epochs="25", crop_padding="0", learning_rate="5e-3"
    )
    path = train(recipe, tmp_path / "out", data_dir=data_dir)
    history = load_checkpoint(path).training.document["history"]
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert max(h["clean"] for h in history) > 0.6


@pytest.mark.parametrize(
    ("mode", "rho"),
    [("natural", 0.0), *((m, r) for m in ("gaussian", "fgsm", "pgd") for r in (0.0, 0.5))],
)
def test_every_mode_trains_with_and_without_mppd(mode, rho):
    recipe = Recipe(
        name="t",
        network={"architecture": "mlp", "hidden": (8,), "neuron": "dlif"},
        perturbation={"mode": mode, "steps": 2},
        objective={"rho": rho},
    )
    model = SpikingNetwork(recipe.build_network(), "positive")
    x, y = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])
    loss = training_loss(model, x, y, recipe, recipe.perturbation.attack(), seeded(0, 0, 0))
    loss.backward()
    gains = [p.grad for n, p in model.named_parameters() if n.endswith("raw_gain")]
    assert gains
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


def test_mppd_adds_to_the_loss_what_the_definition_says():
    setting = {
        "name": "t",
        "network": {"architecture": "mlp", "hidden": (8,)},
        "perturbation": {"mode": "gaussian", "strength": 64},
    }
    x, y = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])
    losses = []
    for rho in (0.0, 1.0, 2.0):
        recipe = Recipe(**setting, objective={"rho": rho})
        model = SpikingNetwork(recipe.build_network())
        attack = recipe.perturbation.attack()
        losses.append(training_loss(model, x, y, recipe, attack, seeded(0, 0, 0)).item())
    assert losses[1] > losses[0]
    assert losses[2] - losses[0] == pytest.approx(2 * (losses[1] - losses[0]), rel=1e-3)


def test_weight_decay_leaves_gains_biases_and_norms_alone():
    recipe = Recipe(name="t", network={"neuron": "dlif"}, optimiser={"weight_decay": 0.1})
    model = SpikingNetwork(recipe.build_network(), "positive")
    decayed, plain = make_optimiser(model, recipe.optimiser).param_groups
    assert decayed["weight_decay"] == 0.1
    assert all(p.ndim > 1 for p in decayed["params"])
    assert plain["weight_decay"] == 0
    assert {id(m.raw_gain) for m in model.layers if hasattr(m, "raw_gain")} <= {
        id(p) for p in plain["params"]
    }


def test_a_loss_that_is_not_a_number_stops_the_run_and_says_where(tmp_path, data_dir):
    recipe = write_recipe(tmp_path, learning_rate="1e30")
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in epoch 1, step \d"):
        train(recipe, tmp_path / "out", data_dir=data_dir)
    assert not list((tmp_path / "out").iterdir())


def test_a_state_of_another_recipe_is_refused_unless_starting_afresh(tmp_path, data_dir):
    recipe = write_recipe(tmp_path)
    train(recipe, tmp_path / "out", data_dir=data_dir)
    other = write_recipe(tmp_path, seed="4")
    with pytest.raises(InputError, match=r"another run: recipe.seed was \d, is 4\n.*--no-resume"):
        train(other, tmp_path / "out", data_dir=data_dir)
    assert train(other, tmp_path / "out", data_dir=data_dir, resume=False).exists()


def test_more_epochs_alone_go_on_where_the_run_stood_and_say_so(tmp_path, data_dir):
    train(write_recipe(tmp_path), tmp_path / "out", data_dir=data_dir)
    longer, said = write_recipe(tmp_path, epochs="4"), []
    made = train(longer, tmp_path / "out", data_dir=data_dir, note=said.append)
    training = load_checkpoint(made).training.document
    assert [entry["epoch"] for entry in training["history"]] == [1, 2, 3, 4]
    assert training["plans"] == [
        {"from_epoch": 1, "epochs": 3},
        {"from_epoch": 4, "epochs": 4},
    ]
    assert "epochs changed from 3 to 4 after epoch 3" in said[-1]


def test_two_runs_at_once_in_one_folder_are_refused_and_nothing_else_is(tmp_path, data_dir):
    recipe, out, refusals = write_recipe(tmp_path), tmp_path / "out", []
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace('name = "tiny"', 'name = "other"'))

    def second(tick):
        if tick.done == 2:
            with pytest.raises(InputError, match="is in use by another process") as caught:
                train(recipe, out, data_dir=data_dir)
            refusals.append(caught.value.where)
            assert train(other, out, data_dir=data_dir).exists(), "another recipe is no conflict"

    made = train(recipe, out, data_dir=data_dir, progress=second)
    assert refusals == [str(out / "tiny.state")]
    assert {p.name for p in out.iterdir()} == {"tiny.state", made.name, "other.state", "other.ckpt"}


def test_a_run_that_had_finished_says_so_and_trains_nothing(tmp_path, data_dir, capsys):
    recipe, out = write_recipe(tmp_path), tmp_path / "out"
    command = ["train", str(recipe), "-o", str(out), "--data-dir", str(data_dir)]
    assert run(command) == 0
    assert "done in" in capsys.readouterr().err
    before = (out / "tiny.ckpt").read_bytes()
    assert run(command) == 0
    shown, said = capsys.readouterr()
    assert "already finished after 3 epochs; nothing was trained" in said
    assert "done in" not in said
    assert shown == f"checkpoint: {out / 'tiny.ckpt'}\n"
    assert (out / "tiny.ckpt").read_bytes() == before


def test_fewer_epochs_than_were_run_are_refused_with_what_to_set(tmp_path, data_dir):
    train(write_recipe(tmp_path), tmp_path / "out", data_dir=data_dir)
    shorter = write_recipe(tmp_path, epochs="2")
    with pytest.raises(InputError, match="stands after epoch 3, the recipe ends at 2") as caught:
        train(shorter, tmp_path / "out", data_dir=data_dir)
    assert "Set epochs to 3 or more" in str(caught.value.hint)


def rewrite_state(path, change):
    """Change a state and seal it again, as somebody with bad intentions could."""
    document, arrays = container.read(path, "training-state", 1)
    change(document, arrays)
    container.write(path, "training-state", 1, document, arrays)


def poison(arrays, name):
    arrays[name] = np.full_like(arrays[name], np.nan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d, a: d.update(epoch=99), "not that of epochs 1 to 99"),
        (lambda d, a: d.update(best_epoch=7), "best epoch is 7 of 3"),
        (lambda d, a: d.pop("history"), "history: is missing"),
        (lambda d, a: d.update(history=[{"epoch": "x"}]), "history"),
        (lambda d, a: d.update(device="abacus"), "device"),
        (lambda d, a: d.update(identity=[]), "identity"),
        (lambda d, a: d.update(optimiser={"no number": 1.0}), "does not fit the optimiser"),
        (lambda d, a: d.update(unknown=1), "unknown"),
        (lambda d, a: poison(a, next(k for k in a if k.startswith("model/"))), "not finite"),
        (lambda d, a: poison(a, next(k for k in a if k.startswith("best/"))), "not finite"),
        (lambda d, a: a.pop(next(k for k in a if k.startswith("model/"))), "expected"),
        (lambda d, a: a.update({"best/extra": np.zeros(3, np.float32)}), "best/extra"),
    ],
)
def test_a_sealed_state_that_no_run_can_have_left_is_refused(tmp_path, data_dir, change, words):
    recipe = write_recipe(tmp_path)
    train(recipe, tmp_path / "out", data_dir=data_dir)
    rewrite_state(tmp_path / "out/tiny.state", change)
    with pytest.raises(BundleError, match=words):
        train(recipe, tmp_path / "out", data_dir=data_dir)


def test_a_damaged_state_is_refused(tmp_path, data_dir):
    recipe = write_recipe(tmp_path)
    train(recipe, tmp_path / "out", data_dir=data_dir)
    state = tmp_path / "out/tiny.state"
    data = bytearray(state.read_bytes())
    data[-3] ^= 1
    state.write_bytes(bytes(data))
    with pytest.raises(BundleError, match="was changed"):
        train(recipe, tmp_path / "out", data_dir=data_dir)


def test_all_problems_of_a_recipe_are_listed_with_their_keys(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('name = "x"\nsead = 1\n[optimiser]\nepochs = 0\nlearning_rat = 1\n')
    with pytest.raises(InputError) as error:
        load_recipe(path)
    text = str(error.value)
    assert "3 problems" in text
    assert "unknown setting 'sead'; did you mean 'seed'?" in text
    assert (
        "unknown setting 'optimiser.learning_rat'; did you mean 'optimiser.learning_rate'?" in text
    )
    assert "optimiser.epochs" in text
    path.write_text('name = "x"\nhidden = [64]\n')
    with pytest.raises(InputError, match=r"'hidden'; did you mean 'network.hidden'\?"):
        load_recipe(path)


def test_a_recipe_that_is_not_toml_or_makes_no_sense_is_refused(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("name = ")
    with pytest.raises(InputError, match="is not TOML"):
        load_recipe(path)
    path.write_text('name = "x"\n[objective]\nrho = 1.0\n')
    with pytest.raises(InputError, match="rho needs a perturbation"):
        load_recipe(path)


@pytest.mark.parametrize(
    "path", sorted(shipped_folder("recipes").glob("*.toml")), ids=lambda p: p.stem
)
def test_every_shipped_recipe_is_valid_and_builds(path):
    recipe = load_recipe(path)
    assert recipe.description
    assert recipe.network.strict
    if recipe.network.architecture != "vgg5":
        assert recipe.build_network().name == recipe.name


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_only():
    images = ImageSet(np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1), np.arange(8))
    recipe = Recipe(name="t", optimiser={"batch_size": 3})

    def order(epoch, recipe=recipe):
        cpu = torch.device("cpu")
        return [int(v) for _, y in batches(images, recipe, epoch, cpu) for v in y]

    assert order(0) == order(0)
    assert sorted(order(0)) == list(range(8))
    assert len({tuple(order(e)) for e in range(4)}) > 1


def test_augmentation_shifts_and_flips_whole_images():
    x = torch.zeros(200, 2, 5, 5, dtype=torch.uint8)
    x[:, :, 2, 1] = 9
    moved = augment(x, DataConfig(crop_padding=1, flip=True), seeded(0, 0, 0))
    assert bool((moved.sum((2, 3)) == 9).all())
    assert torch.equal(moved[:, 0], moved[:, 1])
    places = {tuple(p) for p in moved[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(r, c) for r in (1, 2, 3) for c in (0, 1, 2, 3, 4)}


def test_robust_recipes_are_selected_by_clean_and_attacked_accuracy():
    recipe = Recipe(
        name="t",
        network={"architecture": "mlp", "hidden": (8,)},
        perturbation={"mode": "fgsm"},
        selection={"pgd_steps": 1},
    )
    model = SpikingNetwork(recipe.build_network())
    images = ImageSet(np.zeros((6, 1, 28, 28), np.uint8), np.zeros(6, np.int64))
    found = held_out_figures(model, images, recipe, 0, torch.device("cpu"))
    assert found["score"] == (found["clean"] + found["perturbed"]) / 2


def half_width(model):
    return next(m.estimator.width for m in model.layers if isinstance(m, LifLayer))


def test_an_image_counts_as_robust_only_if_pgd_fails_with_every_width(monkeypatch):
    """A stand-in for the attack: each half-width fools one image, each attack is noted."""
    tried = []

    def correct(model, images, device, attack=None, generator=None):
        right = np.ones(len(images), np.bool_)
        if attack is not None:
            tried.append((half_width(model), attack))
            right[len(tried) - 1] = False
        return right

    monkeypatch.setattr(steps, "correct", correct)
    recipe = Recipe(
        name="t",
        network={"architecture": "mlp", "hidden": (8,)},
        perturbation={"mode": "fgsm", "strength": 6},
        selection={"pgd_steps": 3, "surrogate_widths": (0.25, 0.5, 2.0)},
    )
    images = ImageSet(np.zeros((6, 1, 28, 28), np.uint8), np.zeros(6, np.int64))
    model = SpikingNetwork(recipe.build_network())
    found = held_out_figures(model, images, recipe, 0, torch.device("cpu"))
    assert found == {"clean": 1.0, "perturbed": 0.5, "score": 0.75}
    assert [w for w, _ in tried] == [0.25, 0.5, 2.0]
    assert all(attack == PGD(6, steps=3) for _, attack in tried)


class _NotesWidth:
    """An attack that changes nothing and notes the half-width it is given."""

    def __init__(self):
        self.widths = []

    def perturb(self, model, x, y, generator):
        self.widths.append(half_width(model))
        return x


def test_training_attacks_draw_from_the_widths_of_the_recipe_and_the_loss_keeps_its_own():
    recipe = Recipe(
        name="t",
        network={"architecture": "mlp", "hidden": (8,)},
        perturbation={"mode": "pgd", "surrogate_widths": (0.25, 2.0)},
    )
    model, attack = SpikingNetwork(recipe.build_network()), _NotesWidth()
    x, y, generator = torch.rand(2, 1, 28, 28), torch.tensor([0, 1]), seeded(0, 0, 2)
    for _ in range(20):
        training_loss(model, x, y, recipe, attack, generator)
        assert half_width(model) == 1.0
    assert set(attack.widths) == {0.25, 2.0}


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("with_gain", [True, False])
def test_the_settings_of_the_objective_reach_the_mppd_loss(monkeypatch, detach, with_gain):
    calls = []

    def note(clean, perturbed, leak, gain, *, detach_clean):
        calls.append((clean, perturbed, leak, gain, detach_clean))
        return perturbed.sum()

    monkeypatch.setattr(steps, "ms_mppd_loss", note)
    recipe = Recipe(
        name="t",
        network={"architecture": "mlp", "hidden": (8,), "neuron": "dlif", "leak": 0.5},
        perturbation={"mode": "gaussian", "strength": 64},
        objective={"rho": 1.0, "detach_clean": detach, "mppd_with_gain": with_gain},
    )
    model = SpikingNetwork(recipe.build_network(), "positive")
    x, y = torch.rand(3, 1, 28, 28), torch.tensor([0, 1, 2])
    attack = recipe.perturbation.attack()
    training_loss(model, x, y, recipe, attack, seeded(0, 0, 0))
    ((clean, perturbed, leak, gain, detached),) = calls
    assert (leak, detached) == (0.5, detach)
    assert (gain is not None) == with_gain
    assert clean.shape == perturbed.shape == (4, 3, 8)
    torch.testing.assert_close(clean, model.last_current(x).current)
    assert not torch.equal(clean, perturbed)


def test_the_learning_rate_falls_as_a_cosine_from_its_value_to_zero(
    tmp_path, data_dir, monkeypatch
):
    made, rates, told = [], [], []

    def keep(model, config):
        made.append(make_optimiser(model, config))
        return made[-1]

    monkeypatch.setattr(loop, "make_optimiser", keep)

    def note(tick):
        if not tick.epoch_done:
            rates.append(made[0].param_groups[0]["lr"])
            told.append(tick.message.partition(", loss")[0])

    train(write_recipe(tmp_path), tmp_path / "out", data_dir=data_dir, progress=note)
    count = 12  # 3 epochs of 100 images in batches of 32
    expected = [1e-2 * 0.5 * (1 + math.cos(math.pi * k / count)) for k in range(count)]
    assert rates == pytest.approx(expected)
    assert told[5] == "epoch 2 of 3, step 2 of 4"


def test_the_checkpoint_is_the_best_epoch_and_the_first_of_equals(tmp_path, data_dir, monkeypatch):
    scores, seen = [0.1, 0.9, 0.9, 0.3], []

    def judge(model, held_out, recipe, epoch, device):
        seen.append(model.export())
        return {"clean": scores[epoch], "score": scores[epoch]}

    monkeypatch.setattr(loop, "held_out_figures", judge)
    path = train(write_recipe(tmp_path, epochs="4"), tmp_path / "out", data_dir=data_dir)
    found = load_checkpoint(path)
    assert found.training.document["selected_epoch"] == 2
    weights = [next(n.weight for n in net.nodes if n.name == "fc1") for net in seen]
    kept = next(n.weight for n in found.network.nodes if n.name == "fc1")
    assert np.array_equal(kept, weights[1])
    assert not any(np.array_equal(kept, weights[k]) for k in (0, 2, 3))


@pytest.mark.parametrize(
    "wrong",
    [
        "[network]\nhidden = [-5]",
        "[network]\nhidden = [0]",
        "[network]\nchannels = [0]",
        "[optimiser]\nlearning_rate = inf",
        "[objective]\nrho = nan",
        "[perturbation]\nsurrogate_widths = [1.0, 0.0]",
        "[perturbation]\nsurrogate_widths = [-1.0]",
        "[selection]\nsurrogate_widths = [0.0]",
        "[selection]\nsurrogate_widths = []",
    ],
)
def test_numbers_without_a_meaning_are_refused_by_their_key(tmp_path, wrong):
    path = tmp_path / "r.toml"
    path.write_text(f'name = "x"\n{wrong}\n')
    section, key = wrong.split(" =")[0].strip("[").split("]\n")
    with pytest.raises(InputError, match=rf"{section}\.{key}"):
        load_recipe(path)


@pytest.mark.parametrize("name", ["gpu", "cuda:0", "mps", "vulkan", ""])
@pytest.mark.parametrize("usable", [True, False])
def test_a_device_that_is_none_is_refused_with_what_this_machine_has(
    tmp_path, monkeypatch, name, usable
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    with pytest.raises(InputError, match="cpu or cuda") as caught:  # before images are looked for
        train(write_recipe(tmp_path), tmp_path / "out", data_dir=tmp_path / "none", device=name)
    use, has = ("cuda", "has a GPU") if usable else ("cpu", "has no usable GPU")
    assert f"Use --device {use}" in str(caught.value) and has in str(caught.value)


def test_a_run_is_not_continued_on_another_kind_of_device(tmp_path, data_dir, monkeypatch):
    recipe = write_recipe(tmp_path)
    save = loop.save_state
    monkeypatch.setattr(loop, "save_state", lambda *args: save(*args[:-1], "cuda"))
    train(recipe, tmp_path / "out", data_dir=data_dir)
    with pytest.raises(InputError, match="was begun on cuda, this is cpu"):
        train(recipe, tmp_path / "out", data_dir=data_dir)
    monkeypatch.undo()
    assert train(recipe, tmp_path / "out", data_dir=data_dir, resume=False).exists()
