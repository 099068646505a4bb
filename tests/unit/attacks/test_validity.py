"""Whether an attack can be believed: weak attacks and masked networks are found out."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="twins are compiled")

from spikeproof.attacks import Estimator
from spikeproof.attacks.suites import SP_QUICK_1, Member, Suite
from spikeproof.attacks.validity import Examined, Tried, examine
from spikeproof.attacks.validity.plain import naive_draws, naive_pgd
from spikeproof.attacks.validity.plant import Planted, corners, exact_rates, hidden, plant
from spikeproof.attacks.victim import Victim
from spikeproof.attacks.walks import APGD, SAPGD
from spikeproof.convert.fold import fold
from spikeproof.convert.pipeline import convert_network
from spikeproof.io.checkpoint import load_checkpoint
from spikeproof.io.data import load_data
from spikeproof.io.zoo import zoo_calibration, zoo_images, zoo_networks
from spikeproof.ir import floats
from spikeproof.verify import validity
from spikeproof.verify.validity import judge_examined
from spikeproof_models import masked

RADII = (2, 8)
SHORTER = Suite(
    "shorter", 1, tuple(replace(m, attack=replace(m.attack, steps=40)) for m in SP_QUICK_1.members)
)
"""A suite like sp-quick-1 that costs less; on few images it finds the same."""


def images(count):
    x, y = load_data(zoo_images(), (1, 28, 28))
    return x[:count], np.asarray(y[:count], np.int64)


def zoo(name):
    network = load_checkpoint(zoo_networks()[f"fmnist-{name}"]).network
    return Victim(network, fold(network))


def judged(victim, suite=SHORTER, count=24):
    return judge_examined("network", examine(victim, suite, *images(count), RADII))


def states(one):
    return {a.name.partition(":")[0]: a.state for a in one.assertions}


@pytest.fixture(scope="module")
def natural():
    return zoo("lif-natural")


@pytest.fixture(scope="module")
def whole():
    """A record in which nothing is wrong, of so many images that it shows everything."""
    count = 1000
    right = [True] * 600 + [False] * 400
    return Examined(
        suite="sp-quick-1",
        radii=[2, 8],
        samples=count,
        clean=[True] * 900 + [False] * 100,
        left=right,
        first=right,
        afresh=[[True] * 800 + [False] * 200, [True] * 650 + [False] * 350],
        naive=[True] * 620 + [False] * 380,
        estimators={
            name: [True] * 660 + [False] * 340
            for name in (
                "0.25 attached",
                "0.25 detached",
                "1 attached",
                "1 detached",
                "0.25 detached arctangent",
                "0.425 attached assg",
                "0.425 detached assg",
            )
        },
        unbounded=Tried(images=900, successes=900),
        doubled=Tried(images=600, successes=0),
        black_box=Tried(images=600, successes=0),
        planted=Tried(images=1000, successes=1000),
        guessed=Tried(images=16000, successes=3),
        repeated=8,
    )


# --- how it is judged ----------------------------------------------------------------------------


def test_nothing_wrong_on_many_images_is_shown(whole):
    one = judge_examined("network", whole)
    assert {a.state for a in one.assertions} == {"held"}, [a for a in one.assertions if a.told]
    assert one.misleading is None and not one.violations and not one.masking


def _some(right, count, value):
    """Change the first ``count`` entries that are not ``value``."""
    found, left = list(right), count
    for i, now in enumerate(found):
        if left and now != value:
            found[i], left = value, left - 1
    assert not left
    return found


BROKEN = {
    "monotone in epsilon": lambda e: {"afresh": [e.afresh[0], _some(e.afresh[0], 30, True)]},
    "monotone in steps": lambda e: {"first": _some(e.afresh[1], 30, True)},
    "converged: images": lambda e: {"late": 15},
    "converged: survivors": lambda e: {"doubled": Tried(images=600, successes=15)},
    "unbounded": lambda e: {"unbounded": Tried(images=900, successes=870)},
    "black box": lambda e: {"black_box": Tried(images=600, successes=15)},
    "estimators: survivors": lambda e: {"naive": _some(e.naive, 15, False)},
    "gradients": lambda e: {"masked": 30},
    "active test": lambda e: {"planted": Tried(images=1000, successes=970)},
    "deterministic": lambda e: {"unequal": 1},
    "stable": lambda e: {"unstable": 1},
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_violation_alone_is_found(whole, name):
    one = judge_examined("network", whole.model_copy(update=BROKEN[name](whole)))
    (found,) = one.violations
    assert found.name.startswith(name) and found.advice and found.told
    assert not one.masking


@pytest.mark.parametrize("name", [n for n in BROKEN if n not in ("deterministic", "stable")])
def test_one_image_of_32_raises_no_alarm(name):
    survivors = [True] * 16 + [False] * 16
    quiet = Examined(
        samples=32,
        suite="sp-quick-1",
        radii=[2, 8],
        clean=[True] * 32,
        left=survivors,
        first=survivors,
        afresh=[survivors, survivors],
        naive=survivors,
        estimators={"1 attached": survivors, "1 detached": survivors},
        unbounded=Tried(images=32, successes=32),
        doubled=Tried(images=16),
        black_box=Tried(images=16),
        planted=Tried(images=32, successes=32),
    )
    few = {
        "monotone in epsilon": {"afresh": [survivors, _some(survivors, 1, True)]},
        "monotone in steps": {"first": _some(survivors, 1, True)},
        "converged: images": {"late": 1},
        "converged: survivors": {"doubled": Tried(images=16, successes=1)},
        "unbounded": {"unbounded": Tried(images=32, successes=31)},
        "black box": {"black_box": Tried(images=16, successes=1)},
        "estimators: survivors": {"naive": _some(survivors, 1, False)},
        "gradients": {"masked": 1},
        "active test": {"planted": Tried(images=32, successes=31)},
    }
    one = judge_examined("network", quiet.model_copy(update=few[name]))
    assert not one.violations
    (found,) = [a for a in one.assertions if a.name.startswith(name)]
    assert found.state == "open"


def test_what_is_open_says_how_many_images_would_show_it():
    few = Examined(
        samples=32,
        left=[False] * 32,
        clean=[True] * 32,
        first=[False] * 32,
        afresh=[[False] * 32] * 2,
        naive=[False] * 32,
        estimators={"1 attached": [False] * 32, "1 detached": [False] * 32},
        radii=[2, 8],
    )
    late = next(a for a in judge_examined("n", few).assertions if "last tenth" in a.name)
    assert late.state == "open"
    assert late.images_needed == math.ceil(math.log(0.05) / math.log(1 - 0.005)) == 598
    more = few.model_copy(update={"samples": 598})
    more = more.model_copy(
        update={key: [False] * 598 for key in ("left", "clean", "first", "naive")}
        | {"afresh": [[False] * 598] * 2, "estimators": {}}
    )
    with pytest.raises(ValueError):  # no estimators: nothing to compare
        judge_examined("n", more)
    more = more.model_copy(
        update={"estimators": {"1 attached": [False] * 598, "1 detached": [False] * 598}}
    )
    assert (
        next(a for a in judge_examined("n", more).assertions if "tenth" in a.name).state == "held"
    )


def test_all_violations_together_keep_the_level(whole):
    tested = [a for a in judge_examined("n", whole).assertions if a.p_value is not None]
    assert sum(not a.masking for a in tested) == validity._TESTS


def test_masking_is_no_violation_and_names_both_estimators(whole):
    rows = {**whole.estimators, "0.25 attached": [True] * 720 + [False] * 280}
    one = judge_examined("network", whole.model_copy(update={"estimators": rows}))
    (found,) = one.masking
    assert not one.violations
    assert "72 % with 0.25 attached and 66 % with 0.25 detached" in found.told


def test_a_naive_figure_is_misleading_by_the_points_it_is_too_high(whole):
    naive = [True] * 750 + [False] * 250
    one = judge_examined("network", whole.model_copy(update={"naive": naive}))
    assert one.misleading == pytest.approx(15)
    assert not one.violations


def test_plants_that_random_corners_find_show_nothing(whole):
    easy = whole.model_copy(update={"guessed": Tried(images=16000, successes=1600)})
    active = next(a for a in judge_examined("n", easy).assertions if a.name.startswith("active"))
    assert active.state == "open" and "too easy" in active.told


# --- what is measured ----------------------------------------------------------------------------


def test_a_weak_suite_is_found_out(natural):
    """One short walk up an attached, narrow slope: what papers' attacks come to."""
    member = Member(APGD(0, steps=5, loss="ce"), Estimator(0.1, "attached"))
    one = judged(natural, Suite("weak", 1, (member,)))
    assert {"estimators", "active test"} <= {a.name.partition(":")[0] for a in one.violations}


