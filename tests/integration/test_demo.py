"""The demo, from the command to the report, as a newcomer starts it."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from spikeproof.cli.verdict import EXIT_CODES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.lava,
    pytest.mark.skipif(
        find_spec("torch") is None or find_spec("lava") is None, reason="needs torch and Lava"
    ),
]

# Four times what two idle cores need: a busy machine passes, a demo for a coffee break does not.
LIMIT_SECONDS = 240


def test_the_demo_ends_with_a_verdict_and_a_report(cli: Callable[..., Any], tmp_path: Path) -> None:
    start = time.monotonic()
    done = cli("demo", "--json")
    assert time.monotonic() - start < LIMIT_SECONDS, "the demo is to take about a minute"
    report = json.loads(done.stdout)
    assert done.returncode == EXIT_CODES[report["verdict"]], done.stderr
    assert report["verdict"] == "pass", report["sentence"]
    exact = next(c for c in report["checks"] if c["id"] == "V1")
    assert exact["figures"]["mismatches"] == 0
    assert exact["figures"]["compared"] > 0
    work = tmp_path / "work"
    page = (work / report["report"]).read_text(encoding="utf-8")
    assert len(page) < 2 << 20
    assert "<script" not in page
    assert report["sentence"] in html.unescape(page)
    assert (work / "runs" / "demo" / "report.json").is_file()
    page_line, figures_line = done.stderr.rstrip().splitlines()[-2:]
    assert page_line.endswith(report["report"])
    assert figures_line.endswith(report["report"].replace(".html", ".json"))
    assert cli("report", "runs/demo", "--card", "card.md").returncode == 0
    assert (work / "card.md").stat().st_size > 0
