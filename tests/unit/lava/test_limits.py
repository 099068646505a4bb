"""What a network needs is compared with what the chips publish."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spikeproof.ir import chip
from spikeproof_lava.limits import CHIPS, chip_fit, count_weights


def test_small_network_fits_both_chips(tiny: chip.ChipNetwork) -> None:
    rows = chip_fit(tiny)
    assert {row.chip for row in rows} == {"Loihi 1", "Loihi 2"}
    assert all(row.fits and row.source for row in rows)
    needed = {row.resource: row.needed for row in rows}
    assert needed["neurons"] == 2 * 4 * 4 + 3
    assert needed["cores (at least)"] == 1
    widest = np.count_nonzero(tiny.layers[1].synapse.weight, axis=1).max()  # type: ignore[union-attr]
    assert needed["inputs to one neuron"] == widest


def _one_layer(
    tiny: chip.ChipNetwork, synapse: chip.Synapse, shape: tuple[int, ...]
) -> chip.ChipNetwork:
    layer = chip.ChipLayer(
        "wide", (chip.Connection(synapse),), chip.LifNeuron(1, 0, np.zeros(1, np.int32)), shape
    )
    return replace(tiny, layers=(layer,))


def test_what_does_not_fit_says_by_how_much(tiny: chip.ChipNetwork) -> None:
    weight = np.full((2000, 5000), 254, np.int16)
    weight[0, 0] = -2
    rows = chip_fit(_one_layer(tiny, chip.DenseSynapse(weight), (2000,)))
    (over,) = (row for row in rows if not row.fits)
    assert (over.chip, over.resource) == ("Loihi 1", "inputs to one neuron")
    assert (over.needed, over.available) == (5000, 4096)
    cores = {r.chip: r.needed for r in rows if r.resource.startswith("cores")}
    assert cores == {"Loihi 1": 77, "Loihi 2": 51}
    rows = chip_fit(_one_layer(tiny, chip.DenseSynapse(np.full_like(weight, 2)), (2000,)))
    cores = {r.chip: r.needed for r in rows if r.resource.startswith("cores")}
    assert cores == {"Loihi 1": 20, "Loihi 2": 13}  # two bits each


def test_a_shared_kernel_is_no_proof_of_not_fitting(tiny: chip.ChipNetwork) -> None:
    weight = np.full((128, 48, 3, 3), 254, np.int16)
    weight[0, 0, 0, 0] = -2
    conv = chip.ConvSynapse(weight, (48, 28, 28), padding=(1, 1))
    rows = chip_fit(_one_layer(tiny, conv, (128, 28, 28)))
    assert all(row.fits for row in rows)
    needed = {row.resource: row.needed for row in rows if row.chip == "Loihi 1"}
    assert needed["stored weights (at least)"] == 128 * 48 * 9
    assert needed["cores (at least)"] == 98  # 100,352 neurons, 1024 to a core


@pytest.mark.parametrize(
    ("weights", "sign", "bits"),
    [
        ([254, -256, 0], "mixed", 8),
        ([126, -128], "mixed", 7),
        ([126, -130], "mixed", 8),
        ([128, -2], "mixed", 8),
        ([2, -2], "mixed", 2),
        ([-2, 0], "mixed", 1),
        ([2, 2], "mixed", 2),
        ([255, 1], "excitatory", 8),
        ([127, 0], "excitatory", 7),
        ([-1, -255], "inhibitory", 8),
    ],
)
def test_a_weight_takes_the_bits_its_layer_needs(
    weights: list[int], sign: chip.Sign, bits: int
) -> None:
    synapse = chip.DenseSynapse(np.array([weights], np.int16), sign)
    assert count_weights(chip.Connection(synapse)) == (len(weights) - weights.count(0), bits)


def test_host_currents_and_zeros_store_nothing() -> None:
    dense = chip.DenseSynapse(np.ones((2, 3), np.int16))
    host = chip.HostCurrent(np.zeros(1, np.int64), 4)
    assert count_weights(chip.Connection(dense)) == (6, 1)
    assert count_weights(chip.Connection(dense, host=host)) == (0, 0)
    none = chip.DenseSynapse(np.zeros((2, 3), np.int16))
    assert count_weights(chip.Connection(none)) == (0, 0)


def test_all_connections_of_a_neuron_count_and_the_longest_delay_is_a_row(
    tiny: chip.ChipNetwork,
) -> None:
    assert all(row.resource != "longest synaptic delay" for row in chip_fit(tiny))
    (hidden, out), kernel = (
        tiny.layers,
        chip.ConvSynapse(np.full((2, 1, 1, 1), 2, np.int16), (1, 4, 4)),
    )
    dense = chip.DenseSynapse(np.full((3, 16), 2, np.int16))
    hidden = replace(hidden, inputs=(*hidden.inputs, chip.Connection(kernel, chip.INPUT)))
    out = replace(out, inputs=(*out.inputs, chip.Connection(dense, chip.INPUT, 3)))
    (conv, _), (full, _) = hidden.inputs, out.inputs
    rows = chip_fit(replace(tiny, layers=(hidden, out)))
    needed = {row.resource: row.needed for row in rows if row.chip == "Loihi 1"}
    widest = np.count_nonzero(full.synapse.weight, axis=1).max()
    assert needed["inputs to one neuron"] == widest + 16
    stored = np.count_nonzero(conv.synapse.weight) + np.count_nonzero(full.synapse.weight)
    assert needed["stored weights (at least)"] == stored + 2 + 3 * 16
    assert needed["longest synaptic delay"] == 4  # one hop that the input skips, and the lag
    limits = {row.available for row in rows if row.resource == "longest synaptic delay"}
    assert limits == {62}


def test_every_limit_names_its_source() -> None:
    assert all(c.source and c.neurons_per_core * c.cores >= c.neurons * 0.9 for c in CHIPS)
