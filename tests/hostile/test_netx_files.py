"""Damaged and hostile .net files: a clear error, quickly, and nothing unpacked or followed."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed")

import h5py

from spikeproof.cli.app import run
from spikeproof.errors import InputError, SpikeproofError
from spikeproof.formats.netx.read import load_netx

Edit = Callable[[h5py.Group], None]
WEIGHT = np.resize(np.array([2, -4]), (3, 8))
CHUNKED = {"chunks": (3, 4), "compression": "gzip", "shuffle": True}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A legal file: one dense layer."""
    path = tmp_path / "a.net"
    with h5py.File(path, "w") as file:
        layer = file.create_group("layer/0")
        layer["type"] = np.array([b"dense"])
        layer["weight"] = WEIGHT
        layer["neuron/type"] = "CUBA"
        for key, value in {"iDecay": 4096, "vDecay": 9, "vThMant": 5}.items():
            layer[f"neuron/{key}"] = value
        file["simulation/tSample"] = 4
    load_netx(path)
    return path


def edited(path: Path, edit: Edit) -> Path:
    with h5py.File(path, "r+") as file:
        edit(file["layer/0"])
    return path


def replaced(key: str, **how: Any) -> Edit:
    def edit(layer: h5py.Group) -> None:
        del layer[key]
        layer.create_dataset(key, **how)

    return edit


def linked(key: str, link: Any) -> Edit:
    def edit(layer: h5py.Group) -> None:
        del layer[key]
        layer[key] = link

    return edit


