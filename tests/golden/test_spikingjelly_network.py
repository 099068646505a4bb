"""A network exported by SpikingJelly, replayed at tolerance 0 against what SLAYER computed.

``spikingjelly.net`` was written by SpikingJelly 2.0.0's ``lava_exchange.to_lava_blocks`` and the
blocks' own ``export_hdf5`` (lava-dl 0.6.0): conv 1-6, grouped conv 6-8, flatten, dense 72-10, with
IF, LIF (tau 4) and IF neurons and random weights. ``spikingjelly.npz`` holds random spikes x, and
the spikes (s0, s1, s3) these blocks gave for them in PyTorch.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

from spikeproof.engines.registry import get_engine
from spikeproof.errors import UnsupportedError
from spikeproof.formats.netx.read import load_netx

HERE = Path(__file__).parent / "traces"


def test_what_the_file_leaves_open_is_named_with_its_option() -> None:
    with pytest.raises(UnsupportedError) as caught:
        load_netx(HERE / "spikingjelly.net")
    assert "give --input-shape C H W" in str(caught.value)
    assert "give --timesteps N" in str(caught.value)


@pytest.mark.parametrize("engine", ["reference", "numpy", "fast"])
def test_a_spikingjelly_export_runs_as_in_slayer(engine: str) -> None:
    network = load_netx(HERE / "spikingjelly.net", 6, input_shape=(1, 16, 16))
    with np.load(HERE / "spikingjelly.npz", allow_pickle=False) as file:
        traces = get_engine(engine).run(network, file["x"], trace=True).traces
        assert traces is not None
        for name, key, count in (("conv0", "s0", 484), ("conv1", "s1", 181), ("dense3", "s3", 61)):
            found = traces[name].s
            assert found is not None and found.sum() == count
            np.testing.assert_array_equal(found, file[key].reshape(found.shape))
