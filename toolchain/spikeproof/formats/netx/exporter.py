"""The exporter to lava-dl's ``.net`` files."""

from __future__ import annotations

from pathlib import Path

from spikeproof.io.bundle import Bundle
from spikeproof.io.files import read_start
from spikeproof.io.foreign import HDF5
from spikeproof.io.formats import Exported, Exporter, Stage
from spikeproof.io.marks import GENERATOR


def is_ours(path: Path) -> bool:
    """Tell whether it is HDF5 with our mark; without h5py no .net can be written either."""
    if read_start(path, len(HDF5)) != HDF5:
        return False
    try:
        import h5py
    except ImportError:
        return False
    with h5py.File(path, "r") as file:
        return "layer" in file and file.attrs.get("generator") == GENERATOR


def write(bundle: Bundle, path: Path, traces: bool, stage: Stage) -> Exported:
    """Write the network as .net; what does not fit is refused with every reason.

    A network that was read with a pixel range is written for the same range.
    """
    from spikeproof.formats.netx.pixels import RAW_PIXELS
    from spikeproof.formats.netx.write import save_netx

    given = bundle.record.pixel_range
    low, high = given or RAW_PIXELS
    matters = save_netx(bundle.network, path, pixel_range=(low, high))
    if given and matters:
        told = f"read it back with --pixel-range {low:g} {high:g}: a .net does not hold that"
        return Exported(notes=[told])
    return Exported()


NET = Exporter(".net file", ".net", is_ours, write)
