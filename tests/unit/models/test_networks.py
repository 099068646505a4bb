"""The torch module against the NumPy executor, and its way back to the float dialect."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from residual import images as residual_images
from residual import residual

from spikeproof.convert.fold import fold
from spikeproof.describe.trained import checkpoint_rows
from spikeproof.engines.floats import run_float
from spikeproof.errors import GraphError, InputError
from spikeproof.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spikeproof.ir import floats
from spikeproof.ir.check_float import check_float
from spikeproof.ir.serial import network_to_parts
from spikeproof_models.builders import NeuronSpec, mlp, small_conv, vgg, wrn
from spikeproof_models.networks import build_module, surrogate_width
from spikeproof_models.neurons import LifLayer


def random_network(seed):
    """Draw a small network that uses every kind of node."""
    rng = np.random.default_rng(seed)
    channels, steps = int(rng.integers(1, 3)), int(rng.integers(1, 6))
    size = int(rng.integers(7, 10))

    def lif(name):
        gain = rng.uniform(0.5, 2, steps) if rng.random() < 0.5 else None
        leak, strict = float(rng.integers(0, 4097)) / 4096, bool(rng.random() < 0.5)
        return floats.Lif(name, leak, float(rng.uniform(0.3, 1.2)), strict, gain)

    groups = channels if rng.random() < 0.5 else 1
    kernel = rng.normal(0, 0.6, (4, channels // groups, 3, 3))
    first = floats.Conv2d("c1", kernel, rng.normal(0, 0.2, 4), padding=(1, 1), groups=groups)
    nodes = [
        floats.InputScale("scale", rng.uniform(0, 0.5, channels), rng.uniform(0.3, 1, channels)),
        first,
        floats.BatchNorm2d(
            "bn",
            rng.uniform(0.5, 1.5, 4),
            rng.normal(0, 0.3, 4),
            rng.normal(0, 0.3, 4),
            rng.uniform(0.5, 2, 4),
        ),
        lif("l1"),
        floats.AvgPool2d("pool", (2, 2), (2, 2)),
    ]
    half = size // 2
    bias = rng.normal(0, 0.2, (3, half, half)) if rng.random() < 0.5 else None
    nodes += [
        floats.Conv2d("c2", rng.normal(0, 0.5, (3, 4, 3, 3)), bias, padding=(1, 1)),
        lif("l2"),
    ]
    nodes += [floats.Flatten("flat")] if rng.random() < 0.5 else []
    nodes += [
        floats.Linear("f1", rng.normal(0, 0.4, (6, 3 * half * half)), rng.normal(0, 0.1, 6)),
        lif("l3"),
        floats.Linear("f2", rng.normal(0, 1, (4, 6)), None),
        floats.Readout("out"),
    ]
    network = floats.FloatNetwork("random", (channels, size, size), steps, tuple(nodes))
    check_float(network)
    return network, rng.integers(0, 256, (5, channels, size, size)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(25))
def test_the_module_computes_what_the_numpy_executor_computes(seed):
    network, x = random_network(seed)
    expected = run_float(network, x, trace=True)
    module = build_module(network, dtype=torch.float64)
    with torch.no_grad():
        logits, records = module.record(torch.from_numpy(x / 255))
    np.testing.assert_allclose(logits.numpy(), expected.logits, atol=1e-12)
    for name, trace in expected.traces.items():
        current = records[name].current.movedim(0, 1).numpy()
        np.testing.assert_allclose(current, trace.current, atol=1e-12, err_msg=name)
        if trace.s is not None:
            assert np.array_equal(records[name].s.movedim(0, 1).numpy(), trace.s), name
            np.testing.assert_allclose(records[name].v.movedim(0, 1).numpy(), trace.v, atol=1e-12)


@pytest.mark.parametrize("kind", ["lif", "dlif"])
def test_export_returns_the_arrays_it_was_built_from(kind):
    network = small_conv(channels=(3, 4), hidden=(8,), neuron=NeuronSpec(kind))
    back = build_module(network).export()
    for old, new in zip(network.nodes, back.nodes, strict=True):
        assert type(old) is type(new)
        for key, value in vars(old).items():
            assert np.array_equal(value, getattr(new, key)), f"{old.name}.{key}"


def test_a_stored_gain_survives_exactly():
    gain = np.array([0.7, 1.1, 1.3, 0.2], np.float32)
    network = mlp(hidden=(4,), neuron=NeuronSpec("dlif"))
    nodes = tuple(
        dataclasses.replace(n, gain=gain) if isinstance(n, floats.Lif) else n for n in network.nodes
    )
    back = build_module(dataclasses.replace(network, nodes=nodes)).export()
    assert next(n for n in back.nodes if isinstance(n, floats.Lif)).gain.tolist() == gain.tolist()


def test_the_first_layers_run_once_per_image():
    module = build_module(small_conv(channels=(2, 2), hidden=(4,)))
    sizes = []
    module.layers[0].register_forward_hook(lambda *a: sizes.append(len(a[2])))
    module.layers[3].register_forward_hook(lambda *a: sizes.append(len(a[2])))
    module(torch.rand(5, 1, 28, 28))
    assert sizes == [5, 20]


def test_last_current_is_what_the_last_spiking_layer_receives_at_every_step():
    module = build_module(mlp(hidden=(6, 5), neuron=NeuronSpec("dlif", timesteps=3)))
    result = module.last_current(torch.rand(2, 1, 28, 28))
    assert result.current.shape == (3, 2, 5)
    assert result.gain.shape == (3,)


def test_a_network_without_neurons_has_no_last_current():
    network = mlp(hidden=())
    with pytest.raises(GraphError, match="no spiking layer"):
        build_module(network).last_current(torch.rand(1, 1, 28, 28))


def test_the_zoo_architecture_has_the_expected_shapes():
    network = small_conv()
    weights = {n.name: n.weight.shape for n in network.nodes if hasattr(n, "weight")}
    assert weights == {
        "conv1": (24, 1, 3, 3),
        "conv2": (48, 24, 3, 3),
        "fc3": (128, 48 * 49),
        "fc": (10, 128),
    }
    assert [n.name for n in network.nodes if isinstance(n, floats.Lif | floats.Readout)] == [
        "l1",
        "l2",
        "l3",
        "out",
    ]


@pytest.mark.parametrize(("depth", "spiking"), [(5, 5), (11, 10)])
def test_the_vggs_have_the_papers_layers(depth, spiking):
    network = vgg(depth, width_divisor=64)
    assert sum(isinstance(n, floats.Lif) for n in network.nodes) == spiking
    logits = build_module(network)(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 10)


def test_width_divisor_scales_every_layer_but_the_readout():
    network = vgg(5, width_divisor=4)
    weights = [n.weight for n in network.nodes if hasattr(n, "weight")]
    assert [w.shape[0] for w in weights] == [16, 32, 32, 1024, 1024, 10]


def test_an_unknown_depth_is_refused():
    with pytest.raises(InputError, match="no VGG-7; known: 5, 11"):
        vgg(7)


def test_equal_seeds_give_equal_networks():
    a, b, c = (build_module(mlp(hidden=(4,), seed=s)).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_another_surrogate_width_changes_the_gradient_and_nothing_else():
    model = build_module(mlp(hidden=(16,)))
    x = torch.rand(4, 1, 28, 28, requires_grad=True)
    logits, gradients = [], []
    for width in (1.0, 0.5):
        with surrogate_width(model, width):
            out = model(x)
            logits.append(out)
            gradients.append(torch.autograd.grad(out.square().sum(), x)[0])
    assert torch.equal(*logits)
    assert not torch.equal(*gradients)
    assert next(m.estimator.width for m in model.layers if isinstance(m, LifLayer)) == 1.0


def test_the_wide_resnet_has_the_papers_layers():
    network = wrn(16)
    convs = {n.name: n.weight.shape for n in network.nodes if isinstance(n, floats.Conv2d)}
    assert convs["conv0"] == (16, 3, 3, 3)
    wide = [(64, 16), (64, 64), (64, 64), (64, 64), (128, 64), *[(128, 128)] * 3]
    wide += [(256, 128), *[(256, 256)] * 3]
    assert [convs[f"conv{n}"] for n in range(1, 13)] == [(*pair, 3, 3) for pair in wide]
    shortcuts = {name: shape for name, shape in convs.items() if name.startswith("short")}
    assert shortcuts == {
        "shortcut1": (64, 16, 1, 1),
        "shortcut5": (128, 64, 1, 1),
        "shortcut9": (256, 128, 1, 1),
    }
    assert sum(isinstance(n, floats.Lif) for n in network.nodes) == 13
    mixed = {(e.source, e.target) for e in network.edges if e.coefficient == 0.5}
    assert {("shortcut1", "add2"), ("conv2", "add2"), ("add2", "add4")} < mixed
    assert len(mixed) == 12 == sum(e.coefficient != 1 for e in network.edges)
    assert [n.kernel for n in network.nodes if isinstance(n, floats.AvgPool2d)] == [(8, 8)]


def test_narrow_wide_resnets_keep_their_shortcuts_where_the_image_shrinks():
    network = wrn(10, width_divisor=64, widen=1, input_shape=(1, 12, 12), classes=3)
    names = [n.name for n in network.nodes if n.name.startswith("shortcut")]
    assert names == ["shortcut3", "shortcut5"]
    assert build_module(network)(torch.rand(2, 1, 12, 12)).shape == (2, 3)


def test_coefficients_of_a_wide_resnet_are_trained_and_exported():
    network = wrn(10, width_divisor=8, input_shape=(1, 8, 8), neuron=NeuronSpec(timesteps=2))
    module = build_module(network).train()
    module(torch.rand(4, 1, 8, 8)).square().sum().backward()
    assert len(module.coefficients) == 6
    assert all(p.grad is not None and p.grad.abs() > 0 for p in module.coefficients.values())
    with torch.no_grad():
        next(iter(module.coefficients.values())).fill_(0.25)
    assert sorted(e.coefficient for e in module.export().edges if e.coefficient != 1)[0] == 0.25


def test_a_coefficient_that_training_leaves_at_one_is_still_trained(tmp_path):
    """It is in the module, in what is exported, in the file, and in the module made of the file."""
    network = wrn(10, width_divisor=8, input_shape=(1, 8, 8), neuron=NeuronSpec(timesteps=2))
    module = build_module(network)
    with torch.no_grad():
        next(iter(module.coefficients.values())).fill_(1)
    exported = module.export()
    assert [e.trained for e in exported.edges if e.coefficient == 1 and e.trained] == [True]
    path = tmp_path / "n.ckpt"
    save_checkpoint(path, Checkpoint(exported))
    loaded = load_checkpoint(path).network
    again = build_module(loaded).train()
    assert set(again.coefficients) == set(module.coefficients)
    again(torch.rand(4, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs() > 0 for p in again.coefficients.values())
    assert again.export().edges == exported.edges
    declared = next(e for e in exported.edges if e.trained)
    told = next(r for r in checkpoint_rows(load_checkpoint(path)) if r.layer == declared.target)
    assert f"1 {declared.source}" in told.details
    before = [dataclasses.replace(e, trained=False) for e in exported.edges]
    assert len(build_module(dataclasses.replace(network, edges=tuple(before))).coefficients) == 5


def test_edges_whose_coefficients_say_all_are_written_as_before():
    document, _ = network_to_parts(build_module(residual()).export())
    assert all("trained" not in edge for edge in document["edges"])


def test_a_depth_that_is_none_is_refused():
    with pytest.raises(InputError, match="no WRN-17; a depth is 10, 16, 22"):
        wrn(17)


@pytest.mark.parametrize("back", [False, True], ids=["skips", "a cycle"])
def test_a_graph_gives_what_the_float_engine_gives(back: bool) -> None:
    network, x = residual(back=back), residual_images(5)
    late = floats.Edge("a1", "add2", 1, 0.8)  # a lag that no cycle runs over
    network = dataclasses.replace(network, edges=(*network.edges, late))
    module = build_module(network, dtype=torch.float64)
    logits, records = module.record(torch.from_numpy(x / 255.0))
    expected = run_float(network, x, trace=True)
    np.testing.assert_allclose(logits.detach().numpy(), expected.logits, atol=1e-12)
    assert set(records) == set(expected.traces), "the OR pool is one of them"
    for name, found in records.items():
        trace = expected.traces[name]
        current = found.current.detach().numpy().swapaxes(0, 1)
        np.testing.assert_allclose(current, trace.current, atol=1e-12)
        if found.s is not None:
            np.testing.assert_array_equal(found.s.detach().numpy().swapaxes(0, 1), trace.s)
    logits.square().sum().backward()
    grads = [p.grad for p in module.coefficients.parameters()]
    assert len(grads) == 6 + back
    assert all(grad is not None and grad.abs() > 0 for grad in grads)
    kept = [edge.coefficient for edge in module.export().edges]
    assert kept == [edge.coefficient for edge in network.edges]


def test_a_batch_norm_behind_a_linear_layer_is_one_of_each_number():
    """As torch's BatchNorm1d: the float engine, the module, and what is folded agree."""
    rng = np.random.default_rng(2)
    numbers = {key: rng.uniform(0.5, 1.5, 6) for key in ("gamma", "beta", "mean", "var")}
    nodes = (
        floats.Linear("fc1", rng.normal(size=(6, 16)), rng.normal(size=6)),
        floats.BatchNorm2d("bn", **numbers),
        floats.Lif("l1", 0.9, 0.5),
        floats.Linear("fc2", rng.normal(size=(3, 6)), None),
        floats.Readout("out"),
    )
    network = floats.FloatNetwork("n", (1, 4, 4), 4, nodes)
    x = rng.uniform(size=(5, 1, 4, 4))
    found = run_float(network, x, trace=True)
    hidden = x.reshape(5, -1) @ nodes[0].weight.T + nodes[0].bias
    scaled = (hidden - numbers["mean"]) / np.sqrt(numbers["var"] + 1e-5) * numbers["gamma"]
    expected = np.broadcast_to((scaled + numbers["beta"])[:, None], (5, 4, 6))
    np.testing.assert_allclose(found.traces["l1"].current, expected)
    np.testing.assert_allclose(run_float(fold(network), x).logits, found.logits)
    module = build_module(network, dtype=torch.float64)
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), found.logits)
    np.testing.assert_allclose(module.export().nodes[1].gamma, numbers["gamma"], rtol=1e-6)
    module.train()(torch.from_numpy(x)).sum().backward()
    assert module.layers[1].weight.grad.shape == (6,)
    misfit = floats.BatchNorm2d("bn", **{**numbers, "gamma": np.ones(2)})
    with pytest.raises(GraphError, match=r"bn: gamma has shape \(2,\), expected \(6,\)"):
        check_float(dataclasses.replace(network, nodes=(nodes[0], misfit, *nodes[2:])))
