"""Turn a report into tables: plain text cells that templates and the card lay out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spikeproof.attacks.weak import TRANSFER
from spikeproof.attacks.worst_case import WORST_CASE
from spikeproof.document import numbers as n
from spikeproof.document.shown import Head, Line, Table, by_columns, lines
from spikeproof.engines.reference import ReferenceEngine
from spikeproof.report.charts import forest, forest_scale
from spikeproof.verify.accuracy_rows import AccuracyRow
from spikeproof.verify.checks.accuracy import Accuracy, attacks_by_bound
from spikeproof.verify.checks.base import Check
from spikeproof.verify.checks.overflow import used_share
from spikeproof.verify.checks.response import Response
from spikeproof.verify.config import MppdLimits
from spikeproof.verify.document import Report


def attack_name(row: AccuracyRow) -> str:
    """Return the perturbation, and beside an attack that its accuracy is no more than a bound."""
    return f"{row.perturbation} ({row.bound_note})" if row.bound_note else row.perturbation


def accuracy_notes(rows: Sequence[AccuracyRow]) -> list[str]:
    """Say what accuracies under attack do not show: robustness, and a more robust chip."""
    bounds = attacks_by_bound(rows)
    crafted = [r for r in rows if r.bound_note and r.part != WORST_CASE]
    notes = [
        f"Accuracy under {'attack' if len(bounds) == 1 else names} is an {bound}; "
        "stronger attacks leave less."
        for bound, names in bounds.items()
    ]
    if any((n.finite(r.difference) or 0.0) > 0 for r in crafted):
        notes.append(TRANSFER)
    return notes


def accuracy_table(report: Report) -> Table:
    """Compare accuracies before and after, one row per perturbation and strength."""
    rows = report.result(Accuracy).rows
    scale = forest_scale(rows)
    plots = {id(r): forest(f"forest-{i}", r, scale) for i, r in enumerate(rows)}
    return by_columns(
        "Accuracy of the trained network and of the chip network",
        rows,
        (Head("perturbation", "name"), attack_name),
        (Head("strength", unit="1/255"), lambda r: n.anything(r.strength)),
        (Head("images"), lambda r: n.integer(r.samples)),
        (Head("trained, clean", unit="%"), lambda r: n.accuracy(r.clean_float_accuracy)),
        (Head("trained", unit="%"), lambda r: n.accuracy(r.float_accuracy)),
        (Head("chip", unit="%"), lambda r: n.accuracy(r.chip_accuracy)),
        (Head("chip \N{MINUS SIGN} trained", unit="points"), lambda r: n.points(r.difference)),
        (Head("interval", unit="points"), lambda r: n.interval(r.ci, n.points)),
        (Head("equivalence band", "plot"), lambda r: plots[id(r)]),
        (Head("TOST", "verdict"), lambda r: str(r.tost)),
        (Head("McNemar p"), lambda r: n.p_value(r.mcnemar_p)),
        (
            Head("right only trained / chip", unit="images"),
            lambda r: f"{n.integer(r.only_float)} / {n.integer(r.only_chip)}",
        ),
    )


def mppd_table(report: Report) -> Table:
    """Compare how membranes respond, one row per perturbation and layer, limits in the head."""
    response = report.result(Response)
    median, p99, rank, ratio = _limits(response.limits)
    return by_columns(
        "MPPD of the chip network against the trained network, per perturbation and layer",
        [(attack.name, layer) for attack in response.attacks for layer in attack.layers],
        (Head("layer", "name"), lambda r: r[1].name),
        (Head("images"), lambda r: n.integer(r[1].samples)),
        (
            Head("median difference", unit=_limited("%", median, "≤")),
            lambda r: n.percent(r[1].median_rel_diff, 2),
        ),
        (
            Head("99th percentile", unit=_limited("%", p99, "≤")),
            lambda r: n.percent(r[1].p99_rel_diff, 2),
        ),
        (
            Head("rank correlation", unit=_limited("", rank, "≥")),
            lambda r: n.fixed(r[1].spearman, 4),
        ),
        (
            Head("energy, chip / trained", unit=_limited("", ratio, "")),
            lambda r: n.fixed(r[1].ratio, 4),
        ),
        (Head("interval"), lambda r: n.interval(r[1].ratio_ci, lambda v: n.fixed(v, 4))),
        (Head("median cosine", unit="no limit"), lambda r: n.fixed(r[1].direction, 4)),
        (Head("verdict", "verdict"), lambda r: str(r[1].verdict)),
        group=lambda r: r[0],
    )


def _limits(limits: MppdLimits | None) -> tuple[str, str, str, str]:
    """Write the limits of V5: median, 99th percentile, rank correlation, ratio of energies."""
    if limits is None:
        return (n.MISSING,) * 4
    median, p99 = (n.percent(v, 0) for v in (limits.median_difference, limits.p99_difference))
    low, high = limits.ratio
    return median, p99, f"{limits.spearman:g}", f"{low:g} to {high:g}"


def _limited(unit: str, limit: str, sign: str) -> str:
    """Add a limit to a unit; unchanged where the report does not tell it."""
    if limit == n.MISSING:
        return unit
    told = f"limit {sign} {limit}" if sign else f"limit {limit}"
    return f"{unit}, {told}" if unit else told


def energy_table(report: Report) -> Table:
    """List the perturbation energy at every timestep (the text form of the energy charts)."""
    steps, rows = 0, []
    for attack in report.result(Response).attacks:
        for entry in attack.layers:
            for side, track in (("trained", entry.energy.trained), ("chip", entry.energy.chip)):
                steps = max(steps, len(track))
                if track:
                    cells = (entry.name, side, *(n.significant(v) for v in track))
                    rows.append(Line(cells, group=attack.name))
    times = tuple(Head(f"t = {t}") for t in range(steps))
    head = (Head("layer", "name"), Head("network", "text"), *times)
    full = tuple(Line(r.cells + (n.MISSING,) * (len(head) - len(r.cells)), r.group) for r in rows)
    return Table("Perturbation energy at each timestep", head, full)


def check_table(report: Report) -> Table:
    """List every check with all its figures and its run time."""
    return by_columns(
        "Every check of this run",
        sorted(report.checks, key=check_order),
        (Head("id", "name"), lambda c: c.id),
        (Head("check", "text"), lambda c: c.title),
        (Head("kind", "text"), lambda c: c.kind),
        (Head("figures", "text"), _figures),
        (Head("time", unit="s"), lambda c: n.fixed(n.finite(report.timing.get(c.id)), 1)),
        (Head("verdict", "verdict"), lambda c: str(c.verdict)),
    )


def _figures(check: Check) -> str:
    """Write out all figures; two engines that were compared become one sentence."""
    figures = check.listed
    told = []
    if figures.get("engine") and figures.get("reference") == ReferenceEngine.name:
        del figures["reference"]
        told.append(f"Compared: {figures.pop('engine')} against the reference simulator")
        if "compared" in figures:
            figures = {"values": figures.pop("compared"), **figures}
    told += [f"{k.replace('_', ' ')} {_brief(n.anything(v))}" for k, v in figures.items()]
    return ", ".join(told) or n.MISSING


def _brief(value: str) -> str:
    """Cut a hash; all of it stands under provenance."""
    return f"{value[:12]}…" if len(value) >= 40 and " " not in value else value


def check_order(check: Check) -> tuple[int, str]:
    """Return the sort key that puts V2 before V13."""
    digits = check.id[1:]
    return (int(digits) if digits.isascii() and digits.isdigit() else 1_000, check.id)


def quantisation_table(report: Report) -> Table:
    """List what became of each layer's numbers."""
    return by_columns(
        "From trained parameters to chip integers",
        report.network.layers,
        (Head("layer", "name"), lambda r: r.layer),
        (Head("kind", "text"), lambda r: r.kind),
        (Head("neuron", "text"), lambda r: r.neuron),
        (Head("inputs"), lambda r: n.anything(r.inputs)),
        (Head("neurons"), lambda r: n.anything(r.neurons)),
        (Head("synapses"), lambda r: n.integer(r.synapses)),
        (Head("weight bits"), lambda r: n.anything(r.weight_bits)),
        (Head("scale"), lambda r: n.anything(r.scale)),
        (Head("clipped", unit="%"), lambda r: n.rate(r.clipped_share)),
        (Head("threshold"), lambda r: n.anything(r.threshold)),
        (Head("decay", unit="of 4096"), lambda r: n.anything(r.dv)),
        (Head("bias exponent"), lambda r: n.anything(r.bias_exponent)),
        (Head("flips in calibration", unit="%"), lambda r: n.rate(r.flip_rate_calibration)),
    )


def range_table(report: Report, proved: Table) -> Table:
    """List the worst-case range of each layer: as proved, else as converted."""
    converted = [
        (
            r.layer,
            n.integer(r.sum_bound),
            n.MISSING,
            n.integer(r.v_low),
            n.integer(r.v_high),
            used_share(r.headroom_bits),
            n.MISSING,
        )
        for r in report.network.layers
        if r.v_high is not None or r.sum_bound is not None
    ]
    return proved or replace(proved, rows=lines(converted))
