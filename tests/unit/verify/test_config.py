"""Settings: shipped suites, overrides, and mistakes that are explained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from spikeproof.attacks.weak import WEAK
from spikeproof.errors import InputError
from spikeproof.verify.config import SUITES, config_model, load_config


@pytest.mark.parametrize("suite", SUITES)
def test_shipped_suites_load(suite: str) -> None:
    found = load_config(suite)
    assert found.suite == suite and found.lava_samples >= 20
    assert found.resolved()["mppd"]["ratio"] == [0.95, 1.05]
    assert len(found.perturbations.gaussian) >= 3
    assert found.worst_case.suite.startswith("sp-") and found.worst_case.epsilons == (2, 4, 8)


def test_the_suites_of_attacks_are_named_alike() -> None:
    found = [load_config(suite).worst_case.suite for suite in SUITES]
    assert found == [f"sp-{suite}-1" for suite in SUITES]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("worst_case.suite=sp-quick-9", "no suite 'sp-quick-9'; did you mean 'sp-quick-1'"),
        ("worst_case.epsilons=[8, 8]", "names a radius twice"),
        ("worst_case.epsilons=[0.03]", "worst_case.epsilons.0"),
        ("worst_case.epsilons=[256]", "worst_case.epsilons.0"),
    ],
)
def test_a_worst_case_that_cannot_be_is_refused(change: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        load_config("quick", changes=[change])


def test_radii_come_in_order_and_none_switches_the_attacks_off() -> None:
    assert load_config(changes=["worst_case.epsilons=[8, 2]"]).worst_case.epsilons == (2, 8)
    assert load_config(changes=["worst_case.epsilons=[]"]).worst_case.epsilons == ()


def test_user_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[margins]\nclean = 0.5\n")
    found, shipped = load_config("quick", path), load_config("quick")
    assert found.margins.clean == 0.5
    assert found.margins.pgd == shipped.margins.pgd
    assert found.samples == shipped.samples


def test_single_settings_are_changed_by_name() -> None:
    changes = ("samples.pgd=1000", "mppd.ratio=[0.9, 1.1]", "engine=fast", "perturbations.fgsm=[8]")
    found, shipped = load_config("quick", changes=changes), load_config("quick")
    assert found.samples.pgd == 1000 and found.samples.fgsm == shipped.samples.fgsm
    assert found.mppd.ratio == (0.9, 1.1)
    assert (found.engine, found.perturbations.fgsm) == ("fast", (8,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("samples.pgd", "expected SETTING=VALUE"),
        ("=3", "expected SETTING=VALUE"),
        ("clean=0.01", "unknown setting 'clean'; did you mean 'margins.clean'"),
        ("samples.p99_difference=1", "did you mean 'mppd.p99_difference'"),
        ("pgd=3", "'samples.pgd', 'perturbations.pgd' or 'margins.pgd'"),
        ("samples=3", "samples: is a table of settings"),
        ("samples.pdg=3", "did you mean 'samples.pgd'"),
        ("samples.pgd=many", "samples.pgd: .*found 'many'"),
        ("samples=3", "samples: "),
        ("alpha.x=3", "alpha: "),
        ("samples.pgd=true", "samples.pgd: must be a whole number"),
        ("samples.pgd=300.0", "samples.pgd: must be a whole number"),
        ("perturbations.gaussian=[true]", "perturbations.gaussian.0: must be a number"),
        ("suite=standard", "suite cannot be changed"),
        ("version=9", "version cannot be changed"),
        ("samples.pgd=3\nalpha=0.4", "one line"),
    ],
)
def test_a_change_that_makes_no_sense_is_explained(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_config("quick", changes=[change])
    assert "--set" in str(caught.value)


def _numbers(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting that is a number, or a list of numbers, with a shipped value."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _numbers(kind, f"{prefix}{name}.")
        elif kind is not str and name != "version":
            yield f"{prefix}{name}", kind


@pytest.mark.parametrize(("key", "kind"), list(_numbers(config_model())))
@pytest.mark.parametrize(
    "value", ["1e300", "100000000000000000000", "1e-320", "-1e9", "nan", "inf"]
)
def test_every_number_has_two_ends(key: str, kind: Any, value: str) -> None:
    """What no run could use is found before one starts, whichever setting it is."""
    if (key, value) == ("mppd.spearman", "1e-320"):
        return  # a rank correlation may be asked to be above 0
    length = len(get_args(kind)) if get_origin(kind) is tuple else 0
    told = f"[{', '.join([value] * max(length, 1))}]" if length else value
    with pytest.raises(InputError, match=key.replace(".", r"\.")) as caught:
        load_config("quick", changes=[f"{key}={told}"])
    assert "found" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["mppd.resamples=100001"], "mppd.resamples: must be at most 100,000"),
        (["alpha=1e-320"], "alpha: must be at least 0.0001"),
        (["alpha=0.001"], "alpha 0.001 needs mppd.resamples of at least 10,000 "),
        (["perturbations.pgd=[8, 8]"], "perturbations.pgd names a strength twice"),
        (["perturbations.gaussian=[4.0001, 4.0002]"], "perturbations.gaussian names a strength tw"),
    ],
)
def test_settings_that_no_run_could_use_are_refused(changes: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config("quick", changes=changes)
    assert load_config("quick", changes=["alpha=0.001", "mppd.resamples=10000"]).alpha == 0.001


def test_unknown_keys_are_named_with_a_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('seeed = 1\n[margins]\ncleen = 0.5\n[samples]\npgd = "many"\n')
    with pytest.raises(InputError) as caught:
        load_config("quick", path)
    text = str(caught.value)
    assert "did you mean 'seed'" in text and "did you mean 'margins.clean'" in text
    assert "samples.pgd" in text and "mine.toml" in text


@pytest.mark.parametrize(
    "body",
    [
        "alpha = 0.7",
        "[mppd]\nratio = [1.1, 1.2]",
        "lava_samples = 0",
        "[margins]\nfgsm = -1",
        "margins = 3",
        "not toml at all =",
        "[perturbations]\nfgsm = [0.5]",
        "[perturbations]\npgd = [2.5]",
        "[perturbations]\nfgsm = [0]",
        "[perturbations]\nsurrogate_widths = [0.25]",
        "[perturbations]\npgd_steps = 2",
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, body: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(body + "\n")
    with pytest.raises(InputError, match=r"mine\.toml"):
        load_config("quick", path)


def test_unknown_suite_lists_those_there_are() -> None:
    with pytest.raises(InputError, match=r"Suites: quick, standard, rigorous\."):
        load_config("slow")
    with pytest.raises(InputError, match="now called 'standard'"):
        load_config("full")


def test_options_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('engine = "lava"\n')
    assert load_config("quick", path, engine="fast", seed=None).engine == "fast"


def test_suites_share_one_attack_which_no_setting_changes() -> None:
    """Else two figures of one network under "PGD-20 at 8/255" need not agree."""
    described = [load_config(suite).resolved()["attack"] for suite in SUITES]
    assert all(found == WEAK.describe() for found in described)
    assert (WEAK.members[0].width, WEAK.members[0].reset) == (WEAK.control.width, "detached")
    assert WEAK.control.reset == "attached"


def test_a_file_cannot_take_the_name_of_a_shipped_suite(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('suite = "standard"\nversion = 2\n')
    with pytest.raises(InputError, match="suite and version cannot be changed") as caught:
        load_config("quick", path)
    assert "mine.toml" in str(caught.value)


def test_a_suite_with_changed_settings_says_so() -> None:
    assert [load_config(suite).resolved()["title"] for suite in SUITES] == list(SUITES)
    found = load_config("quick", changes=["samples.pgd=1000", "mppd.ratio=[0.9, 1.1]"])
    assert found.title == "quick, changed: samples.pgd=1000, mppd.ratio=[0.9, 1.1]"
    assert load_config("quick", changes=["samples.pgd=300"]).title == "quick"
