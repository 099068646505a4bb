"""Turn measured items into checks: one verdict, one sentence, flat figures, and the data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from spikeproof.attacks.weak import TRANSFER, WEAK
from spikeproof.jobs.journal import Audit
from spikeproof.reasons import Reason, rounded, worst_first
from spikeproof.text import accuracy_text
from spikeproof.verify.accuracy import row_name
from spikeproof.verify.verdict import Verdict, combine

Json = dict[str, Any]


def check(
    identifier: str,
    title: str,
    kind: str,
    verdict: Verdict | str,
    summary: str,
    figures: Json,
    data: Json,
    reasons: Iterable[Reason] = (),
) -> Json:
    """Write one check in the form of the report.

    Args:
        identifier: V1, V2, ...
        title: what it claims, or measures.
        kind: proved, tested or measured.
        verdict: pass, fail, inconclusive, or info for a measurement.
        summary: one sentence.
        figures: flat numbers.
        data: what the report's tables and charts need.
        reasons: why it did not pass, at least one unless it passed.

    Raises:
        ValueError: the reasons do not give the verdict: none of a check that did not pass, or
            some that say otherwise. That is a defect of the check.
    """
    told = worst_first(list(reasons))
    given = str(combine(r.verdict for r in told)) if told else "none"
    if given != {"pass": "none", "info": "none"}.get(str(verdict), str(verdict)):
        raise ValueError(f"check {identifier} is {verdict}, but its reasons say {given}")
    return {
        "id": identifier,
        "title": title,
        "kind": kind,
        "verdict": str(verdict),
        "summary": summary,
        "figures": figures,
        "data": data,
        "reasons": [r.model_dump(mode="json", by_alias=True, exclude_none=True) for r in told],
    }


def _percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %"


def exact_check(measured: Json, engine: str) -> Json:
    """V1: the target against the reference, value by value."""
    row = next(r for r in measured["engines"] if r["name"] == engine)
    compared = sum(layer["values"] for layer in row["layers"])
    mismatches = sum(layer["mismatches"] for layer in row["layers"])
    samples = measured["samples"]
    where = f"in all but {mismatches:,} of {compared:,} values" if mismatches else "in every value"
    return check(
        "V1",
        "The target computes the specification, bit for bit",
        "tested",
        row["verdict"],
        f"On {samples} images {engine} agrees with the reference simulator {where} of u, v and s.",
        {
            "compared": compared,
            "mismatches": mismatches,
            "samples": samples,
            "engine": engine,
            "reference": "reference",
        },
        {"layers": row["layers"]},
        _unequal_layers(row, samples),
    )


def _unequal_layers(row: Json, samples: int) -> list[Reason]:
    """Give a reason for every layer in which an engine differs, or that was not compared."""
    engine = row["name"]
    reasons = [
        Reason(
            verdict="fail",
            criterion=f"values of {engine} that differ from the specification",
            stage=f"reference to {engine}",
            layer=layer["name"],
            value=layer["mismatches"],
            relation="exactly",
            limit=0,
            images=samples,
            try_=f"Run `spikeproof run BUNDLE --self-test --engine {engine}`, and `spikeproof "
            "doctor` to see whether the engine is one this version supports. The first difference "
            "is listed under V3.",
        )
        for layer in row["layers"]
        if layer["mismatches"]
    ]
    missing = [layer["name"] for layer in row["layers"] if not layer["values"]]
    if missing or not row["layers"]:
        reasons.append(
            Reason(
                verdict="fail",
                criterion="values compared with the specification",
                stage=f"reference to {engine}",
                layer=", ".join(missing) or None,
                value=0,
                relation="more than",
                limit=0,
                images=samples,
                try_=f"{engine} gave no traces, so nothing was compared: give images (--data, "
                "--limit), or compare another engine (--engine).",
            )
        )
    return reasons


def stages_check(rows: list[Json], exact: Json, clean: str, samples: int) -> Json:
    """V2: every pass keeps the relation it declares; behavioural ones are judged by V7.

    One of the rows is that of :mod:`spikeproof.verify.rounding`: every integer against the
    checkpoint.
    """
    stages = [{**r, "verdict": clean} if r["relation"] == "behavioural" else r for r in rows]
    reasons = []
    for stage in stages:
        if stage["relation"] == "rounding":
            reasons += rounding_reasons(stage)
        elif stage["verdict"] != str(Verdict.PASS):
            reasons.append(_broken_stage(stage, samples))
    for row in exact["engines"]:
        mismatches = sum(layer["mismatches"] for layer in row["layers"])
        stages.append(
            {
                "from": "chip",
                "to": row["name"],
                "relation": "exact",
                "bound": 0,
                "unit": "values that differ",
                "max_difference": mismatches,
                "flipped_spikes": None,
                "spikes": None,
                "agreement": None,
                "verdict": row["verdict"],
            }
        )
        if row["verdict"] != str(Verdict.PASS):
            reasons += _unequal_layers(row, exact["samples"])
    verdict = combine(stage["verdict"] for stage in stages)
    broken = [f"{s['from']} to {s['to']}" for s in stages if s["verdict"] != "pass"]
    summary = f"All {len(stages)} steps do what they declare."
    if broken:
        summary = f"Not shown for {len(broken)} of {len(stages)} steps: {', '.join(broken)}."
    declared = [text for stage in stages for text in stage.get("options", [])]
    if declared:
        summary += f" The bundle declares options other than the defaults: {', '.join(declared)}."
    return check(
        "V2",
        "Each conversion step does what it declares",
        "tested",
        verdict,
        summary,
        {"stages": len(stages), "kept": len(stages) - len(broken)},
        {"stages": stages},
        reasons,
    )


def _broken_stage(row: Json, samples: int) -> Reason:
    told: Json = {
        "verdict": row["verdict"],
        "stage": f"{row['from']} to {row['to']}",
        "images": samples,
        "layer": row.get("layer"),
    }
    if row["relation"] == "behavioural":
        return Reason(
            criterion="equal accuracy on clean images, which V7 judges",
            try_="See the reasons of V7.",
            **told,
        )
    if row["bound"] is None:
        return Reason(
            criterion="largest difference of a membrane; the bundle declares no bound for it",
            value=row["max_difference"],
            unit=row["unit"],
            try_="Convert the checkpoint again: `spikeproof convert` writes the bound.",
            **told,
        )
    if row["verdict"] == str(Verdict.INCONCLUSIVE):
        return Reason(
            criterion="images whose spikes part by rounding alone, so that what follows is not "
            "comparable",
            value=100 * row["excused_share"],
            limit=100 * row["excused_limit"],
            unit="%",
            try_="Give images whose membranes are not exactly on the threshold (--data), "
            "or "
            "verify --set stages.excused=SHARE.",
            **told,
        )
    if row.get("declared_bound") is not None:
        return Reason(
            criterion="bound on a membrane that the bundle declares; what its numbers give is less",
            value=row["declared_bound"],
            limit=row["bound"],
            unit=row["unit"],
            try_=_CONVERT_AGAIN,
            **told,
        )
    if row["max_difference"] > row["bound"]:
        return Reason(
            criterion="largest difference of a membrane",
            value=row["max_difference"],
            limit=row["bound"],
            unit=row["unit"],
            try_=_CONVERT_AGAIN,
            **told,
        )
    return Reason(
        criterion="spikes that differ though their membranes are clear of the threshold",
        value=row["unexcused_spikes"],
        relation="exactly",
        limit=0,
        try_=_CONVERT_AGAIN,
        **told,
    )


def rounding_reasons(row: Json) -> list[Reason]:
    """Give per layer and parameter the worst number that is not what the checkpoint gives."""
    reasons = []
    stage = f"{row['from']} to {row['to']}"
    for layer in row["layers"]:
        kinds: dict[str, list[Json]] = {}
        for violation in layer["violations"]:
            kinds.setdefault(violation["parameter"], []).append(violation)
        for kind, listed in kinds.items():
            worst = max(listed, key=lambda v: max(v["low"] - v["found"], v["found"] - v["high"]))
            at = f" {worst['index']}" if worst["index"] else ""
            more = " or more" if len(layer["violations"]) < layer["outside"] else ""
            many = f"; {len(listed):,}{more} such" if len(listed) > 1 else ""
            reasons.append(
                Reason(
                    verdict="fail",
                    stage=stage,
                    layer=layer["layer"],
                    criterion=f"{kind}{at}, the checkpoint gives {worst['expected']:.6g}{many}:",
                    value=worst["found"],
                    relation="within",
                    limit=(worst["low"], worst["high"]),
                    try_=_CONVERT_AGAIN,
                )
            )
        if layer["undecided"] and not layer["outside"]:
            reasons.append(
                Reason(
                    verdict="inconclusive",
                    stage=stage,
                    layer=layer["layer"],
                    criterion=f"weights checked one by one: these were {layer['undecided']}",
                    try_=_KNOW_CALIBRATION,
                )
            )
        reasons += [
            Reason(
                verdict="inconclusive",
                stage=stage,
                layer=layer["layer"],
                criterion=doubt,
                try_="Leave `convert --scale` out for this layer, or give a scale nearer to the "
                "one that is then chosen.",
            )
            for doubt in layer.get("doubts", [])
            if not layer["outside"]
        ]
        if not layer["values"] and not layer["outside"]:
            reasons.append(
                Reason(
                    verdict="inconclusive",
                    stage=stage,
                    layer=layer["layer"],
                    value=0,
                    criterion="numbers compared with the checkpoint",
                    relation="more than",
                    limit=0,
                    try_=_CONVERT_AGAIN,
                )
            )
    return reasons


_KNOW_CALIBRATION = (
    "Compensated rounding can be checked weight by weight only on the images it was fitted to: "
    "give those that convert had (`verify --calibration FILE`), or convert with `--no-compensate`."
)
_CONVERT_AGAIN = (
    "The bundle's integers are not what this version makes of the checkpoint: convert it again and "
    "verify the new bundle. If that fails too, it is a defect of the conversion."
)


def divergence_check(pairs: list[Json], stages: Json, rounding: Json) -> Json:
    """V3: where two stages differ by more than they may, else where rounding shows first.

    Args:
        pairs: the first spike in which two stages differ, and of engines any value.
        stages: the item "stages": relations and, per layer, the widest gap on equal spikes.
        rounding: the item "rounding": every integer against the checkpoint.
    """
    places = _departures(stages, rounding) + [
        p["layer"] for p in pairs if p["found"] and p["from"] == "reference"
    ]
    names = list(stages["gaps"])
    first = min(places, key=names.index) if places else None
    gap = None if first is None else {"layer": first, **stages["gaps"][first]}
    found = [p for p in pairs if p["found"]]
    if first is not None:
        summary = (
            f"Layer {first} is the first that departs from the stage before it by more than "
            "rounding explains" + _shown_gap(gap) + "."
        )
    elif found:
        flip = found[0]
        summary = (
            "No layer departs from the stage before it by more than rounding explains. The first "
            f"spike that rounding changes is in layer {flip['layer']}, at step {flip['step']} of "
            f"image {flip['sample']} (counted from 0)"
            + (
                f"; that membrane was {100 * flip['margin']:.2g} % of the threshold from firing."
                if flip["margin"] is not None
                else "."
            )
        )
    else:
        summary = "No two stages ever differ."
    figures = {"pairs": len(pairs), "diverging": len(found), "layer": first}
    return check(
        "V3",
        "Where the stages first differ",
        "measured",
        Verdict.INFO,
        summary,
        figures,
        {"pairs": pairs, "departure": gap},
    )


def _departures(stages: Json, rounding: Json) -> list[str]:
    """Name the layers in which a relation is broken: of the folding, the rounding or the states."""
    broken = [row["layer"] for row in stages["relations"] if row.get("layer") is not None]
    return broken + [x["layer"] for x in rounding["layers"] if x["outside"]]


def _shown_gap(gap: Json | None) -> str:
    if gap is None or gap["values"]["from"] == gap["values"]["to"]:
        return ""
    return (
        f": on the same spikes its membrane is off the most at step {gap['step']} of image "
        f"{gap['sample']}, neuron {gap['neuron']}, {gap['values']['to']:,.0f} v-units where "
        f"{gap['values']['from']:,.0f} are exact"
    )


def errors_check(layers: list[Json], samples: int) -> Json:
    """V4: what each layer adds, and what adds up."""
    spiking = layers[:-1] or layers
    worst = max(spiking, key=lambda row: row["accumulated"]["flip_rate"])
    return check(
        "V4",
        "Conversion error, layer by layer",
        "measured",
        Verdict.INFO,
        f"Spikes change most often in {worst['name']}: in "
        f"{_percent(worst['accumulated']['flip_rate'], 3)} of its states when the whole chip "
        f"network runs, and in {_percent(worst['local']['flip_rate'], 3)} when only this layer is "
        "converted.",
        {
            "samples": samples,
            "worst_layer": worst["name"],
            "worst_flip_rate": worst["accumulated"]["flip_rate"],
        },
        {"layers": layers},
    )


def match_check(data: Json, reasons: list[Reason]) -> Json:
    """V5: the size of the perturbation of each membrane, before and after."""
    rows = [(a["name"], x) for a in data["attacks"] for x in a["layers"]]
    verdict = combine(x["verdict"] for _, x in rows)
    passed = sum(x["verdict"] == "pass" for _, x in rows)
    ratios = [x["ratio"] for _, x in rows if x["ratio"] is not None]
    spread = f" (energy ratios {min(ratios):.3f} to {max(ratios):.3f})" if ratios else ""
    worst = max((x["median_rel_diff"] for _, x in rows), default=0.0)
    cosines = [x["direction"] for _, x in rows if x["direction"] is not None]
    turned = f"; the median cosine is {_at_least(min(cosines))}" if cosines else ""
    figures = {
        "pairs": len(rows),
        "passed": passed,
        "largest_median_difference": worst,
        "smallest_ratio": min(ratios, default=None),
        "largest_ratio": max(ratios, default=None),
        "smallest_median_cosine": min(cosines, default=None),
        **_would_pass([x["would_pass"] for _, x in rows]),
    }
    return check(
        "V5",
        "Membranes react to perturbations as strongly as before",
        "tested",
        verdict,
        f"{passed} of {len(rows)} comparisons (each perturbation in each layer) are shown to "
        f"meet all limits{spread}; the largest median difference is {rounded(100 * worst)} %"
        f"{turned}." + _worst_match(reasons),
        figures,
        data,
        reasons,
    )


def _at_least(cosine: float) -> str:
    """Say a lower bound of a cosine with three digits, rounded down."""
    below = math.floor(1000 * cosine) / 1000
    return "1" if below >= 1 else f"{below:.3f} or more"


def _worst_match(reasons: list[Reason]) -> str:
    if not reasons:
        return ""
    worst = worst_first(reasons)[0]
    lead = "Farthest from its limit" if worst.verdict == "fail" else "Hardest to decide"
    return f" {lead}: {worst.brief}."


def _would_pass(rows: list[Json]) -> Json:
    """Return the strictest limits under which every layer passes; None: no limit would do."""
    figures: Json = {}
    for key, worst in (("median_difference", max), ("p99_difference", max), ("spearman", min)):
        values = [row[key] for row in rows]
        known = bool(values) and None not in values
        figures[f"would_pass_{key}"] = worst(values) if known else None
    return figures


def accuracy_check(rows: list[Json], reasons: list[Reason], shown: Json | None = None) -> Json:
    """V7: both networks are right equally often; ``shown``: predictions and examples."""
    helped = [row_name(r) for r in rows if r["attack_helps"]]
    equal = combine(row["tost"] for row in rows)
    believable = dict((shown or {}).get("plausibility", {})).get("believable", True)
    doubted = helped or not believable
    verdict = combine([equal, Verdict.INCONCLUSIVE]) if doubted else equal
    worst = max(rows, key=lambda row: abs(row["difference"]))
    clean = rows[0]
    return check(
        "V7",
        "Accuracy is the same, on clean and on perturbed images",
        "tested",
        verdict,
        f"Clean accuracy {accuracy_text(clean['float_accuracy'])} before and "
        f"{accuracy_text(clean['chip_accuracy'])} after; the largest difference is "
        f"{100 * worst['difference']:+.2f} points "
        f"({worst['perturbation']}, strength {worst['strength']:g}/255)."
        + (
            f" {', '.join(helped)} made the trained network more accurate than it is on clean "
            "images: its gradients are masked, and accuracy under attack shows nothing."
            if helped
            else ""
        )
        + (
            ""
            if believable
            else " The trained network's own accuracy is not believable on these "
            "images and labels, so that equality shows nothing."
        )
        + _about_attacks(rows),
        {
            "rows": len(rows),
            "established": sum(row["tost"] == "pass" for row in rows),
            "clean_float": clean["float_accuracy"],
            "clean_chip": clean["chip_accuracy"],
            "largest_difference": worst["difference"],
            "masking_suspected": any(row["masking_suspected"] for row in rows),
        },
        {"rows": rows, "attack": WEAK.describe(), **(shown or {})},
        reasons,
    )


def _about_attacks(rows: list[Json]) -> str:
    """Say what figures under attack do not show: robustness, and a more robust chip."""
    attacked = [row for row in rows if row["bound"]]
    text = ""
    if attacked:
        text += (
            f" Accuracy under {' and '.join(dict.fromkeys(r['perturbation'] for r in attacked))} "
            f"is an {attacked[0]['bound']}; stronger attacks leave less."
        )
    ahead = [row_name(row) for row in attacked if row["difference"] > 0]
    if ahead:
        text += f" {TRANSFER} Here: {', '.join(ahead)}."
    masked = [row for row in attacked if row["masking_suspected"]]
    if masked:
        row = max(masked, key=lambda r: abs(np.subtract(*r["estimators"].values())))
        told = {e.name: e.told for e in (*WEAK.members, WEAK.control)}
        shares = " and ".join(
            f"{accuracy_text(v)} ({told.get(k, k)})" for k, v in row["estimators"].items()
        )
        text += (
            f" Gradient masking suspected: under {row_name(row)}, on {row['compared']} images, the "
            f"same attack leaves {shares}, which differ by McNemar's exact test. What "
            "misleads one attack may mislead all of these, so the network may be far weaker than "
            "the figures say."
        )
    return text


def ranges_check(layers: list[Json]) -> Json:
    """V9: no input can overflow the chip's numbers; the certificate stands up to other code."""
    unsound = [x for x in layers if x["unsound"]]
    overclaimed = [x for x in layers if x.get("overclaimed")]
    overflows = [x for x in layers if not x.get("ok", True) or not x["independent"]["ok"]]
    wrong = unsound or overclaimed or overflows
    verdict = Verdict.PASS if layers and not wrong else Verdict.FAIL
    tightest = min(layers, key=lambda x: x["independent"]["headroom_bits"])
    bits = tightest["independent"]["headroom_bits"]
    proved = "No input can" if not overflows else "Some input might"
    summary = (
        f"{proved} leave the chip's ranges. The worst possible input would fill {_filled(bits)} "
        f"of the registers of {tightest['name']}, the fullest layer."
    )
    if unsound:
        summary = (
            f"The certificate of {', '.join(x['name'] for x in unsound)} does not hold: "
            f"{unsound[0]['unsound'][0]}."
        )
    elif overclaimed:
        summary += (
            f" But what the bundle's record says of {', '.join(x['name'] for x in overclaimed)} "
            "is wrong."
        )
    runs = sum(x["reached"]["inputs"] for x in layers)
    return check(
        "V9",
        "No input can overflow the chip's registers",
        "proved",
        verdict,
        summary,
        {"layers": len(layers), "least_headroom_bits": bits, "extremal_inputs": runs},
        {"layers": [{**x, "ok": x not in unsound + overclaimed + overflows} for x in layers]},
        [
            *(_overflow(x) for x in overflows),
            *(_unsound(x, text) for x in unsound for text in x["unsound"]),
            *(_overclaimed(x, text) for x in overclaimed for text in x["overclaimed"]),
        ],
    )


