"""The norse version against ours, bit for bit, alone and inside norse's containers."""

from __future__ import annotations

import warnings

import pytest
import torch

from spikeproof_models.neurons import lif_sequence

pytest.importorskip("norse", reason="norse is an extra", exc_type=ImportError)

from spikeproof_models import norse_lif


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("with_gain", [False, True])
def test_the_cell_equals_our_sequence_bit_for_bit(strict, with_gain):
    rng = torch.Generator().manual_seed(5)
    current = (torch.randn((7, 3, 4), generator=rng) + 0.3).requires_grad_()
    gain = torch.rand(7, generator=rng) + 0.5 if with_gain else None
    cell = norse_lif.RobustLIFCell(norse_lif.RobustLIFParameters(gain=gain, strict=strict))
    state, spikes = None, []
    for step in current:
        s, state = cell(step, state)
        spikes.append(s)
    expected, v = lif_sequence(current, 7, gain=gain, strict=strict)
    found = torch.stack(spikes)
    assert torch.equal(found, expected)
    assert torch.equal(state.v, (1 - expected[-1]) * v[-1])
    weight = torch.randn(found.shape, generator=rng)
    ours, theirs = (torch.autograd.grad((s * weight).sum(), current)[0] for s in (expected, found))
    assert torch.allclose(ours, theirs, atol=1e-6)


def norse_parts():
    """Import norse's containers without the warning that importing norse gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from norse.torch import Lift, SequentialState
    return Lift, SequentialState


def test_the_cell_works_inside_norses_containers():
    lift, sequential = norse_parts()
    linear = torch.nn.Linear(4, 3)
    x = torch.rand(5, 2, 4, generator=torch.Generator().manual_seed(0)) * 3
    expected, _ = lif_sequence(torch.stack([linear(step) for step in x]), 5)
    over_time, _ = lift(sequential(linear, norse_lif.RobustLIFCell()))(x)
    assert torch.equal(over_time, expected)
    module, state = sequential(lift(linear), norse_lif.RobustLIF())(x)
    assert torch.equal(module, expected)
    assert state[1].v.shape == (2, 3)


def test_the_module_over_time_can_record_every_state():
    x = torch.rand(4, 2, 3)
    _, states = norse_lif.RobustLIF(record_states=True)(x)
    assert states.v.shape == (4, 2, 3)
    assert states.step.tolist() == [1, 2, 3, 4]


def test_a_trainable_gain_is_a_parameter_of_the_cell():
    gain = torch.nn.Parameter(torch.ones(2))
    cell = norse_lif.RobustLIFCell(norse_lif.RobustLIFParameters(gain=gain))
    assert [id(p) for p in cell.parameters()] == [id(gain)]
    _, state = cell(torch.full((1, 1), 0.9))
    cell(torch.full((1, 1), 0.9), state)[0].sum().backward()
    assert bool((gain.grad != 0).all())


def test_a_step_beyond_the_gains_is_an_error():
    cell = norse_lif.RobustLIFCell(norse_lif.RobustLIFParameters(gain=torch.ones(1)))
    _, state = cell(torch.zeros(1))
    with pytest.raises(IndexError):
        cell(torch.zeros(1), state)
