"""Run a .net file in lava-dl on Lava's CPU backend; called by test_lava_dl.py in its own process.

Arguments: the .net file, an npz with ``x``, the npz to write. Spikes (N, T, C, H, W) are streamed
back to back with lava-dl's own reset, payloads of ``bits`` bits alike; a bias image (C, H, W) or
vector (N,) is one sample. Written: the spikes of every layer as (steps, ...) in lava-dl's axis
order reversed, so (steps, C, H, W) or (steps, N), and ``v`` of the last layer at the end.
``reset`` in the npz sets another interval than ``steps``.

With ``--weights`` instead of a .net file: x holds weight matrices (K, out, in); written is for each
whether a dense layer of lava-dl ends up with exactly these integers ("kept").
"""

import sys
from typing import Any

import numpy as np


def main(net_file: str, input_file: str, output_file: str) -> None:
    from spikeproof_lava import compat

    compat.prepare("lavadl")
    from lava.lib.dl import netx
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc import io

    with np.load(input_file) as file:
        x, steps = file["x"], int(file["steps"])
        reset = int(file["reset"]) if "reset" in file else steps
        bits = int(file["bits"]) if "bits" in file else 0
    pixels = x.ndim in (1, 3)
    net = netx.hdf5.Network(
        net_config=net_file,
        reset_interval=reset,
        reset_offset=0 if pixels else 1,
        input_message_bits=bits,
    )
    samples = 1 if pixels else len(x)
    total = samples * steps + len(net.layers) + 1
    if pixels:
        net.in_layer.neuron.bias_mant.init = x.T.astype(np.int32)
    else:
        flat = x.reshape(samples * steps, *x.shape[2:])
        shaped = flat.reshape(len(flat), -1).T
        if len(net.inp.shape) == 3:
            shaped = flat.transpose(3, 2, 1, 0)
        padded = np.zeros((*shaped.shape[:-1], total), np.int32)
        padded[..., : len(flat)] = shaped
        source = io.source.RingBuffer(data=padded)
        source.s_out.connect(net.inp)
    sinks = []
    for layer in net.layers:
        sink = io.sink.RingBuffer(shape=layer.out.shape, buffer=total)
        layer.out.connect(sink.a_in)
        sinks.append(sink)
    net.run(condition=RunSteps(num_steps=total), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    try:
        found: dict[str, Any] = {str(i): s.data.get().T for i, s in enumerate(sinks)}
        found["v"] = np.array(net.layers[-1].neuron.v.get())
    finally:
        net.stop()
    np.savez(output_file, **found)


def weights(input_file: str, output_file: str) -> None:
    from spikeproof_lava import compat

    compat.prepare("lavadl")
    from lava.lib.dl.netx.utils import optimize_weight_bits
    from lava.utils import weightutils as lava

    kept = []
    with np.load(input_file) as file:
        matrices = file["x"]
    for matrix in matrices:
        try:
            stored, bits, exponent, _ = optimize_weight_bits(matrix)
        except OverflowError:
            kept.append(False)
            continue
        mode = lava.determine_sign_mode(stored)
        used = lava.truncate_weights(lava.clip_weights(stored, mode, 8), mode, bits)
        meant = used << exponent if exponent > 0 else used / (1 << -exponent)
        kept.append(bool((meant == matrix).all()))
    np.savez(output_file, kept=np.array(kept))


if __name__ == "__main__":
    if sys.argv[1] == "--weights":
        weights(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
