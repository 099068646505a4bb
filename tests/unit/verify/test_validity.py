"""V6 in a verification: a suspicious attack makes it inconclusive, masking is only said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verified import verified

pytest.importorskip("numba", reason="twins are compiled")

from spikeproof.attacks.validity import Examined, Tried
from spikeproof.verify.checks import validity as v6
from spikeproof.verify.checks.registry import known
from spikeproof.verify.validity import judge_examined
from spikeproof.verify.verdict import Verdict, combine


def examined(**changes: Any) -> Examined:
    right = [True] * 20 + [False] * 12
    return Examined(
        suite="sp-quick-1",
        radii=[2, 4, 8],
        samples=32,
        clean=[True] * 32,
        left=right,
        first=right,
        afresh=[right, right],
        naive=right,
        estimators={"1 attached": right, "1 detached": right},
        unbounded=Tried(images=32, successes=32),
        doubled=Tried(images=8),
        black_box=Tried(images=8),
        planted=Tried(images=32, successes=32),
        guessed=Tried(images=512),
        repeated=8,
    ).model_copy(update=changes)


def _looking(config: Any, samples: int, epsilons: tuple[int, ...] = (2, 4, 8)) -> Any:
    looked = config.validity.model_copy(update={"samples": samples})
    radii = config.worst_case.model_copy(update={"epsilons": epsilons})
    # V7 attacks nothing by itself here: only V6 is looked at
    few = config.samples.model_copy(update={"worst_case": 2})
    return config.model_copy(update={"validity": looked, "worst_case": radii, "samples": few})


def outcome(**changes: Any) -> Any:
    trained, chip = (judge_examined(side, examined()) for side in v6.SIDES)
    if changes:
        chip = judge_examined("chip network", examined(**changes))
    return v6.validity_outcome([trained, chip])


def test_nothing_against_it_is_a_pass_that_says_what_is_open() -> None:
    found = outcome()
    assert found.verdict is Verdict.PASS and not found.reasons
    assert "about 598 would" in found.summary and found.figures.open > 0
    v6.CHECK.check(found)


def test_a_violation_on_one_network_is_inconclusive_and_says_what_to_do() -> None:
    found = outcome(planted=Tried(images=32, successes=20))
    assert found.verdict is Verdict.INCONCLUSIVE
    (reason,) = found.reasons
    assert reason.stage == "chip network" and reason.value == 37.5 and reason.limit == 1
    assert "no evidence of robustness" in reason.try_
    assert combine([Verdict.PASS, found.verdict]) is Verdict.INCONCLUSIVE  # exit code 3
    assert "cannot be believed" in found.summary and "20 of 32 planted" in found.summary
    assert found.figures.violated == 1
    v6.CHECK.check(found)


def test_masking_is_said_and_changes_no_verdict() -> None:
    found = outcome(naive=[True] * 31 + [False])
    assert found.verdict is Verdict.PASS
    assert "misleading by 34 points" in found.summary and found.figures.masking
    assert found.figures.naive_misleading_chip == pytest.approx(34.375)
    assert found.figures.naive_misleading_float is None


def test_a_network_without_a_twin_is_not_run_and_said() -> None:
    none = [judge_examined(side, Examined(samples=32, why_not="no twin")) for side in v6.SIDES]
    found = v6.validity_outcome(none)
    assert found.verdict is Verdict.INFO and "was not examined: no twin" in found.summary
    half = v6.validity_outcome([none[0], judge_examined("chip network", examined())])
    assert half.verdict is Verdict.PASS and "was not examined: no twin" in half.summary
    v6.CHECK.check(found)


def test_the_table_shows_every_assertion_of_both_networks() -> None:
    found = outcome(unstable=3)
    (table,) = v6.CHECK.tables(found.data).values()
    assert len(table.rows) == sum(len(one.assertions) for one in found.data.networks)
    assert {line.group for line in table.rows} == set(v6.SIDES)
    assert [line.cells[6] for line in table.rows if line.cells[6] == "violated"] == ["violated"]
    assert not v6.CHECK.tables(v6.Validity())["validity"]


def test_a_verification_examines_both_networks_and_takes_over_what_it_did(
    case: Any, config: Any, tmp_path: Path, perturb: Any
) -> None:
    """Of random weights sp-quick-1 misses examples: that makes the whole inconclusive, exit 3."""
    looked = _looking(config, 24)
    report = verified(case, looked, tmp_path, perturb=perturb)
    check = next(c for c in report["checks"] if c["id"] == "V6")
    networks = check["data"]["networks"]
    assert [one["network"] for one in networks] == list(v6.SIDES)
    assert all(len(one["examined"]["clean"]) == 24 for one in networks)
    assert check["figures"]["assertions"] == sum(len(one["assertions"]) for one in networks)
    broken = check["figures"]["violated"] > 0
    assert check["verdict"] == ("inconclusive" if broken else "pass")
    assert report["verdict"] != "pass" or not broken
    again = verified(case, looked, tmp_path, perturb=perturb)
    assert {c["id"]: c for c in again["checks"]}["V6"] == check
    assert known("V6") is v6.CHECK


def test_jobs_know_their_cost_and_that_they_are_off(case: Any, config: Any) -> None:
    class Few:
        effort = 2.0

        def __init__(self, samples: int) -> None:
            self.config = _looking(config, samples)

        def images(self, samples: int) -> int:
            return min(samples, len(case.x))

    job = v6.JOBS[0]
    off = Few(10)
    off.config = _looking(config, 10, ())
    assert job.milliseconds(off) == 0  # type: ignore[arg-type]
    assert job.milliseconds(Few(0)) == 0 < job.milliseconds(Few(10))  # type: ignore[arg-type]
    assert job.measure(Few(0)).why_not == v6._OFF  # type: ignore[arg-type]
    assert np.isclose(job.milliseconds(Few(20)), 2 * job.milliseconds(Few(10)))  # type: ignore[arg-type]
    longer = Few(10)
    suite = longer.config.worst_case.model_copy(update={"suite": "sp-rigorous-1"})
    longer.config = longer.config.model_copy(update={"worst_case": suite})
    assert job.milliseconds(longer) > 10 * job.milliseconds(Few(10))  # type: ignore[arg-type]