@pytest.mark.parametrize("chip", [False, True])
def test_a_suite_that_finds_everything_is_believed(natural, chip):
    victim = natural
    if chip:
        images_, _ = load_data(zoo_calibration(), (1, 28, 28))
        victim = Victim(convert_network(natural.network, images_).chip)
    one = judged(victim, count=16)
    assert not one.violations, [a.told for a in one.violations]
    assert one.examined.planted.images == 16 == one.examined.planted.successes
    assert one.examined.guessed.successes <= 8  # of 256: random corners do not find the plants


def test_a_plant_is_what_exact_traces_say(natural):
    x, _ = images(3)
    for image in x:
        rng = np.random.default_rng(0)
        found = plant(natural.twin, image, 8, rng)
        planted = Planted(natural.network, natural.folded, natural, found)
        shown = np.concatenate([found.point[None], image[None], corners(image, 8, 20, rng)])
        assert np.abs(found.point.astype(int) - image.astype(int)).max() <= 8
        exact = exact_rates(natural, shown) @ found.weight + found.bias
        assert exact[0] == pytest.approx(1, abs=1e-6) and exact[1] < 0
        logits = planted.twin.logits(shown)
        np.testing.assert_allclose(logits[:, 1], exact, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(logits.argmax(axis=1), planted.predictions(shown))


def test_images_that_only_the_twin_gets_wrong_take_part_in_targeted_walks():
    """A float32 twin may answer otherwise than the exact network, before any attack."""
    rng = np.random.default_rng(0)

    def made(seed):
        other = np.random.default_rng(seed).standard_normal((10, 24)).astype(np.float32)
        nodes = (
            floats.Flatten("flat"),
            floats.Linear("fc", first, None),
            floats.Lif("lif", 0.9, 1.0),
            floats.Linear("last", last + np.float32(0.2) * other, None),
            floats.Readout("out"),
        )
        return floats.FloatNetwork("mlp", (1, 4, 4), 4, nodes)

    first = rng.standard_normal((24, 16)).astype(np.float32)
    last = rng.standard_normal((10, 24)).astype(np.float32)
    victim = Victim(made(1), fold(made(2)))
    x = rng.integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)
    y = victim.predictions(x)
    apart = (victim.twin.logits(x).argmax(axis=1) != y).sum()
    assert 0 < apart < 30
    estimator = Estimator(0.425, "detached", "assg")
    members = tuple(
        Member(SAPGD(0, steps=3, loss=loss, targets=2), estimator)
        for loss in ("margin", "targeted-margin")
    )
    found = examine(victim, Suite("s", 1, members), x, y, [40])
    assert found.samples == 30 and sum(found.left) < 30


