"""Bad and odd input for every engine: the same clear refusal, or the same result as plain input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from spikeproof.engines import memory
from spikeproof.engines.fast import FastEngine
from spikeproof.engines.memory import check_memory, sample_bytes, size_text, trace_bytes
from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.engines.torch.engine import TorchEngine
from spikeproof.engines.trace import Engine
from spikeproof.errors import GraphError, InputError
from spikeproof.ir.chip import (
    INPUT,
    ChipLayer,
    ChipNetwork,
    Connection,
    ConvSynapse,
    DenseSynapse,
    LifNeuron,
)
from spikeproof.ir.chip import ReadoutNeuron as Readout

Array = np.ndarray[Any, Any]
STEPS = 3


def _onnx() -> Engine:
    return pytest.importorskip(
        "spikeproof.formats.onnx.engine", reason="needs the ONNX engine"
    ).OnnxEngine()  # type: ignore[no-any-return]


def _lava() -> Engine:
    return pytest.importorskip("spikeproof_lava.target").LavaTarget()  # type: ignore[no-any-return]


def _needs(*modules: str) -> pytest.MarkDecorator:
    absent = [m for m in modules if find_spec(m) is None]
    return pytest.mark.skipif(bool(absent), reason=f"needs {', '.join(modules)}")


RUNNING = [
    pytest.param(ReferenceEngine, id="reference"),
    pytest.param(NumpyEngine, id="numpy"),
    pytest.param(FastEngine, id="fast"),
    pytest.param(TorchEngine, id="torch", marks=_needs("torch")),
    pytest.param(_onnx, id="onnx", marks=_needs("onnx", "onnxruntime")),
]
# Lava refuses before it starts a process, so that is cheap; a run of it is not.
REFUSING = [*RUNNING, pytest.param(_lava, id="lava", marks=[pytest.mark.lava, _needs("lava")])]
Make = Callable[[], Engine]


def network(coding: str = "pixels", steps: int = STEPS) -> ChipNetwork:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return (2 * rng.integers(-20, 30, shape)).astype(np.int16)

    conv = ConvSynapse(draw(2, 1, 3, 3), (1, 6, 5), padding=(1, 1))
    threshold = 3000 if coding == "pixels" else 20
    lif = LifNeuron(threshold, 41, np.zeros((1, 1, 1), np.int32))
    first = ChipLayer("c1", (Connection(conv),), lif, (2, 6, 5))
    last = ChipLayer(
        "out", (Connection(DenseSynapse(draw(4, 60))),), Readout(np.zeros(1, np.int32)), (4,)
    )
    return ChipNetwork("small", (1, 6, 5), steps, (first, last), coding)  # type: ignore[arg-type]


def plain(coding: str, samples: int = 6) -> Array:
    rng = np.random.default_rng(1)
    if coding == "pixels":
        return rng.integers(0, 256, (samples, 1, 6, 5), dtype=np.uint8)
    return rng.integers(0, 2, (samples, STEPS, 1, 6, 5), dtype=np.uint8)


def read_only(x: Array) -> Array:
    frozen = x.copy()
    frozen.flags.writeable = False
    return frozen


def unaligned(x: Array) -> Array:
    """The same values in a buffer that begins at an odd address and belongs to bytes."""
    return np.frombuffer(b"\0" + x.tobytes(), np.uint8, offset=1).reshape(x.shape)


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "fortran": np.asfortranarray,
    "every second sample": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every second column": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "reversed twice": lambda x: x[::-1, ..., ::-1].copy()[::-1, ..., ::-1],
    "axes swapped": lambda x: x.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "read-only": read_only,
    "a buffer of bytes": unaligned,
    "one sample repeated without memory": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("coding", ["pixels", "spikes"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", RUNNING)
def test_the_layout_of_an_array_changes_nothing(make: Make, layout: str, coding: str) -> None:
    engine, net = make(), network(coding)
    odd = LAYOUTS[layout](plain(coding))
    before = odd.copy()
    expected = ReferenceEngine().run(net, np.ascontiguousarray(before), trace=True)
    found = engine.run(net, odd, trace=True)
    np.testing.assert_array_equal(odd, before)
    np.testing.assert_array_equal(found.logits, expected.logits)
    assert expected.traces is not None
    assert found.traces is not None
    assert expected.traces["c1"].s is not None
    assert expected.traces["c1"].s.any(), "a silent layer shows nothing"
    for name, trace in expected.traces.items():
        np.testing.assert_array_equal(found.traces[name].v, trace.v)


@pytest.mark.parametrize("make", RUNNING)
def test_weights_in_odd_arrays_change_nothing(make: Make) -> None:
    net, x = network(), plain("pixels")
    expected = ReferenceEngine().run(net, x)
    layers = [
        layer.changed(synapse=replace(layer.synapse, weight=odd(layer.synapse.weight)))  # type: ignore[call-arg, union-attr]
        for layer, odd in zip(
            net.layers, (np.asfortranarray, lambda w: read_only(w.astype(">i8"))), strict=True
        )
    ]
    found = make().run(replace(net, layers=tuple(layers)), x)
    np.testing.assert_array_equal(found.logits, expected.logits)


@pytest.mark.parametrize("coding", ["pixels", "spikes"])
@pytest.mark.parametrize("make", REFUSING)
def test_no_timesteps(make: Make, coding: str) -> None:
    shape = (2, 1, 6, 5) if coding == "pixels" else (2, 0, 1, 6, 5)
    with pytest.raises(GraphError, match=r"small: timesteps is 0, must be 1"):
        make().run(network(coding, steps=0), np.zeros(shape, np.uint8))


WRONG: dict[str, tuple[str, Callable[[Array], Array], str]] = {
    "no samples": ("pixels", lambda x: x[:0], "holds no samples"),
    "no samples of spikes": ("spikes", lambda x: x[:0], "holds no samples"),
    "no batch axis": ("pixels", lambda x: x[0], r"shape \(1, 6, 5\), expected \(N, C, H, W\)"),
    "no channels": ("pixels", lambda x: x[:, 0], r"shape \(6, 6, 5\), expected"),
    "a number": ("pixels", lambda x: x[0, 0, 0, 0].reshape(()), r"shape \(\), expected"),
    "height and width swapped": ("pixels", lambda x: x.swapaxes(2, 3), r"\(6, 1, 5, 6\)"),
    "spikes for pixels": ("pixels", lambda x: x[:, None], r"\(6, 1, 1, 6, 5\)"),
    "pixels for spikes": ("spikes", lambda x: x[:, 0], r"expected \(N, T, C, H, W\)"),
    "a step too many": ("spikes", lambda x: x.repeat(2, 1)[:, : STEPS + 1], "6, 4, 1, 6, 5"),
    "a step too few": ("spikes", lambda x: x[:, 1:], "6, 2, 1, 6, 5"),
    "float32": ("pixels", lambda x: x.astype(np.float32), "type float32, expected uint8"),
    "int64": ("pixels", lambda x: x.astype(np.int64), "type int64, expected uint8"),
    "int8": ("spikes", lambda x: x.astype(np.int8), "type int8, expected uint8"),
    "bool": ("spikes", lambda x: x.astype(bool), "type bool, expected uint8"),
    "objects": ("pixels", lambda x: x.astype(object), "type object, expected uint8"),
    "spikes of 2": ("spikes", lambda x: 2 * x, "spike input holds 2, expected 0 or 1"),
    "spikes of 255": ("spikes", lambda x: 255 * x, "spike input holds 255, expected 0 or 1"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("make", REFUSING)
def test_wrong_input_is_refused_with_what_was_expected(make: Make, case: str) -> None:
    coding, spoil, words = WRONG[case]
    with pytest.raises(InputError, match=words) as found:
        make().run(network(coding), spoil(plain(coding)))
    assert found.value.where == "small"


# --- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("make", RUNNING)
def test_a_network_too_large_for_memory_is_refused_with_sizes(
    make: Make, trace: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, net, x = make(), network(), plain("pixels")
    monkeypatch.setattr(memory, "_ALWAYS_FITS", 0)
    monkeypatch.setattr(memory, "available_bytes", lambda: sample_bytes(net) - 1)
    with pytest.raises(InputError, match=r"one sample needs .* of memory") as found:
        engine.run(net, x, trace=trace)
    assert "largest layer c1: 2x6x5 neurons, 3 steps" in str(found.value)
    assert "fewer timesteps" in str(found.value)


@pytest.mark.parametrize("make", RUNNING)
def test_traces_too_large_for_memory_are_refused_and_what_fits_is_named(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, net, x = make(), network(), plain("pixels")
    enough = sample_bytes(net) + 4 * trace_bytes(net)
    monkeypatch.setattr(memory, "_ALWAYS_FITS", 0)
    monkeypatch.setattr(memory, "available_bytes", lambda: enough)
    with pytest.raises(InputError, match="traces of 6 samples need") as found:
        engine.run(net, x, trace=True)
    assert "at most 4 samples" in str(found.value)
    assert engine.run(net, x[:4], trace=True).traces is not None
    assert len(engine.run(net, x).logits) == 6


def test_a_small_file_can_ask_for_a_terabyte() -> None:
    """What the check is for: 30 bytes of weights, 2^28 neurons, 4096 steps."""
    side, weight = 4096, np.full((16, 1, 1, 1), 2, np.int16)
    lif = LifNeuron(5, 41, np.zeros((1, 1, 1), np.int32))
    layer = ChipLayer(
        "huge", (Connection(ConvSynapse(weight, (1, side, side))),), lif, (16, side, side)
    )
    net = ChipNetwork("trap", (1, side, side), 4096, (layer,))
    assert sample_bytes(net) > 1 << 40
    with pytest.raises(InputError, match=r"1\.0 TiB of memory \(largest layer huge"):
        check_memory(net, 1, available=1 << 36)


def test_the_estimate_is_a_lower_bound_of_what_is_held() -> None:
    """Counted by hand, so that no run is refused that could have been made."""
    assert trace_bytes(network()) == (60 + 4) * STEPS * 9
    # c1: 30 pixels, 60 neurons x 3 steps of spikes, 60 sums made once, windows 9 x 30, states.
    assert sample_bytes(network()) == 30 + 60 * 3 + 4 * (60 + 9 * 30) + 8 * 60
    assert sample_bytes(network("spikes")) == 30 * 3 + 60 * 3 + 4 * (60 * 3 + 9 * 30) + 8 * 60


def test_spikes_count_until_their_last_reader_and_cycles_as_a_whole() -> None:
    """Counted by hand: 4 inputs, layers of 100, 1 and 90 neurons, 3 steps of spikes."""

    def layer(name: str, neurons: int, *sources: tuple[str, int, int]) -> ChipLayer:
        inputs = tuple(
            Connection(DenseSynapse(np.full((neurons, size), 2, np.int16)), source, lag)
            for source, size, lag in sources
        )
        return ChipLayer(name, inputs, LifNeuron(9, 0, np.zeros(1, np.int32)), (neurons,))

    def graph(b: ChipLayer, c: ChipLayer) -> ChipNetwork:
        return ChipNetwork("g", (1, 1, 4), 3, (layer("a", 100, (INPUT, 4, 0)), b, c), "spikes")

    b, c = layer("b", 1, ("a", 100, 0)), layer("c", 90, ("b", 1, 0))
    a_alone = 4 * 3 + 100 * (3 + 4 * 3 + 8)
    c_alone = 1 * 3 + 90 * (3 + 4 * 3 + 8)
    assert sample_bytes(graph(b, c)) == a_alone > c_alone
    skip = layer("c", 90, ("b", 1, 0), ("a", 100, 0))
    assert sample_bytes(graph(b, skip)) == 100 * 3 + c_alone > a_alone
    back = layer("b", 50, ("a", 100, 0), ("c", 90, 1))
    closed = layer("c", 90, ("b", 50, 0))
    assert sample_bytes(graph(back, closed)) == 100 * 3 + (50 + 90) * (3 + 4 + 8)


def test_the_container_limit_counts(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used, info = tmp_path / "max", tmp_path / "current", tmp_path / "meminfo"
    info.write_text("MemTotal: 9 kB\nMemAvailable:    5000 kB\n")
    used.write_text("1000\n")
    monkeypatch.setattr(memory, "_MEMINFO", info)
    monkeypatch.setattr(memory, "_CGROUPS", ((limit, used),))
    assert memory.available_bytes() == 5000 << 10, "no limit"
    limit.write_text("max\n")
    assert memory.available_bytes() == 5000 << 10
    limit.write_text("3000\n")
    assert memory.available_bytes() == 2000
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    limit.unlink()
    assert memory.available_bytes() is None
    check_memory(network(), 1 << 60, trace=True)  # nothing known: nothing refused


def test_sizes_are_written_for_people() -> None:
    sizes = [999, 1 << 10, 3 << 19, 5 << 30, 9 << 40]
    assert [size_text(s) for s in sizes] == [
        "999 bytes",
        "1.0 KiB",
        "1.5 MiB",
        "5.0 GiB",
        "9.0 TiB",
    ]
