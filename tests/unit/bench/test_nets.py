"""The timed networks: their activity is what is claimed, their samples are legal and new."""

from __future__ import annotations

import numpy as np
import pytest

from spikeproof.bench.nets import RATE_LIMITS, conv_net, fitted, mlp_net, zoo_net
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.errors import InputError
from spikeproof.ir import chip


@pytest.mark.parametrize("seed", [1, 7])
def test_a_tenth_of_the_neurons_fires_on_samples_nobody_fitted_to(seed: int) -> None:
    net = mlp_net(seed=seed)
    x = net.draw(np.random.default_rng(99), 64)
    traces = ReferenceEngine().run(net.network, x[:4], trace=True).traces
    assert traces is not None
    hidden = float(np.mean(traces["l1"].s))
    assert RATE_LIMITS[0] <= hidden <= RATE_LIMITS[1]
    assert net.activity["l1"] == pytest.approx(hidden, rel=0.1)
    assert x.mean() == pytest.approx(0.15, abs=0.01)
    assert net.spikes["l1"] == pytest.approx(net.activity["l1"] * 512 * 16)


def test_the_networks_have_the_shapes_of_the_published_figures() -> None:
    mlp, conv = mlp_net().network, conv_net().network
    assert [layer.shape for layer in mlp.layers] == [(512,), (10,)]
    assert [layer.shape for layer in conv.layers] == [(16, 28, 28), (32, 14, 14), (10,)]
    assert (mlp.timesteps, conv.timesteps) == (16, 16)
    assert mlp.input_shape == (1, 1, 784)


def test_every_draw_is_new_and_repeatable() -> None:
    net = mlp_net()
    rng = np.random.default_rng(0)
    first, second = net.draw(rng, 2), net.draw(rng, 2)
    assert (first != second).any()
    np.testing.assert_array_equal(first, net.draw(np.random.default_rng(0), 2))


def test_shipped_networks_see_moved_images() -> None:
    net = zoo_net("fmnist-lif-natural")
    x = net.draw(np.random.default_rng(0), 300)
    assert x.dtype == np.uint8
    assert x.shape == (300, 1, 28, 28)
    assert len(np.unique(x.reshape(300, -1), axis=0)) > 290
    with pytest.raises(InputError, match="fmnist-lif-natural"):
        zoo_net("nonsense")


def test_a_network_that_cannot_reach_the_rate_is_refused() -> None:
    zeros = chip.DenseSynapse(np.zeros((4, 9), np.int16))
    with pytest.raises(InputError, match=r"fires at a rate of 0\.000"):
        fitted("dead", (1, 3, 3), 4, [zeros], np.random.default_rng(0))