def test_no_plant_without_a_hidden_layer():
    weight = np.random.default_rng(0).standard_normal((10, 64)).astype(np.float32)
    nodes = (floats.Flatten("flat"), floats.Linear("fc", weight, None), floats.Readout("out"))
    network = floats.FloatNetwork("linear", (1, 8, 8), 2, nodes)
    victim = Victim(network, fold(network))
    assert hidden(victim.twin) == ()
    x = np.random.default_rng(1).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
    found = examine(victim, SHORTER, x, victim.predictions(x), RADII)
    assert found.planted.images == 0 and found.unplanted == 4
    active = judge_examined("n", found).assertions[8]
    assert active.name.startswith("active") and active.state == "open"


def test_what_has_no_twin_says_so(natural):
    last = floats.Readout("out", "first")
    lif = floats.Lif("end", 0.99, 1.0)
    network = replace(natural.network, nodes=(*natural.network.nodes[:-1], lif, last))
    found = examine(Victim(network, fold(network)), SHORTER, *images(4), RADII)
    assert "first spike" in found.why_not and "\n" not in found.why_not
    assert judge_examined("n", found).assertions == []


def test_the_naive_attack_stays_in_the_ball(natural):
    x, y = images(8)
    found = naive_pgd(natural, x, y, 8, naive_draws(0, 8, np.arange(len(x)), x.shape[1:]))
    assert np.abs(found.astype(int) - x.astype(int)).max() == 8


def test_the_same_seed_gives_the_same(natural):
    first, second = (examine(natural, SHORTER, *images(3), RADII, seed=3) for _ in range(2))
    assert first == second


# --- networks that hide --------------------------------------------------------------------------


def test_logit_scaling_blinds_pgd_7_and_nothing_else(natural):
    victim = masked._victim(masked.scaled_logits(natural.network))
    x, _ = images(24)
    np.testing.assert_array_equal(victim.predictions(x), natural.predictions(x))
    one = judged(victim)
    # A softmax that is certain has no gradient: what falls, falls to the random start.
    assert one.naive >= np.mean(one.examined.clean) - 0.05
    assert one.left < 0.2 and one.misleading > 60 and not one.violations


def test_a_shattered_threshold_hardly_changes_the_function(natural):
    network = masked.shattered_threshold(natural.network)
    x, _ = images(200)
    same = masked._victim(network).predictions(x) == natural.predictions(x)
    assert same.mean() > 0.9


def test_random_coding_is_told_from_robustness(natural):
    victim = masked.RandomCoding(natural.network, natural.folded)
    assert states(judged(victim, count=16))["stable"] == "violated"


def test_a_walk_survives_gradients_whose_squares_overflow(natural):
    network = masked.scaled_logits(natural.network, 1e12)
    member = Member(SAPGD(0, steps=5), Estimator(0.25, "attached"))
    x, y = images(8)
    with np.errstate(all="raise", under="ignore"):
        broken, _ = Suite("s", 1, (member,)).run(masked._victim(network), x, y, [8])
    assert broken.images.shape == (1, *x.shape)


@pytest.mark.parametrize("name", ["saturated surrogate", "detached reset"])
def test_a_network_trained_to_hide_is_flagged(name):
    one = masked.judge_masked(masked.kinds()[name](), SP_QUICK_1, 100)
    assert one.masking or one.violations, masked.row(name, one)
    assert one.left < one.naive
    clean = sum(one.examined.clean) / one.examined.samples
    assert masked.row(name, one).startswith(f"| {name} | {100 * clean:.0f} | {100 * one.naive:.0f}")


def test_the_documented_table_has_a_line_for_every_kind():
    page = (Path(__file__).parents[3] / "docs" / "robustness.md").read_text()
    assert [name for name in masked.kinds() if f"| {name} |" not in page] == []
