"""A bundle comes back as it was written, and no changed byte goes unnoticed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeproof.engines.numpy_engine import NumpyEngine
from spikeproof.engines.self_test import make_bundle, self_test
from spikeproof.errors import SpikeproofError
from spikeproof.fuzz.draw.nasty import draw_case
from spikeproof.io.bundle import Bundle, bundle_bytes, load_bundle, save_bundle
from spikeproof.io.record import BundleRecord, read_record

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)

# What a program of somebody else's may add; the fields we name have types of their own.
free_keys = st.text(max_size=8).filter(lambda key: key not in BundleRecord.model_fields)


@cache
def bundle_of(index: int) -> Bundle:
    case = draw_case(11, index)
    return make_bundle(case.network, {"made": "by a test"}, case.x[:2])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles") / "a.spk"


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 40), record=st.dictionaries(free_keys, json_values))
def test_network_stimulus_answers_and_record_come_back(
    place: Path, index: int, record: dict[str, Any]
) -> None:
    drawn = bundle_of(index)
    held = read_record(BundleRecord, record, "drawn")
    bundle = Bundle(drawn.network, held, drawn.stimulus, drawn.expected)
    save_bundle(place, bundle)
    found = load_bundle(place)
    assert found.record.document == record and bundle_bytes(found) == place.read_bytes()
    np.testing.assert_array_equal(found.stimulus, bundle.stimulus)
    assert found.expected.keys() == bundle.expected.keys()
    for name, answer in bundle.expected.items():
        np.testing.assert_array_equal(found.expected[name], answer)
    # The network that came back computes what the one that was written computes.
    assert self_test(found, NumpyEngine()).passed


@settings(max_examples=250, deadline=None)
@given(
    index=st.integers(0, 5), position=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255)
)
def test_any_changed_byte_is_noticed(place: Path, index: int, position: float, change: int) -> None:
    data = bytearray(bundle_bytes(bundle_of(index)))
    data[int(position * len(data))] ^= change
    place.write_bytes(data)
    with pytest.raises(SpikeproofError):
        load_bundle(place)


@settings(max_examples=80, deadline=None)
@given(index=st.integers(0, 5), cut=st.floats(0, 1, exclude_max=True), extra=st.binary(max_size=9))
def test_a_cut_or_extended_file_is_noticed(
    place: Path, index: int, cut: float, extra: bytes
) -> None:
    data = bundle_bytes(bundle_of(index))
    kept = data[: int(cut * len(data))] if cut < 0.9 else data + b"\0" + extra
    place.write_bytes(kept)
    with pytest.raises(SpikeproofError):
        load_bundle(place)
