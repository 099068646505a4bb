"""Small networks, their conversions, and images for the tests of the verifier."""

from __future__ import annotations

from typing import Any

import pytest
from verified import Case, build_case, changed, noise, wide_config

from spikeproof.verify.config import VerifyConfig


@pytest.fixture(scope="session")
def case() -> Case:
    return build_case()


@pytest.fixture(scope="session")
def table_case() -> Case:
    return build_case([1.0, 1.3, 0.8, 1.1])


@pytest.fixture()
def config() -> VerifyConfig:
    return wide_config()


@pytest.fixture()
def perturb() -> Any:
    return noise


@pytest.fixture()
def with_layer() -> Any:
    """Return a function that changes one layer's synapse or neuron in a chip network."""
    return changed