def _unsound(layer: Json, finding: str) -> Reason:
    return Reason(
        verdict="fail",
        layer=layer["name"],
        neuron=tuple(layer["neuron"]),
        criterion=f"the range certificate does not hold: {finding}",
        try_="The analysis behind the certificate is wrong, which is a defect: please report it "
        "with the bundle.",
    )


def _overclaimed(layer: Json, finding: str) -> Reason:
    return Reason(
        verdict="fail",
        layer=layer["name"],
        criterion=f"wrong figure in the bundle's record (not an overflow): {finding}",
        try_="The record was changed, or written by another version: convert the checkpoint again. "
        "If that fails too, it is a defect of the conversion.",
    )


def _overflow(layer: Json) -> Reason:
    return Reason(
        verdict="fail",
        criterion="worst-case headroom over all inputs",
        layer=layer["name"],
        value=min(layer["independent"]["headroom_bits"], layer.get("headroom_bits", math.inf)),
        relation="at least",
        limit=0,
        unit="bits",
        try_="Convert the checkpoint again: `spikeproof convert` chooses scales that cannot "
        "overflow. With a scale of your own (convert --scale), give a smaller one for this layer.",
    )


def _filled(headroom_bits: float) -> str:
    """Return how much of its range a register uses; rounded down, so that full is not claimed."""
    share = 100 * 2.0**-headroom_bits
    return "more than 100 %" if share > 100 else f"{math.floor(100 * share) / 100:g} %"