def virtual(layer: h5py.Group) -> None:
    layout = h5py.VirtualLayout(shape=(3, 8), dtype="i8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "weight", shape=(3, 8))
    del layer["weight"]
    layer.create_virtual_dataset("weight", layout)


def external(layer: h5py.Group) -> None:
    del layer["weight"]
    layer.create_dataset("weight", (3, 8), "i1", external=[("/etc/passwd", 0, 24)])


def bomb(layer: h5py.Group) -> None:
    """Store a chunk that unpacks to 200 MB where 96 bytes are claimed."""
    del layer["weight"]
    made = layer.create_dataset("weight", (3, 4), "i8", chunks=(3, 4), compression="gzip")
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    made.id.write_direct_chunk((0, 0), packed)


def nested_bomb(layer: h5py.Group) -> None:
    """Ask for two rounds of gzip."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3, 4))
    plist.set_deflate(9)
    plist.set_deflate(9)
    del layer["weight"]
    space = h5py.h5s.create_simple((3, 4))
    h5py.h5d.create(layer.id, b"weight", h5py.h5t.NATIVE_INT64, space, plist)


def crowd(layer: h5py.Group) -> None:
    for index in range(100):
        layer[f"x{index}"] = 1


def reference(layer: h5py.Group) -> None:
    del layer["weight"]
    layer.create_dataset("weight", data=layer.ref, dtype=h5py.ref_dtype)


HUGE = (1 << 20, 1 << 20)
EDITS: dict[str, tuple[Edit, str]] = {
    "soft link": (linked("weight", h5py.SoftLink("/simulation/tSample")), "SoftLink"),
    "external link": (linked("weight", h5py.ExternalLink("/etc/passwd", "/x")), "ExternalLink"),
    "linked group": (linked("neuron", h5py.SoftLink("/layer")), "SoftLink"),
    "virtual": (virtual, "no data of its own"),
    "external storage": (external, "no data of its own"),
    "object reference": (reference, "expected plain numbers"),
    "region of text": (replaced("weight", data=["a", "b"]), "holds 2 texts"),
    "long text": (replaced("type", data=np.array([b"d" * 500])), "texts of type"),
    "compound": (replaced("weight", data=np.zeros(3, [("a", "i4"), ("b", "f8")])), "plain numbers"),
    "complex": (replaced("weight", data=np.ones((3, 8), complex)), "plain numbers"),
    "long double": (replaced("weight", data=np.ones((3, 8), np.longdouble)), "plain numbers"),
    "empty": (replaced("weight", data=np.zeros((0, 8))), "is empty"),
    "null": (replaced("weight", data=h5py.Empty("f8")), "no data of its own"),
    "never written": (replaced("weight", shape=(3, 8), dtype="i8"), "0 are stored"),
    "huge": (replaced("weight", shape=HUGE, dtype="i8"), "too large"),
    "huge chunks": (replaced("weight", shape=HUGE, dtype="i8", chunks=(1, 1 << 20)), "too large"),
    "no chunks": (replaced("weight", shape=(3, 8), dtype="i8", chunks=(3, 4)), "0 of 2 chunks"),
    "bomb": (bomb, "does not unpack to the 96 bytes"),
    "nested bomb": (nested_bomb, "only gzip"),
    "lzf": (replaced("weight", data=WEIGHT, compression="lzf"), "only gzip"),
    "scale offset": (replaced("weight", data=WEIGHT, scaleoffset=4), "only gzip"),
    "crowd": (crowd, "has 103 entries"),
    "number as type": (replaced("type", data=5), "its type is no text"),
    "text as number": (replaced("neuron/iDecay", data="4096"), "neuron/iDecay holds text '4096'"),
    "NaN": (replaced("neuron/vDecay", data=np.nan), "neuron/vDecay holds nan; expected"),
    "infinity": (replaced("weight", data=np.full((3, 8), np.inf)), "holds inf at [0, 0], 24 such"),
    "unsigned": (replaced("weight", data=np.full((3, 8), 2**64 - 1, np.uint64)), "(beyond 2^52)"),
    "negative": (replaced("weight", data=np.full((3, 8), -(2**63))), "weights span -9223372036"),
    "deep group": (lambda layer: layer.create_group("neuron/a/b") and None, "is no array"),
    "named type": (lambda layer: layer.__setitem__("odd", np.dtype("i8")), "is no array"),
}


@pytest.mark.parametrize("name", EDITS)
def test_hostile_content_is_refused_by_name(
    name: str, net: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    edit, expected = EDITS[name]
    edited(net, edit)
    tracemalloc.start()
    try:
        with pytest.raises(SpikeproofError) as caught:
            load_netx(net)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert expected in str(caught.value)
    assert peak < 20 << 20
    assert run(["convert", str(net), "-o", str(tmp_path / "a.spk")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "a.spk").exists()


@pytest.mark.parametrize("how", [CHUNKED, {"fletcher32": True}, {**CHUNKED, "fletcher32": True}])
def test_honest_packing_is_read(how: dict[str, Any], net: Path) -> None:
    edited(net, replaced("weight", data=WEIGHT, **how))
    np.testing.assert_array_equal(load_netx(net).layers[0].synapse.weight, WEIGHT)


def test_a_group_that_contains_itself_ends(net: Path) -> None:
    def loop(layer: h5py.Group) -> None:
        layer["again"] = layer

    edited(net, loop)
    with pytest.raises(InputError, match="is no array"):
        load_netx(net)


@pytest.mark.parametrize("layers", [[], ["1"], ["0", "zero"], [str(i) for i in range(300)]])
def test_layers_must_be_counted_from_zero(layers: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    with h5py.File(path, "w") as file:
        file.create_group("layer")
        for name in layers:
            file[f"layer/{name}/type"] = "flatten"
    with pytest.raises(InputError, match=r"'layer' has \d+ entr(y|ies)"):
        load_netx(path, 4)


def test_truncated_and_altered_files_never_crash(net: Path, tmp_path: Path) -> None:
    """Every cut, and bytes changed anywhere: an error of ours, or a network that checks out."""
    data, path = net.read_bytes(), tmp_path / "b.net"
    rng = np.random.default_rng(0)
    cuts = [data[:n] for n in range(0, len(data), 97)]
    changed = []
    for place in rng.integers(8, len(data), 150):
        copy = bytearray(data)
        copy[place] ^= int(rng.integers(1, 256))
        changed.append(bytes(copy))
    refused = 0
    for content in [*cuts, *changed]:
        path.write_bytes(content)
        try:
            load_netx(path, 4)
        except SpikeproofError:
            refused += 1
    assert refused >= len(cuts)


def test_other_hdf5_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    with h5py.File(path, "w") as file:
        file["model_weights"] = 1
    with pytest.raises(InputError, match="holds no group 'layer'"):
        load_netx(path)


@pytest.mark.parametrize("side", [4096 * 4, 4096 + 1])
def test_a_small_file_that_asks_for_a_huge_network_is_refused_at_once(
    side: int, tmp_path: Path
) -> None:
    """11 KB once took 8 GB and more than a minute."""
    path = tmp_path / "a.net"
    with h5py.File(path, "w") as file:
        layer = file.create_group("layer/0")
        layer["type"], layer["shape"] = np.array([b"input"]), (1, side, side)
        layer["weight"], layer["bias"], layer["neuron/type"] = [1], [0], "CUBA"
        for key, value in {"iDecay": 4096, "vDecay": 9, "vThMant": 5}.items():
            layer[f"neuron/{key}"] = value
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"describes {side**2:,} neurons; the limit is"):
            load_netx(path, 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20


def test_memory_is_asked_for_before_it_is_taken(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikeproof.engines import memory

    edited(net, replaced("weight", data=np.resize(WEIGHT, (200_000, 8))))
    monkeypatch.setattr(memory, "available_bytes", lambda: 20 << 20)
    with pytest.raises(InputError, match=r"reading this network .* needs 25.9 MiB of memory"):
        load_netx(net)
