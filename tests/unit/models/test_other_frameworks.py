"""The neurons of other frameworks as docs/howto.md writes them, against the frameworks themselves.

snnTorch and SpikingJelly are optional: without one its rows
are skipped. States are float64 and must agree to rounding, spikes exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spikeproof.engines.floats import run_lif
from spikeproof.ir import floats

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "howto.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (\w+ `.*`) \| `(leak=.*)` \|$", PAGE, re.MULTILINE))
T, BETA, TAU, THRESHOLD = 24, 0.75, 4.0, 0.875
Spikes = NDArray[np.uint8]


def snntorch(**options: Any) -> Callable[[Any], Any]:
    library = pytest.importorskip("snntorch", reason="snnTorch is not installed")
    cell = library.Leaky(beta=BETA, threshold=THRESHOLD, **options)
    mem = cell.init_leaky()

    def step(x: Any) -> Any:
        nonlocal mem
        spike, mem = cell(x, mem)
        return spike

    return step


def spikingjelly(kind: str, **options: Any) -> Callable[[Any], Any]:
    neuron = pytest.importorskip(
        "spikingjelly.activation_based.neuron", reason="SpikingJelly is not installed"
    )
    cell = getattr(neuron, kind)(v_threshold=THRESHOLD, **options)
    return lambda x: cell(x)


def norse() -> Callable[[Any], Any]:
    library = pytest.importorskip("norse.torch", reason="Norse is not installed")
    p = library.LIFBoxParameters(
        tau_mem_inv=torch.tensor(250.0, dtype=torch.float64),
        v_leak=torch.tensor(0.0, dtype=torch.float64),
        v_th=torch.tensor(THRESHOLD, dtype=torch.float64),
        v_reset=torch.tensor(0.0, dtype=torch.float64),
    )
    cell, state = library.LIFBoxCell(p, dt=0.001), None

    def step(x: Any) -> Any:
        nonlocal state
        spike, state = cell(x, state)
        return spike

    return step


FRAMEWORKS: dict[str, Callable[[], Callable[[Any], Any]]] = {
    "snnTorch `Leaky(beta, threshold)`": snntorch,
    'snnTorch `Leaky(..., reset_mechanism="zero")`': lambda: snntorch(reset_mechanism="zero"),
    'snnTorch `Leaky(..., reset_mechanism="none")`': lambda: snntorch(reset_mechanism="none"),
    "SpikingJelly `IFNode(v_threshold, v_reset=None)`": lambda: spikingjelly(
        "IFNode", v_reset=None
    ),
    "SpikingJelly `LIFNode(tau, v_threshold=v_threshold)`": lambda: spikingjelly(
        "LIFNode", tau=TAU
    ),
    "SpikingJelly `LIFNode(tau, decay_input=False, v_threshold=v_threshold, v_reset=None)`": (
        lambda: spikingjelly("LIFNode", tau=TAU, decay_input=False, v_reset=None)
    ),
    "Norse `LIFBoxCell(p, dt)`": norse,
}


def test_every_row_of_the_page_is_tested() -> None:
    assert set(ROWS) == set(FRAMEWORKS)


@pytest.mark.filterwarnings("ignore")  # those of the frameworks
@pytest.mark.parametrize("row", ROWS)
def test_a_neuron_written_as_the_page_says_fires_when_the_frameworks_own_does(row: str) -> None:
    step = FRAMEWORKS[row]()
    node = _node(row)
    gain = 1.0 if node.gain is None else float(node.gain[0])
    current = np.random.default_rng(2).normal(0.35, 0.6, (50, T, 6)) / gain
    with torch.no_grad():
        fired = [step(torch.from_numpy(current[:, t])).numpy() for t in range(T)]
    expected: Spikes = np.stack(fired, axis=1).astype(np.uint8)
    found = run_lif(node, current, T).s
    assert found is not None and np.array_equal(found, expected)
    assert 0.1 < expected.mean() < 0.9


@pytest.mark.filterwarnings("ignore")
def test_snntorchs_undelayed_subtraction_is_no_such_neuron() -> None:
    """As the page says: a membrane that stays above the threshold is where they part."""
    step = snntorch(reset_delay=False)
    node = floats.Lif("l", BETA, THRESHOLD, reset=THRESHOLD)
    current = np.array([4.0, 0.0]).reshape(1, 2, 1)
    with torch.no_grad():
        fired = [step(torch.from_numpy(current[:, t])).item() for t in range(2)]
    found = run_lif(node, current, 2)
    assert found.s is not None and found.s.ravel().tolist() == fired == [1, 1]
    with torch.no_grad():
        third = step(torch.zeros(1, 1, dtype=torch.float64)).item()
    longer = run_lif(node, np.append(current, [[[0.0]]], axis=1), 3)
    assert longer.s is not None and longer.s[0, 2, 0] == 1 and third == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", ROWS)
def test_a_membrane_on_the_threshold_does_what_the_framework_does(row: str) -> None:
    step, node = FRAMEWORKS[row](), _node(row)
    gain = 1.0 if node.gain is None else float(node.gain[0])
    tie = np.full((1, 1, 1), THRESHOLD / gain)
    if gain * tie[0, 0, 0] != node.threshold:
        pytest.skip("this product is rounded")
    with torch.no_grad():
        expected = step(torch.from_numpy(tie[:, 0])).numpy()
    assert run_lif(node, tie, 1).s.ravel().tolist() == expected.ravel().tolist()


def _node(row: str) -> floats.Lif:
    class P:
        tau_mem_inv, v_th = 250.0, THRESHOLD

    names = {
        "np": np,
        "T": T,
        "beta": BETA,
        "tau": TAU,
        "threshold": THRESHOLD,
        "v_threshold": THRESHOLD,
        "dt": 0.001,
        "p": P,
    }
    found = eval(f"Lif('l', {ROWS[row]})", {"Lif": floats.Lif, **names})
    assert isinstance(found, floats.Lif)
    return found