def boundary_check(layers: list[Json], ties: Json, samples: int) -> Json:
    """V13: states on the threshold, and ties forced in every spiking layer of every engine."""
    states = sum(e["states"] for row in ties["layers"] for e in row["engines"].values())
    wrong = sum(e["mismatches"] for row in ties["layers"] for e in row["engines"].values())
    missed = [row["name"] for row in ties["layers"] if row["ties"] < row["expected"]]
    absent = _untied([x["name"] for x in layers], ties)
    verdict = Verdict.PASS
    if wrong or missed:
        verdict = Verdict.FAIL
    elif absent or states == 0:
        verdict = Verdict.INCONCLUSIVE
    on = sum(x["on_threshold"] for x in layers)
    total = sum(x["states"] for x in layers)
    forced = sum(row["ties"] for row in ties["layers"])
    return check(
        "V13",
        "Membranes exactly at the threshold are decided the same way",
        "tested",
        verdict,
        f"In {on:,} of {total:,} states on real images the membrane equals the threshold. "
        f"Small runs force {forced:,} more states onto it; {wrong:,} of the {states:,} states "
        "compared in these runs, over all engines, differ from the reference."
        + (f" No ties were forced in {', '.join(absent)}." if absent else ""),
        {
            "samples": samples,
            "states": total,
            "on_threshold": on,
            "within_1_lsb": sum(x["within_1_lsb"] for x in layers),
            "forced_ties": forced,
            "forced_mismatches": wrong,
        },
        {
            "layers": layers,
            "forced_ties": {"states": states, "mismatches": wrong, "layers": ties["layers"]},
        },
        _untidy_ties(ties, absent, states),
    )


