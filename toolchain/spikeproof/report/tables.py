"""Turn a report into tables: plain text cells that templates and the card lay out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spikeproof.attacks.weak import TRANSFER
from spikeproof.document import numbers as n
from spikeproof.document.shown import Head, Line, Table, lines
from spikeproof.report.charts import forest, forest_scale
from spikeproof.verify.checks.accuracy import Accuracy, AccuracyRow
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
    attacked = [r for r in rows if r.bound_note]
    if not attacked:
        return []
    notes = [f"Accuracy under attack is an {attacked[0].bound_note}; stronger attacks leave less."]
    if any((n.finite(r.difference) or 0.0) > 0 for r in attacked):
        notes.append(TRANSFER)
    return notes


def accuracy_table(report: Report) -> Table:
    """Compare accuracies before and after, one row per perturbation and strength."""
    rows = report.result(Accuracy).rows
    scale = forest_scale(rows)
    head = (
        Head("perturbation", "name"),
        Head("strength", unit="1/255"),
        Head("images"),
        Head("trained, clean", unit="%"),
        Head("trained", unit="%"),
        Head("chip", unit="%"),
        Head("chip \N{MINUS SIGN} trained", unit="points"),
        Head("interval", unit="points"),
        Head("equivalence band", "plot"),
        Head("TOST", "verdict"),
        Head("McNemar p"),
        Head("right only trained / chip", unit="images"),
    )
    body = [
        (
            attack_name(r),
            n.anything(r.strength),
            n.integer(r.samples),
            *map(n.accuracy, (r.clean_float_accuracy, r.float_accuracy, r.chip_accuracy)),
            n.points(r.difference),
            n.interval(r.ci, n.points),
            forest(f"forest-{i}", r, scale),
            str(r.tost),
            n.p_value(r.mcnemar_p),
            f"{n.integer(r.only_float)} / {n.integer(r.only_chip)}",
        )
        for i, r in enumerate(rows)
    ]
    return Table("Accuracy of the trained network and of the chip network", head, lines(body))


def mppd_table(report: Report) -> Table:
    """Compare how membranes respond, one row per perturbation and layer, limits in the head."""
    response = report.result(Response)
    median, p99, rank, ratio = _limits(response.limits)
    head = (
        Head("layer", "name"),
        Head("images"),
        Head("median difference", unit=_limited("%", median, "≤")),
        Head("99th percentile", unit=_limited("%", p99, "≤")),
        Head("rank correlation", unit=_limited("", rank, "≥")),
        Head("energy, chip / trained", unit=_limited("", ratio, "")),
        Head("interval"),
        Head("median cosine", unit="no limit"),
        Head("verdict", "verdict"),
    )
    rows = [
        Line(
            (
                e.name,
                n.integer(e.samples),
                n.percent(e.median_rel_diff, 2),
                n.percent(e.p99_rel_diff, 2),
                n.fixed(e.spearman, 4),
                n.fixed(e.ratio, 4),
                n.interval(e.ratio_ci, lambda v: n.fixed(v, 4)),
                n.fixed(e.direction, 4),
                str(e.verdict),
            ),
            group=a.name,
        )
        for a in response.attacks
        for e in a.layers
    ]
    caption = "MPPD of the chip network against the trained network, per perturbation and layer"
    return Table(caption, head, tuple(rows))


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
    head = (
        Head("id", "name"),
        Head("check", "text"),
        Head("kind", "text"),
        Head("figures", "text"),
        Head("time", unit="s"),
        Head("verdict", "verdict"),
    )
    rows = [
        (
            c.id,
            c.title,
            c.kind,
            _figures(c),
            n.fixed(n.finite(report.timing.get(c.id)), 1),
            str(c.verdict),
        )
        for c in sorted(report.checks, key=check_order)
    ]
    return Table("Every check of this run", head, lines(rows))


def _figures(check: Check) -> str:
    """Write out all figures; two engines that were compared become one sentence."""
    figures = dict(check.figures)
    told = []
    if figures.get("engine") and figures.get("reference") == "reference":
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
    head = (
        Head("layer", "name"),
        Head("kind", "text"),
        Head("neuron", "text"),
        Head("inputs"),
        Head("neurons"),
        Head("synapses"),
        Head("weight bits"),
        Head("scale"),
        Head("clipped", unit="%"),
        Head("threshold"),
        Head("decay", unit="of 4096"),
        Head("bias exponent"),
        Head("flips in calibration", unit="%"),
    )
    rows = [
        (
            r.layer,
            r.kind,
            r.neuron,
            n.anything(r.inputs),
            n.anything(r.neurons),
            n.integer(r.synapses),
            n.anything(r.weight_bits),
            n.anything(r.scale),
            n.rate(r.clipped_share),
            n.anything(r.threshold),
            n.anything(r.dv),
            n.anything(r.bias_exponent),
            n.rate(r.flip_rate_calibration),
        )
        for r in report.network.layers
    ]
    return Table("From trained parameters to chip integers", head, lines(rows))


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
