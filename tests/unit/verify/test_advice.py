"""The number of images a reason names is what the statistics need, not a guess."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verified import verified

from spikeproof.document.values import dump
from spikeproof.engines.self_test import make_bundle
from spikeproof.io.known import DataRecord
from spikeproof.io.record import TableRow
from spikeproof.reasons import Request, request_text
from spikeproof.verify import statistics as st
from spikeproof.verify.advice import (
    CONVERSION,
    Needed,
    Supply,
    conversion_advice,
    image_request,
    images_needed,
    more_images,
)
from spikeproof.verify.plausible import useless_images
from spikeproof.verify.verdict import Verdict


def _quantile(above: int, used: int, share: float = 0.01) -> Callable[[int], Verdict]:
    def at(images: int) -> Verdict:
        count = math.ceil(above * images / used)
        if st.share_below(count, images, share) <= 0.05:
            return Verdict.PASS
        return (
            Verdict.FAIL if st.share_above(count, images, share) <= 0.05 else Verdict.INCONCLUSIVE
        )

    return at


@pytest.mark.parametrize("used", [20, 100, 298])
def test_a_99th_percentile_without_exceptions_needs_299_images(used: int) -> None:
    """1 - .05 ** (1 / n) <= .01 from n = 299 on."""
    needed = images_needed(_quantile(0, used), used)
    assert needed is not None and (needed.images, needed.would) == (299, "pass")


def test_what_is_named_decides_and_one_image_less_does_not() -> None:
    at = _quantile(2, 600)
    needed = images_needed(at, 600)
    assert needed is not None and needed.would == "pass"
    assert at(needed.images) is Verdict.PASS
    assert at(needed.images - 1) is Verdict.INCONCLUSIVE


def test_images_that_would_show_a_failure_are_counted_as_such() -> None:
    needed = images_needed(_quantile(2, 100), 100)
    assert needed is not None and needed.would == "fail"


def test_a_rate_equal_to_its_limit_is_never_decided() -> None:
    assert images_needed(_quantile(10, 1000), 1000) is None


def test_equivalence_within_a_margin_agrees_with_the_textbook() -> None:
    """N = (z + z)^2 q / delta^2 for power .5 is z^2 q / delta^2: balanced discordant pairs."""
    used, only, margin = 200, 10, 0.02

    def at(images: int) -> Verdict:
        count = math.ceil(only * images / used)
        return st.tost(st.PairedCounts(images, count, count), margin).verdict

    needed = images_needed(at, used)
    assert needed is not None
    assert needed.images == pytest.approx(1.645**2 * 0.1 / margin**2, rel=0.05)


PASSES = Needed(445, "pass")


def test_images_that_only_show_a_failure_are_not_asked_for() -> None:
    told = more_images(Needed(55_603, "fail"), Supply(1000, 1000, {"pgd": 300}), "pgd")
    assert "point to a failure" in told and CONVERSION in told
    assert "55" not in told and "--set" not in told


def test_a_limit_of_ones_own_is_named_as_the_cause() -> None:
    told = more_images(PASSES, Supply(300, 1000, {"fgsm": 1000}), "fgsm")
    assert "--limit 445 (there were 300 because of --limit)" in told
    assert "--data" not in told and "--set" not in told
    narrow = more_images(PASSES, Supply(300, 1000, {"pgd": 300}), "pgd")
    assert "--limit 445 --set samples.pgd=445" in narrow
    short = more_images(Needed(1791, "pass"), Supply(300, 1000, {"pgd": 300}), "pgd")
    assert "there were 300 of 1,000 because of --limit" in short


def test_a_setting_that_would_not_grow_is_not_advised() -> None:
    told = more_images(PASSES, Supply(300, 300, {"fgsm": 1000}), "fgsm")
    assert told == "Give at least 445 images (verify --data; there were 300)."
    both = more_images(PASSES, Supply(300, 300, {"pgd": 300}), "pgd")
    assert both.endswith("and use them: verify --set samples.pgd=445.")
    more = more_images(PASSES, Supply(1000, 1000, {"pgd": 300}), "pgd")
    assert more == "Use more of the 1,000 images at hand: verify --set samples.pgd=445."


def _asks(part: str, needed: int, given: int, held: int, asked: int) -> Request:
    return Request(part=part, needed=needed, given=given, held=held, asked=asked)


def test_requests_for_one_option_become_the_larger_one() -> None:
    """The same option twice, with two numbers, is one number too many."""
    at_hand = [_asks("pgd", n, 2000, 2000, 300) for n in (445, 1791)]
    at_hand.append(_asks("fgsm", 500, 2000, 2000, 300))
    assert request_text(at_hand) == (
        "Use more of the 2,000 images at hand: verify --set samples.pgd=1791 "
        "--set samples.fgsm=500."
    )
    in_the_file = [_asks("pgd", 445, 100, 1000, 300), _asks("fgsm", 299, 100, 1000, 300)]
    assert request_text(in_the_file) == (
        "Use at least 445 of the 1,000 images in the file: verify --limit 445 "
        "--set samples.pgd=445 (there were 100 because of --limit)."
    )
    anew = [_asks("accuracy", n, 100, 100, 1000) for n in (299, 445)]
    anew.append(_asks("pgd", 80, 100, 100, 60))
    assert request_text(anew) == (
        "Give at least 445 images (verify --data; there were 100) and use them: verify "
        "--set samples.pgd=80."
    )


def test_repeated_images_are_not_blamed_on_a_limit() -> None:
    """The file holds 797, all black: one is left, and no --limit changes that."""
    supply = Supply(1, 797, {"fgsm": 1000}, repeated=796)
    told = more_images(Needed(299, "pass"), supply, "fgsm")
    assert "--limit" not in told
    assert "at least 299 different images" in told
    assert "there was 1 different one, and 796 that repeat it" in told


def test_what_convert_tried_or_has_done_is_not_advised_again() -> None:
    def row(**told: object) -> TableRow:
        known = dict.fromkeys(TableRow.model_fields) | {"coding_flip_rates": {}}
        known |= {"layer": "l1", "kind": "", "neuron": "", "coding": "bias"}
        return TableRow.model_validate(known | told)

    both = conversion_advice([row(coding_flip_rates={"bias": 0.1, "graded": 0.2})], 512, 8)
    assert "--input-coding" not in both and "of both input codings it chose bias" in both
    assert "convert --calibration-samples; it used the first 512 of the file" in both
    assert "--weight-bits" not in both
    one = conversion_advice([row(coding_flip_rates={"bias": 0.1})], 64, 4)
    assert "the other input coding (convert --input-coding graded; it used bias)" in one
    assert "convert --weight-bits 8; it used 4" in one and "the first 64" in one


@pytest.mark.parametrize(
    ("samples", "held", "told"),
    [
        (512, 64, "it used all 64 of the file: give a file with more, convert --calibration)"),
        (512, 512, "give a file with more, convert --calibration, and --calibration-samples)"),
        (512, 60_000, "(convert --calibration-samples; it used the first 512 of 60,000)"),
        (512, 1, "it used the only one of the file: give a file with more"),
    ],
)
def test_more_samples_are_not_advised_than_the_calibration_file_holds(
    samples: int, held: int, told: str
) -> None:
    advice = conversion_advice([], samples, 8, held)
    assert told in advice
    assert ("--calibration-samples" in advice) is (samples <= held)


def test_a_failure_knows_how_many_calibration_images_the_file_held(
    case: Any, config: Any, with_layer: Any, perturb: Any, tmp_path: Path
) -> None:
    out = case.bundle.network.layers[-1].synapse
    weight = (-out.weight).astype(np.int16)
    wrong = with_layer(case.bundle.network, "out", "synapse", weight=weight)
    document = dict(case.bundle.record.document)
    data = dump(DataRecord(samples=32, held=32))
    document["calibration"] = {**document["calibration"], "data": data}
    broken = replace(case, bundle=make_bundle(wrong, document, case.x[:2]))
    report = verified(broken, config, tmp_path, perturb=perturb)
    reasons = next(c for c in report["checks"] if c["id"] == "V7")["reasons"]
    assert "it used all 32 of the file: give a file with more" in reasons[0]["try"]


def test_images_that_can_show_nothing_are_not_asked_for() -> None:
    supply = Supply(1, 200, {"pgd": 300}, 199, useless=useless_images(np.zeros((1, 1, 2, 2)), 199))
    for needed in (None, Needed(299, "pass"), Needed(299, "fail")):
        told = more_images(needed, supply, "pgd")
        assert told.startswith("All 200 images are black") and "--data" in told
        assert "--set" not in told and image_request(needed, supply, "pgd") is None
    assert useless_images(np.arange(8).reshape(1, 1, 2, 4), 3).startswith("All 4 images are equal")
    assert useless_images(np.arange(8).reshape(1, 1, 2, 4)) == ""
    assert "blank" in useless_images(np.full((1, 1, 2, 2), 7))
