"""An estimate of the time left is shown when there is evidence for it, and holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from spikeproof.cli.app import run
from spikeproof.cli.console import Console

Reports = Sequence[tuple[float, int]]
QUICK: Reports = (
    (2.0, 3),
    (6.0, 11),
    (18.4, 32),
    (25.3, 44),
    (31.3, 53),
    (37.6, 61),
    (42.2, 68),
    (48.4, 79),
    (54.1, 92),
    (56.8, 100),
)
"""Seconds, from the journal of the demo, and per cent done, by the costs in verify/work.py."""


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Return what a stage with these (seconds, per cent done) says is left, by seconds."""

    def watch(reports: Reports) -> dict[float, float | None]:
        clock = SimpleNamespace(now=0.0)
        timer = SimpleNamespace(monotonic=lambda: clock.now)
        monkeypatch.setattr("spikeproof.cli.console.time", timer)
        found: dict[float, float | None] = {}
        with Console().stage("Working") as progress:
            for clock.now, done in reports:
                progress(done, 100)
                line = capsys.readouterr().err
                if line:
                    _, _, left = line.partition(", about ")
                    found[clock.now] = _seconds(left) if left else None
        return found

    return watch


def _seconds(told: str) -> float:
    value, unit, _ = told.split()
    return float(value) * {"s": 1, "min": 60}[unit]


def test_steady_work_is_estimated_after_three_reports(estimates) -> None:
    found = estimates([(6.0 * k, 10 * k) for k in range(1, 11)])
    assert found.pop(6.0) is None
    assert found.pop(12.0) is None
    assert found.pop(60.0) is None
    assert found == {6.0 * k: 60 - 6.0 * k for k in range(3, 10)}


def test_nothing_is_estimated_from_one_report(estimates) -> None:
    """One of four kernels compiled was told as 21 s left; all were done two seconds later."""
    assert estimates([(5.5, 25), (6.0, 100)]) == {5.5: None}


def test_the_demos_estimates_hold(estimates) -> None:
    """25 s left became 53 s left while the work went on: one piece of 12 s counted for 3."""
    found = estimates(QUICK)
    assert found[6.0] is None
    assert len(found) == 7
    told = [left for left in found.values() if left is not None]
    assert told == sorted(told, reverse=True)
    for now in list(found)[1:]:
        assert found[now] == pytest.approx(QUICK[-1][0] - now, abs=7)


def test_uneven_work_gets_no_estimate_until_it_is_even(estimates) -> None:
    found = estimates([(6.0, 19), (18.0, 25), (26.0, 32), (32.0, 42)])
    assert found == dict.fromkeys((6.0, 18.0, 26.0, 32.0))


def test_work_taken_from_a_journal_is_no_evidence_of_pace(estimates) -> None:
    found = estimates([(0.1, 50), *((10.0 * k, 50 + 5 * k) for k in range(1, 11))])
    assert found[10.0] is None
    assert found[30.0] == pytest.approx(70, abs=1)
    assert found[90.0] == pytest.approx(10, abs=1)


def test_estimates_follow_work_that_becomes_slower(estimates) -> None:
    """The pace of the first fifth says nothing once the rest goes ten times as slowly."""
    fast = [(2.0 * k, 4 * k) for k in range(1, 6)]
    slow = [(10 + 5.0 * k, 20 + k) for k in range(1, 81)]
    found = estimates([*fast, *slow])
    assert found[20.0] is None
    for now, left in found.items():
        if now > 150 and left is not None:
            assert left == pytest.approx(410 - now, rel=0.15, abs=30)
    assert found[400.0] == 10


def test_what_is_being_done_is_said_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(now=0.0)
    timer = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr("spikeproof.cli.console.time", timer)
    with Console().stage("Working", "layers") as progress:
        clock.now = 6.0
        progress.say("layer 1: rounding")
        assert capsys.readouterr().err == "Working: layer 1: rounding\n"
        progress(1, 3)
        clock.now = 12.0
        progress.say("layer 2: scoring")
        assert capsys.readouterr().err == "Working: 1 of 3 layers; layer 2: scoring\n"
    capsys.readouterr()
    with Console(quiet=True).stage("Working") as progress:
        clock.now = 20.0
        progress.say("layer 1: rounding")
    assert capsys.readouterr().err == ""


def test_a_table_too_wide_for_the_terminal_breaks_its_widest_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    rows = [("V1", "pass", "The target computes what the specification says", 1), ("V2", "", "", 2)]
    Console().table(["check", "verdict", "what", "n"], rows)
    assert capsys.readouterr().out.splitlines() == [
        "check  verdict  what                   n",
        "-----  -------  ---------------------  -",
        "V1     pass     The target computes    1",
        "                what the",
        "                specification says",
        "V2                                     2",
    ]
    Console().table(["check", "what"], [("a name " * 3 + str(i), "x" * 18) for i in range(2)])
    assert capsys.readouterr().out.splitlines()[2:4] == [
        "a name a name a name  " + "x" * 18,
        "0",
    ], "the name is broken where no text is"
    Console().table(["check", "what"], [("a" * 30 + str(i), "x" * 18) for i in range(2)])
    assert capsys.readouterr().out.startswith("a" * 30 + "0: what\n"), "paragraphs"


def test_sentences_break_between_words_where_a_width_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "The worst possible input would fill 99.94 % of the registers of l3."
    monkeypatch.delenv("COLUMNS", raising=False)
    Console().sentence(told)
    assert capsys.readouterr().out == f"{told}\n"
    monkeypatch.setenv("COLUMNS", "41")
    Console().sentence(told)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "The worst possible input would fill", "99.94 stays with its per cent sign"
    assert lines[1].startswith("    99.94 % of") and max(map(len, lines)) <= 41


def test_a_terminal_too_narrow_for_a_table_cuts_no_number_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console as Terminal

    columns = ["layer", "kind", "neurons", "weights", "range"]
    rows = [("l1", "host conv", 1234567, 7654321, "-1,978,113 .. 552,829")]
    for width, broken in ((40, True), (100, False)):
        terminal = Terminal(force_terminal=True, width=width, highlight=False)
        monkeypatch.setattr(Console, "_terminal", lambda self, stream, found=terminal: found)
        Console().table(columns, rows)
        out = capsys.readouterr().out
        assert "1,234,567" in out and "7,654,321" in out and "…" not in out
        assert ("\x1b[1m" in out) is not broken, "a terminal that is wide enough has rich's table"


def test_training_says_where_in_the_epoch_it_is_while_the_share_of_all_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from spikeproof_models.training.steps import TrainingProgress

    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("spikeproof.cli.console.time", SimpleNamespace(monotonic=lambda: clock.now))

    def train(*_: object, progress: Callable[[TrainingProgress], None], **__: object) -> Path:
        clock.now = 20.0
        progress(TrainingProgress(1, 9000, "epoch 1 of 20, step 1 of 450, loss 2.303"))
        clock.now = 40.0
        progress(TrainingProgress(30, 9000, "epoch 1 of 20, step 30 of 450, loss 1.204"))
        return tmp_path / "net.ckpt"

    monkeypatch.setattr("spikeproof_models.training.train", train)
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n')
    assert run(["train", str(recipe), "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "Training r: 0 %; epoch 1 of 20, step 1 of 450, loss 2.303" in said
    assert "Training r: 0 %; epoch 1 of 20, step 30 of 450, loss 1.204" in said
