"""The robust LIF and DLIF step in norse's conventions: input, state, parameters in; spikes out.

Use :class:`RobustLIFCell` wherever a norse cell fits (inside ``norse.torch.SequentialState``, or
``Lift`` around one), and :class:`RobustLIF` where norse has a module that loops over time.
The numbers equal those of :mod:`spikeproof_models.neurons` bit for bit. norse's own LIF differs:
it scales the input by dt / tau_mem and filters it with a synaptic time constant.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikeproof.attacks.estimators import Estimator
from spikeproof_models.neuron_choices import DEFAULT_LEAK
from spikeproof_models.neurons import lif_step

with warnings.catch_warnings():
    # norse compiles functions when it is imported, in a way newer torch versions complain about.
    warnings.simplefilter("ignore")
    from norse.torch.module.snn import SNN, SNNCell


class RobustLIFParameters(NamedTuple):
    """Parameters of the neuron: norse's names where norse has the quantity.

    ``gain`` is a[t] of shape (T,) for DLIF, None for LIF; ``width`` is the surrogate's half-width.
    """

    leak: float = DEFAULT_LEAK
    v_th: float = 1.0
    gain: Tensor | None = None
    strict: bool = True
    width: float = 1.0


class RobustLIFFeedForwardState(NamedTuple):
    """State between steps: v after the reset, and the step reached (DLIF looks its gain up)."""

    v: Tensor
    step: Tensor


def robust_lif_initial_state(input_tensor: Tensor) -> RobustLIFFeedForwardState:
    """Return the state at rest for an input of this shape."""
    step = torch.zeros((), dtype=torch.int64, device=input_tensor.device)
    return RobustLIFFeedForwardState(torch.zeros_like(input_tensor), step)


def robust_lif_feed_forward_step(
    input_tensor: Tensor,
    state: RobustLIFFeedForwardState | None,
    p: RobustLIFParameters | None = None,
    dt: float = 1.0,
) -> tuple[Tensor, RobustLIFFeedForwardState]:
    """Advance one timestep.

    Args:
        input_tensor: input current, (B, ...).
        state: of the step before, None for the first one.
        p: parameters, default LIF.
        dt: part of norse's convention; this neuron is defined per step and takes no notice.

    Returns:
        Spikes 0/1 and the new state.

    Raises:
        IndexError: a DLIF is run for more steps than it has gains.
    """
    p = RobustLIFParameters() if p is None else p
    state = robust_lif_initial_state(input_tensor) if state is None else state
    gain = None if p.gain is None else p.gain[int(state.step)]
    out = lif_step(
        input_tensor,
        state.v,
        leak=p.leak,
        threshold=p.v_th,
        gain=gain,
        strict=p.strict,
        estimator=Estimator(p.width),
    )
    return out.s, RobustLIFFeedForwardState(out.v_after, state.step + 1)


class RobustLIFCell(SNNCell):
    """One timestep of robust LIF or DLIF neurons, as a norse cell.

    Args:
        p: parameters; a gain given as ``torch.nn.Parameter`` is registered and trained.
        kwargs: passed on to norse's cell.
    """

    def __init__(self, p: RobustLIFParameters | None = None, **kwargs: Any) -> None:
        p = RobustLIFParameters() if p is None else p
        super().__init__(robust_lif_feed_forward_step, robust_lif_initial_state, p, **kwargs)
        self.register_parameter("gain", _trainable(p))


class RobustLIF(SNN):
    """Robust LIF or DLIF neurons over time: input (T, B, ...), spikes (T, B, ...) and state.

    Args:
        p: parameters; a gain given as ``torch.nn.Parameter`` is registered and trained.
        kwargs: passed on to norse's module (``record_states``).
    """

    def __init__(self, p: RobustLIFParameters | None = None, **kwargs: Any) -> None:
        p = RobustLIFParameters() if p is None else p
        super().__init__(
            robust_lif_feed_forward_step, lambda x: robust_lif_initial_state(x[0]), p, **kwargs
        )
        self.register_parameter("gain", _trainable(p))


def _trainable(p: RobustLIFParameters) -> torch.nn.Parameter | None:
    return p.gain if isinstance(p.gain, torch.nn.Parameter) else None
