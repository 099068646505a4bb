"""Which cluster addresses let strangers execute code, and that the user is told."""

from __future__ import annotations

import pytest

from spikeproof.cli.console import Console
from spikeproof.cli.workflow import warn_of_cluster
from spikeproof.jobs.cluster import is_exposed


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://localhost:8786", False),
        ("tls://10.0.0.1:8786", False),
        ("tcp://10.0.0.1:8786", True),
        ("ws://cluster.example:8786", True),
        ("127.0.0.1:8786", False),
        ("cluster.example:8786", True),
    ],
)
def test_an_address_on_another_machine_without_tls_is_exposed(
    address: str, exposed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_exposed(address) is exposed
    warn_of_cluster(Console(quiet=True), address)
    assert ("use tls://" in capsys.readouterr().err) is exposed


def test_without_a_cluster_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    warn_of_cluster(Console(), None)
    assert capsys.readouterr().err == ""