def _untidy_ties(ties: Json, absent: list[str], states: int) -> list[Reason]:
    """Give a reason for ties that are broken differently, missed, or were never forced."""
    reasons = []
    for row in ties["layers"]:
        for engine, found in row["engines"].items():
            if found["mismatches"]:
                reasons.append(
                    Reason(
                        verdict="fail",
                        criterion=f"states that {engine} decides differently",
                        layer=row["name"],
                        value=found["mismatches"],
                        relation="exactly",
                        limit=0,
                        try_=f"Run `spikeproof fuzz` with {engine} among its engines: it shrinks "
                        "such a difference to a small network to look at.",
                    )
                )
        if row["ties"] < row["expected"]:
            reasons.append(
                Reason(
                    verdict="fail",
                    criterion="states forced onto the threshold",
                    layer=row["name"],
                    value=row["ties"],
                    relation="at least",
                    limit=row["expected"],
                    try_="The forced input missed the threshold in the reference itself, which "
                    "is a defect: please report it with the bundle.",
                )
            )
    for name in absent or ([] if states else ["every layer"]):
        reasons.append(
            Reason(
                verdict="inconclusive",
                criterion="states forced onto the threshold",
                layer=name,
                value=0,
                relation="at least",
                limit=1,
                try_="No bias within 1,000 units puts this layer's neurons exactly on the "
                "threshold, or the engine cannot run the small network made for it. Compare "
                "another engine (--engine), or convert with another scale for the layer "
                "(convert --scale).",
            )
        )
    return reasons


