"""Charts carry their data, describe themselves, and survive empty or odd input."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import pytest

from spikeproof.attacks.weak import WEAK
from spikeproof.report.charts import accuracy_curves, forest, forest_scale
from spikeproof.report.charts_membrane import energy_curves, mppd_residuals, residuals
from spikeproof.report.charts_rows import bits_used, flip_rows, headroom_bars, margin_rows
from spikeproof.report.svg import Scale, linear_ticks, log_ticks, tick_labels
from spikeproof.verify.accuracy_rows import AccuracyRow
from spikeproof.verify.certificate import RangeLayer
from spikeproof.verify.checks.accuracy import Accuracy
from spikeproof.verify.checks.errors import LayerErrors
from spikeproof.verify.checks.overflow import Ranges
from spikeproof.verify.checks.response import AttackMatch, Response
from spikeproof.verify.checks.threshold import Boundary
from spikeproof.verify.config import MppdLimits
from spikeproof.verify.document import Report, parse_report
from spikeproof.verify.layer_match import Cloud

Make = Callable[..., dict[str, Any]]
LIMITS = MppdLimits(
    median_difference=0.02, p99_difference=0.1, spearman=0.95, ratio=(0.95, 1.05), resamples=200
)


def accuracy_row(perturbation: str, strength: int, right: float, **more: Any) -> AccuracyRow:
    """Make a row of both networks being right equally often."""
    usual = {
        "samples": 1000,
        "float_accuracy": right,
        "chip_accuracy": right,
        "difference": 0.0,
        "ci": (-0.01, 0.01),
        "margin": 0.02,
        "tost": "pass",
        "mcnemar_p": 1.0,
        "only_float": 0,
        "only_chip": 0,
        "float_ci": (right - 0.02, right + 0.02),
        "chip_ci": (right - 0.02, right + 0.02),
    }
    named = {"perturbation": perturbation, "strength": strength}
    return AccuracyRow.model_validate(usual | named | more)


def match_layer(scatter: Any, energy: Any) -> AttackMatch:
    """Make one layer under one perturbation."""
    layer = {
        "name": "l1",
        "samples": 9,
        "median_rel_diff": 0.0,
        "p99_rel_diff": 0.0,
        "spearman": None,
        "direction": None,
        "ratio": None,
        "ratio_ci": None,
        "would_pass": None,
        "scatter": scatter,
        "energy": energy,
        "verdict": "info",
    }
    return AttackMatch.model_validate({"name": "a", "layers": [layer]})


def all_charts(report: Report) -> list[str]:
    rows = report.result(Accuracy).rows
    attacks = report.result(Response).attacks
    found = [*accuracy_curves(rows), *mppd_residuals(attacks, LIMITS), *energy_curves(attacks)]
    found += [
        c
        for c in (
            flip_rows(report.result(LayerErrors).layers),
            margin_rows(report.result(Boundary).layers),
            headroom_bars(report.result(Ranges).layers),
        )
        if c is not None
    ]
    return [c.svg for c in found] + [forest("f", r, forest_scale(rows)) for r in rows]


def test_every_chart_is_wellformed_and_described(make_report: Make) -> None:
    drawn = all_charts(parse_report(make_report()))
    assert len(drawn) == 4 + 2 + 2 + 3 + 7  # families, two for each layer, rows, perturbations
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert len(root.findtext("title", "")) > 5
        assert len(root.findtext("desc", "")) > 5
        labelled = root.get("aria-labelledby", "").split()
        assert {e.get("id") for e in root if e.get("id")} == set(labelled)
        assert "nan" not in svg
        assert "inf" not in svg.lower().replace("information", "")


def test_numbers_stay_inside_the_drawing(make_report: Make) -> None:
    for svg in all_charts(parse_report(make_report("fail"))):
        root = ElementTree.fromstring(svg)
        width = float(root.get("viewBox", "").split()[2])
        for item in root.iter("circle"):
            assert 0 <= float(item.get("cx", "-1")) <= width


def test_accuracy_starts_every_family_at_the_clean_point(make_report: Make) -> None:
    charts = accuracy_curves(parse_report(make_report()).result(Accuracy).rows)
    bound = WEAK.bound
    told = [(c.caption, c.note) for c in charts]
    worst = "upper bound: sp-quick-1"
    assert told == [("worst case", worst), ("gaussian", ""), ("fgsm", bound), ("pgd-20", bound)]
    for chart in charts:
        assert "at 0/255 trained 100.00 %" in chart.svg
        assert "accuracy, % (linear)" in chart.svg
        strengths = 2 if chart.caption in ("gaussian", "worst case") else 1
        assert len(ElementTree.fromstring(chart.svg).findall(".//rect")) == 1 + strengths


def test_the_naive_figure_is_a_curve_of_its_own_beside_the_worst_case(make_report: Make) -> None:
    rows = parse_report(make_report()).result(Accuracy).rows
    worst, noise, *_ = accuracy_curves(rows)
    assert "s-naive" in worst.svg and "s-naive" not in noise.svg
    naive = next(row.naive_accuracy for row in rows if row.naive_accuracy is not None)
    assert f"naively {100 * naive:.2f} %" in worst.svg


def test_a_curve_starts_at_the_clean_accuracy_on_its_own_images() -> None:
    """Clean on 1 000 images joined with noise on the first 400 made noise seem to help."""
    rows = [
        accuracy_row("clean", 0, 0.80),
        accuracy_row(
            "gaussian",
            8,
            0.85,
            samples=400,
            clean_float_accuracy=0.87,
            clean_chip_accuracy=0.86,
            clean_float_ci=(0.84, 0.99),
            clean_chip_ci=(0.83, 0.90),
        ),
    ]
    (chart,) = accuracy_curves(rows)
    assert "at 0/255 trained 87.00 %, chip 86.00 %" in chart.svg
    assert "80.00 %" not in chart.svg
    for item in ElementTree.fromstring(chart.svg).iter("line"):
        assert 0 <= float(item.get("y1", "0")) <= 228  # the clean interval is inside the axes


@pytest.mark.parametrize(("samples", "starts"), [(1000, True), (400, False)])
def test_an_older_report_joins_only_rows_of_equally_many_images(samples: int, starts: bool) -> None:
    rows = [
        accuracy_row(name, s, a, samples=n)
        for name, s, n, a in (("clean", 0, 1000, 0.80), ("gaussian", 8, samples, 0.85))
    ]
    (chart,) = accuracy_curves(rows)
    assert ("at 0/255" in chart.svg) == starts


def test_only_clean_accuracy_still_gives_a_chart() -> None:
    (chart,) = accuracy_curves([accuracy_row("clean", 0, 0.95)])
    ElementTree.fromstring(chart.svg)


@pytest.mark.parametrize("values", [[0.0, 0.0], [None, None], [1e-300, 1e300], [-1.0, 2.0], [5.0]])
def test_odd_clouds_are_drawn_or_left_out(values: list[float | None]) -> None:
    cloud = {"float": values, "chip": values}
    attacks = [match_layer(cloud, cloud)]
    for chart in [*mppd_residuals(attacks, LIMITS), *energy_curves(attacks)]:
        ElementTree.fromstring(chart.svg)
        assert not re.search(r"\b(nan|inf)\b", chart.svg)


def residual_chart(trained: list[float], chip: list[float]) -> str:
    scatter = {"float": trained, "chip": chip}
    attack = match_layer(scatter, {"float": [], "chip": []})
    (chart,) = mppd_residuals([attack], LIMITS)
    return str(chart.svg)


def test_a_residual_is_the_difference_in_per_cent_of_the_trained_value() -> None:
    assert residuals(Cloud(trained=[2.0, 1.0], chip=[1.5, 1.0])) == [(1.75, -25.0), (1.0, 0.0)]


def test_residuals_are_thinned_and_images_without_a_relative_difference_dropped() -> None:
    cloud = Cloud(trained=[0.0, *(float(i) for i in range(1, 1000))], chip=[1.0] * 999 + [None])
    kept = residuals(cloud)
    assert 100 < len(kept) <= 200
    assert kept[0] == (1.0, 0.0)


def test_limits_are_drawn_where_they_fit_and_told_where_they_do_not() -> None:
    wide, narrow = residual_chart([1.0, 2.0], [1.2, 2.0]), residual_chart([1.0, 2.0], [1.001, 2.0])
    assert wide.count("limit-most") == wide.count("limit-half") == 2
    assert "limit-most" not in narrow
    assert "The limits ±2 % and ±10 % lie outside the panel" in narrow


def test_axes_say_whether_they_are_linear_or_logarithmic() -> None:
    assert "θ (log)" in residual_chart([0.01, 1.0], [0.011, 1.0])
    even = residual_chart([0.9, 1.0], [0.91, 1.0])
    assert "θ (linear)" in even and "trained, % (linear)" in even


def test_a_readout_has_no_row_among_layers_whose_spikes_flip(make_report: Make) -> None:
    layers = parse_report(make_report()).result(LayerErrors).layers
    chart = flip_rows(layers, {"l2"})
    assert chart is not None
    assert ">l1<" in chart.svg and ">l2<" not in chart.svg


def test_headroom_shows_an_overflow() -> None:
    layer = RangeLayer(name="l1", v_high=2.0**24, v_low=0)
    assert bits_used(layer) == 24
    chart = headroom_bars([layer])
    assert chart is not None
    assert "1.0 bits too many" in chart.svg
    assert headroom_bars([RangeLayer(name="l1")]) is None


def test_ticks_are_round_and_inside() -> None:
    assert linear_ticks(0, 8, 4) == [0, 2, 4, 6, 8]
    assert linear_ticks(3, 3) == [3]
    for low, high in ((0.002, 0.3), (1e-5, 10), (1.0, 1.4), (0.11, 0.19)):
        ticks = log_ticks(low, high)
        assert all(low * 0.99 <= t <= high * 1.01 for t in ticks)
    assert tick_labels([1e-4, 1e-3, 1e-2]) == ["10⁻⁴", "10⁻³", "10⁻²"]
    assert tick_labels([0.003, 0.01, 0.03]) == ["0.003", "0.01", "0.03"]
    assert Scale(1, 1, 0, 10)(1) == 5
