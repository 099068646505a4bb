"""What a network needs is compared with what the chips publish."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikeproof.ir import chip
from spikeproof_lava.limits import CHIPS, chip_fit, count_synapses


def test_small_network_fits_both_chips(tiny: chip.ChipNetwork) -> None:
    rows = chip_fit(tiny)
    assert {row.chip for row in rows} == {"Loihi 1", "Loihi 2"}
    assert all(row.fits and row.warning is None and row.source for row in rows)
    needed = {row.resource: row.needed for row in rows}
    assert needed["neurons"] == 2 * 4 * 4 + 3
    assert needed["cores (at least)"] == 1
    assert needed["inputs to one neuron"] == 32


def test_what_does_not_fit_says_by_how_much(tiny: chip.ChipNetwork) -> None:
    weight = np.full((2000, 5000), 2, np.int16)
    neuron = chip.LifNeuron(1, 0, np.zeros(1, np.int32))
    layer = chip.ChipLayer("wide", chip.DenseSynapse(weight), neuron, (2000,))
    rows = chip_fit(replace(tiny, input_shape=(1, 50, 100), layers=(layer,)))
    warnings = [row.warning for row in rows if row.warning]
    assert warnings == ["Loihi 1: needs 5,000 inputs to one neuron, the chip has 4,096"]
    cores = {r.chip: r.needed for r in rows if r.resource.startswith("cores")}
    assert cores == {"Loihi 1": 77, "Loihi 2": 51}


def test_host_currents_use_no_synapses() -> None:
    host = chip.HostCurrent(chip.DenseSynapse(np.ones((2, 3), np.int16)), np.zeros(1, np.int64), 4)
    assert count_synapses(host) == 0


def test_every_limit_names_its_source() -> None:
    assert all(c.source and c.neurons_per_core * c.cores >= c.neurons * 0.9 for c in CHIPS)