def _untied(layers: list[str], ties: Json) -> list[str]:
    """Name every spiking layer and engine without a single forced tie."""
    by_name = {row["name"]: row for row in ties["layers"]}
    absent = []
    for name in layers:
        row = by_name.get(name, {"ties": 0, "engines": {}})
        for engine in ties["engines"]:
            found = row["engines"].get(engine, {"states": 0})
            if not row["ties"] or not found["states"]:
                absent.append(f"{name} ({engine})")
    return absent


def provenance_check(hashes: dict[str, str]) -> Json:
    """V15: what was verified is what the hashes say; checked before anything ran."""
    return check(
        "V15",
        "The files are the ones named here",
        "tested",
        Verdict.PASS,
        "The bundle has the content its hash says and was made from this checkpoint.",
        dict(hashes),
        {},
    )


def journal_check(audit: Audit) -> Json:
    """V16: every item of work asked for is in the journal, whole; read again from the disk."""
    verdict = Verdict.PASS if audit.recorded == audit.asked > 0 else Verdict.FAIL
    return check(
        "V16",
        "No result was lost or altered",
        "tested",
        verdict,
        f"{audit.recorded:,} of {audit.asked:,} pieces of work are in the journal, each with the "
        "hash it was recorded under.",
        {"items": audit.asked, "recorded": audit.recorded},
        {},
        [] if verdict is Verdict.PASS else [_lost(audit)],
    )


def _lost(audit: Audit) -> Reason:
    return Reason(
        verdict="fail",
        criterion="items of work whose record is whole",
        value=audit.recorded,
        relation="exactly",
        limit=max(audit.asked, 1),
        try_="Run the same command again in a fresh folder (-o). If records are damaged again, "
        "check the disk, and whether something else writes into the folder.",
    )
