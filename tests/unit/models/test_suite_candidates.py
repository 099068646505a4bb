"""The table from which members of a next suite are chosen."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="twins are compiled")

from spikeproof.attacks.estimators import Estimator
from spikeproof.attacks.square import Square
from spikeproof.attacks.suites import Member, Suite
from spikeproof.attacks.victim import Victim
from spikeproof.attacks.walks import SAPGD
from spikeproof.convert.fold import fold
from spikeproof.engines.floats import run_float
from spikeproof_models import suite_candidates
from spikeproof_models.suite_candidates import CANDIDATES, survivors, try_candidates

ASSG = Estimator(0.425, "detached", "assg")
WEAK = Suite("weak", 1, (Member(SAPGD(0, steps=1), ASSG),))


@pytest.fixture
def case(tiny_network):
    x = np.random.default_rng(0).integers(0, 256, (120, *tiny_network.input_shape), dtype=np.uint8)
    return Victim(tiny_network, fold(tiny_network)), x, run_float(tiny_network, x).predictions


def test_only_what_survives_a_suite_is_tried(case):
    victim, x, y = case
    y = y.copy()
    y[0] += 1  # wrong unperturbed
    _, by = WEAK.run(victim, x, y, [8])
    expected = np.flatnonzero(by[0] == -1)
    assert 0 not in expected and 10 < len(expected) < 115
    np.testing.assert_array_equal(survivors(victim, WEAK, x, y, 8, 1000), expected)
    np.testing.assert_array_equal(survivors(victim, WEAK, x, y, 8, 7), expected[:7])


def test_what_a_candidate_adds_is_told(case, monkeypatch, capsys):
    members = (Member(SAPGD(0, steps=5), ASSG), Member(SAPGD(0, steps=5), ASSG))
    monkeypatch.setattr(suite_candidates, "CANDIDATES", (*members, Member(Square(0, queries=9))))
    victim, x, y = case
    lines = try_candidates(victim, WEAK, x, y, 8, 40)
    assert lines[0].startswith("| alone, of 40 |")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    (first, again, square, total) = cells
    assert first[0] == "sa-pgd-margin-5, 0.425 detached assg" and int(first[1]) > 0
    assert first[1] == first[2] == again[1] and again[2] == "0"
    assert square[0] == "square-9"
    assert int(total[1]) == int(first[2]) + int(square[2])
    assert first[0] in capsys.readouterr().err


def test_candidates_differ():
    assert len({member.name for member in CANDIDATES}) == len(CANDIDATES)
