"""The chip integers of the shipped and of drawn networks, and their answers, never change.

``python tests/recorded_integers.py`` records them again.
"""

from __future__ import annotations

import json

import pytest
import recorded_integers as now

RECORDED = json.loads(now.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "choice"), now.choices())
def test_shipped_networks(name: str, choice: str) -> None:
    if choice in now.SEARCHED and now.arithmetic() != RECORDED["arithmetic"]:
        pytest.skip(f"scales were searched with {RECORDED['arithmetic']}, here {now.arithmetic()}")
    assert now.converted(name, choice) == RECORDED["converted"][f"{name} {choice}"]


@pytest.mark.parametrize("index", range(now.CASES))
def test_drawn_networks(index: int) -> None:
    assert now.drawn(index) == RECORDED["drawn"][index]
