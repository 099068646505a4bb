"""Check how an HDF5 dataset is stored before it is read: what is claimed must really be there.

The HDF5 library believes the sizes in a file, and unpacks a packed chunk to whatever length it
turns out to have. So the stored bytes are counted, and packed chunks unpacked within a bound.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

LIMIT_CHUNKS = 1 << 16
LIMIT_CHUNK_BYTES = 1 << 29
_GZIP = 1
_FILTERS = (_GZIP, 2, 3)
"""HDF5's numbers of gzip, shuffle and the Fletcher checksum; a filter's name may lie."""
_CHECKSUM_BYTES = 4


def storage_problem(item: h5py.Dataset) -> str | None:
    """Return why the stored bytes of a dataset are not what it claims, or None if they are."""
    if item.chunks is None:
        stored, claimed = item.id.get_storage_size(), item.size * item.dtype.itemsize
        return None if stored == claimed else f"claims {claimed:,} bytes, {stored:,} are stored"
    plist = item.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if set(filters) - set(_FILTERS) or len(set(filters)) != len(filters):
        return f"is packed with HDF5 filters {filters}; only gzip (1), once, is read"
    chunk = math.prod(item.chunks) * item.dtype.itemsize
    sides = zip(item.shape, item.chunks, strict=True)
    count, needed = item.id.get_num_chunks(), math.prod(-(-n // c) for n, c in sides)
    if count != needed or count > LIMIT_CHUNKS or chunk > LIMIT_CHUNK_BYTES:
        return f"has {count:,} of {needed:,} chunks of {chunk:,} bytes"
    if all(_chunk_fits(item, index, chunk, _GZIP in filters) for index in range(count)):
        return None
    return f"does not unpack to the {chunk:,} bytes a chunk of it has"


def _chunk_fits(item: h5py.Dataset, index: int, chunk: int, packed: bool) -> bool:
    """Tell whether a chunk holds exactly its bytes; a checksum of 4 may follow them."""
    info = item.id.get_chunk_info(index)
    legal = (chunk, chunk + _CHECKSUM_BYTES)
    if info.filter_mask != 0 or not packed:
        return info.filter_mask == 0 and info.size in legal
    _, raw = item.id.read_direct_chunk(info.chunk_offset)
    try:
        return len(zlib.decompressobj().decompress(raw, legal[1] + 1)) in legal
    except zlib.error:
        return False
