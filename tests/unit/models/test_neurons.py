"""Hand-computed trajectories, and the fast sequence against the plain steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikeproof.attacks.estimators import Estimator
from spikeproof.engines.floats import run_lif
from spikeproof.errors import InputError
from spikeproof.ir.floats import Lif
from spikeproof_models.neuron_choices import DEFAULT_LEAK, snap_leak
from spikeproof_models.neurons import (
    LifLayer,
    fire,
    lif_sequence,
    lif_step,
    reset,
)


def steps_over(current, timesteps, gain=None, **options):
    """Run the plain step functions over time."""
    v_after, spikes, potentials = torch.zeros_like(current[0]), [], []
    for t in range(timesteps):
        drive = current[t if len(current) > 1 else 0]
        out = lif_step(drive, v_after, gain=None if gain is None else gain[t], **options)
        v_after = out.v_after
        spikes.append(out.s)
        potentials.append(out.v)
    return torch.stack(spikes), torch.stack(potentials)


def test_a_lif_follows_the_trajectory_computed_by_hand():
    # leak 1/2, threshold 1: v = .75, .375+.75=1.125 (spike, reset), .75, 1.125 (spike)
    current = torch.full((4, 1), 0.75)
    s, v = lif_sequence(current, 4, leak=0.5)
    assert v.flatten().tolist() == [0.75, 1.125, 0.75, 1.125]
    assert s.flatten().tolist() == [0, 1, 0, 1]


def test_a_dlif_multiplies_the_input_by_its_gain_of_the_step():
    # v = 1*.5, .25+2*.5=1.25 (spike), 0+.5*.5=.25, .125+1*.5=.625
    gain = torch.tensor([1.0, 2.0, 0.5, 1.0])
    s, v = lif_sequence(torch.full((4, 1), 0.5), 4, leak=0.5, gain=gain)
    assert v.flatten().tolist() == [0.5, 1.25, 0.25, 0.625]
    assert s.flatten().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(("strict", "spikes"), [(True, 0.0), (False, 1.0)])
def test_a_state_on_the_threshold_fires_only_when_not_strict(strict, spikes):
    assert fire(torch.tensor(1.0), 1.0, strict).item() == spikes
    s, _ = lif_sequence(torch.ones(1, 1), 1, strict=strict)
    assert s.item() == spikes


def test_the_surrogate_is_a_triangle_of_unit_area():
    v = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0], requires_grad=True)
    (slope,) = torch.autograd.grad(fire(v, 1.0, estimator=Estimator(2.0)).sum(), v)
    assert slope.tolist() == [0.125, 0.25, 0.375, 0.5, 0.375, 0.25, 0.0]


def test_the_reset_is_not_detached():
    v, s = torch.tensor(3.0, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    grad_v, grad_s = torch.autograd.grad(reset(v, s), (v, s))
    assert (grad_v.item(), grad_s.item()) == (0.0, -3.0)


def test_a_detached_reset_takes_the_spike_for_a_constant_and_resets_all_the_same():
    v, s = torch.tensor(3.0, requires_grad=True), torch.tensor(0.0, requires_grad=True)
    after = reset(v, s, detach_reset=True)
    (grad_v, grad_s) = torch.autograd.grad(after, (v, s), allow_unused=True)
    assert (after.item(), grad_v.item(), grad_s) == (3.0, 1.0, None)
    assert reset(v, torch.tensor(1.0), detach_reset=True).item() == 0.0


def test_detaching_the_reset_changes_the_gradient_of_a_sequence_as_computed_by_hand():
    # leak 1, v1 = x (no spike for x = .75), v2 = 2x = 1.5 (spike); width 1, so the slopes are
    # .75 and .5. Loss s2: ds2/dx = .5 dv2/dx, dv2/dx = 1 + (1 - s1) - v1 ds1/dx.
    current = torch.full((1, 1), 0.75, requires_grad=True)
    found = [
        torch.autograd.grad(
            lif_sequence(current, 2, leak=1.0, estimator=Estimator(1.0, r))[0][1].sum(), current
        )
        for r in ("attached", "detached")
    ]
    assert [g.item() for (g,) in found] == [0.5 * (2 - 0.75 * 0.75), 0.5 * 2]


@pytest.mark.parametrize("how", ["attached", "detached"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("with_gain", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_the_fast_sequence_equals_the_steps_in_values_and_gradients(shared, with_gain, strict, how):
    rng = torch.Generator().manual_seed(3)
    steps = 6
    current = torch.randn((1 if shared else steps, 3, 4), generator=rng, dtype=torch.float64)
    current = (current + 0.4).requires_grad_()
    gain = torch.rand(steps, generator=rng, dtype=torch.float64) + 0.5 if with_gain else None
    inputs = [current] if gain is None else [current, gain.requires_grad_()]
    options = {"gain": gain, "strict": strict, "leak": 0.8, "estimator": Estimator(1.3, how)}
    s, v = lif_sequence(current, steps, **options)
    s_plain, v_plain = steps_over(current, steps, **options)
    assert torch.equal(s, s_plain)
    assert torch.equal(v, v_plain)
    weight = torch.randn(s.shape, generator=rng, dtype=torch.float64)
    fast = torch.autograd.grad((s * weight).sum(), inputs)
    plain = torch.autograd.grad((s_plain * weight).sum(), inputs)
    for a, b in zip(fast, plain, strict=True):
        assert torch.allclose(a, b, atol=1e-12, rtol=0)


def test_a_positive_gain_starts_at_exactly_one_and_stays_positive():
    node = Lif("l", DEFAULT_LEAK, 1.0, gain=torch.ones(4).numpy())
    layer = LifLayer(node, 4, "positive")
    assert torch.equal(layer.gain(), torch.ones(4))
    with torch.no_grad():
        layer.raw_gain.fill_(-20.0)
    assert bool((layer.gain() > 0).all())


def test_a_free_gain_is_the_parameter_itself_and_may_be_negative():
    layer = LifLayer(Lif("l", DEFAULT_LEAK, 1.0, gain=torch.ones(2).numpy()), 2, "free")
    with torch.no_grad():
        layer.raw_gain.fill_(-1.0)
    assert layer.gain().tolist() == [-1.0, -1.0]


def test_the_default_leak_is_on_the_chips_grid():
    assert DEFAULT_LEAK * 4096 == 4055
    assert snap_leak(0.99) == DEFAULT_LEAK
    with pytest.raises(InputError, match=r"leak is 1\.5"):
        snap_leak(1.5)


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="current has 3 steps, expected 1 or 4"):
        lif_sequence(torch.zeros(3, 1), 4)
    with pytest.raises(InputError, match="gain has shape"):
        lif_sequence(torch.zeros(4, 1), 4, gain=torch.ones(3))


GENERAL = {
    "soft reset": {"reset": 0.75},
    "no reset": {"reset": 0.0},
    "first state": {"initial": np.array([0.5, -0.25, 0.0])},
    "own numbers": {
        "leak": np.array([0.5, 0.25, 1.0]),
        "threshold": np.array([0.5, 1.0, 2.0]),
        "reset": np.array([0.25, 1.0, 3.0]),
    },
    "own gains": {"gain": np.array([[1.0, 0.5, 2.0], [0.5, 0.5, 1.0], [2.0, 1.0, 0.25]])},
}


@pytest.mark.parametrize("kind", GENERAL)
@pytest.mark.parametrize("strict", [True, False])
def test_a_module_does_what_the_float_network_says_of_neurons_that_are_not_alike(kind, strict):
    node = Lif("l", **{"leak": 0.5, "threshold": 1.0, "strict": strict, **GENERAL[kind]})
    current = np.random.default_rng(3).integers(-4, 9, (20, 3, 3)) / 4  # ties are common
    expected = run_lif(node, current, 3)
    s, v = LifLayer(node, 3)(torch.from_numpy(current).transpose(0, 1))
    assert (v.transpose(0, 1).detach().numpy() == expected.v).all()
    assert (s.transpose(0, 1).detach().numpy() == expected.s).all()
    assert 0 < expected.s.mean() < 1


@pytest.mark.parametrize(("how", "slope"), [("attached", 0.0), ("detached", 0.5)])
def test_a_soft_reset_passes_gradients_through_v_and_through_the_spike_unless_detached(how, slope):
    # dv2/dx = leak (1 - amount ds/dv); at the threshold the triangle's slope is 1
    layer = LifLayer(Lif("l", 0.5, 1.0, False, reset=1.0), 2)
    layer.estimator = Estimator(reset=how)
    current = torch.tensor([[1.0], [0.0]], requires_grad=True)
    s, v = layer(current)
    assert v.flatten().tolist() == [1.0, 0.0]
    (grad,) = torch.autograd.grad(s[1].sum(), current)
    far = 1 - abs(0.0 - 1.0)  # the slope at the second step's v
    assert grad[0].item() == pytest.approx(slope * far)
