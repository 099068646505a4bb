"""Turn measured items into checks: one verdict, one sentence, flat figures, and the data."""

from __future__ import annotations

import math
from typing import Any

from spikeproof.verify.verdict import Verdict, combine
from spikeproof.work.journal import Audit

Json = dict[str, Any]


def check(
    identifier: str, title: str, kind: str, verdict: Verdict | str, summary: str,
    figures: Json, data: Json,
) -> Json:  # fmt: skip
    """Write one check in the form of the report."""
    return {
        "id": identifier, "title": title, "kind": kind, "verdict": str(verdict),
        "summary": summary, "figures": figures, "data": data,
    }  # fmt: skip


def exact_check(measured: Json, engine: str) -> Json:
    """V1: the target against the reference, value by value."""
    row = next(r for r in measured["engines"] if r["name"] == engine)
    compared = sum(layer["values"] for layer in row["layers"])
    mismatches = sum(layer["mismatches"] for layer in row["layers"])
    samples = measured["samples"]
    where = f"in all but {mismatches:,} of {compared:,} values" if mismatches else "in every value"
    return check(
        "V1", "The target computes the specification, bit for bit", "tested", row["verdict"],
        f"On {samples} images {engine} agrees with the reference simulator {where} of u, v and s.",
        {"compared": compared, "mismatches": mismatches, "samples": samples, "engine": engine,
         "reference": "reference"},
        {"layers": row["layers"]},
    )  # fmt: skip


def stages_check(rows: list[Json], exact: Json, clean: str) -> Json:
    """V2: every pass keeps the relation it declares; behavioural ones are judged by V7."""
    stages = [{**r, "verdict": clean} if r["relation"] == "behavioural" else r for r in rows]
    for row in exact["engines"]:
        mismatches = sum(layer["mismatches"] for layer in row["layers"])
        stages.append(
            {"from": "chip", "to": row["name"], "relation": "exact", "bound": 0,
             "unit": "values that differ", "max_difference": mismatches, "flipped_spikes": None,
             "spikes": None, "agreement": None, "verdict": row["verdict"]}
        )  # fmt: skip
    verdict = combine(stage["verdict"] for stage in stages)
    broken = [f"{s['from']} to {s['to']}" for s in stages if s["verdict"] != "pass"]
    summary = f"All {len(stages)} steps do what they declare."
    if broken:
        summary = f"Not shown for {len(broken)} of {len(stages)} steps: {', '.join(broken)}."
    return check(
        "V2", "Each conversion step does what it declares", "tested", verdict,
        summary,
        {"stages": len(stages), "kept": len(stages) - len(broken)},
        {"stages": stages},
    )  # fmt: skip


def divergence_check(pairs: list[Json]) -> Json:
    """V3: where two stages first part."""
    found = [p for p in pairs if p["found"]]
    summary = "No two stages ever differ."
    if found:
        first = found[0]
        summary = (
            f"The {first['from']} and the {first['to']} network first differ in layer "
            f"{first['layer']}, at step {first['step']} of image {first['sample']} (counted from 0)"
            + (f"; that membrane was {first['margin']:.2%} of the threshold away from firing."
               if first["margin"] is not None else ".")
        )  # fmt: skip
    figures = {"pairs": len(pairs), "diverging": len(found)}
    return check("V3", "Where the stages first differ", "measured", Verdict.INFO, summary,
                 figures, {"pairs": pairs})  # fmt: skip


def errors_check(layers: list[Json], samples: int) -> Json:
    """V4: what each layer adds, and what adds up."""
    spiking = layers[:-1] or layers
    worst = max(spiking, key=lambda row: row["accumulated"]["flip_rate"])
    return check(
        "V4", "Conversion error, layer by layer", "measured", Verdict.INFO,
        f"Spikes change most often in {worst['name']}: in {worst['accumulated']['flip_rate']:.3%} "
        "of its states when the whole chip network runs, and in "
        f"{worst['local']['flip_rate']:.3%} when only this layer is converted.",
        {"samples": samples, "worst_layer": worst["name"],
         "worst_flip_rate": worst["accumulated"]["flip_rate"]},
        {"layers": layers},
    )  # fmt: skip


def match_check(data: Json) -> Json:
    """V5: the size of the perturbation of each membrane, before and after."""
    rows = [(a["name"], x) for a in data["attacks"] for x in a["layers"]]
    verdict = combine(x["verdict"] for _, x in rows)
    passed = sum(x["verdict"] == "pass" for _, x in rows)
    ratios = [x["ratio"] for _, x in rows if x["ratio"] is not None]
    spread = f" (energy ratios {min(ratios):.3f} to {max(ratios):.3f})" if ratios else ""
    worst = max((x["median_rel_diff"] for _, x in rows), default=0.0)
    cosines = [x["direction"] for _, x in rows if x["direction"] is not None]
    turned = f"; the median cosine is {min(cosines):.3f} or more" if cosines else ""
    figures = {
        "pairs": len(rows), "passed": passed, "largest_median_difference": worst,
        "smallest_ratio": min(ratios, default=None), "largest_ratio": max(ratios, default=None),
        "smallest_median_cosine": min(cosines, default=None),
        **_would_pass([x["would_pass"] for _, x in rows]),
    }  # fmt: skip
    return check(
        "V5", "Membranes react to perturbations as strongly as before", "tested", verdict,
        f"{passed} of {len(rows)} comparisons (each perturbation in each layer) meet all "
        f"limits{spread}; the largest median difference is {worst:.2%}{turned}.",
        figures, data,
    )  # fmt: skip


def _would_pass(rows: list[Json]) -> Json:
    """Return the strictest limits under which every layer passes; None: no limit would do."""
    figures: Json = {}
    for key, worst in (("median_difference", max), ("p99_difference", max), ("spearman", min)):
        values = [row[key] for row in rows]
        known = bool(values) and None not in values
        figures[f"would_pass_{key}"] = worst(values) if known else None
    return figures


def accuracy_check(rows: list[Json], shown: Json | None = None) -> Json:
    """V7: both networks are right equally often; ``shown``: predictions and examples."""
    masked = [f"{r['perturbation']} {r['strength']:g}/255" for r in rows if r["attack_helps"]]
    equal = combine(row["tost"] for row in rows)
    verdict = combine([equal, Verdict.INCONCLUSIVE]) if masked else equal
    worst = max(rows, key=lambda row: abs(row["difference"]))
    clean = rows[0]
    return check(
        "V7", "Accuracy is the same, on clean and on perturbed images", "tested",
        verdict,
        f"Clean accuracy {clean['float_accuracy']:.2%} before and {clean['chip_accuracy']:.2%} "
        f"after; the largest difference is {100 * worst['difference']:+.2f} points "
        f"({worst['perturbation']}, strength {worst['strength']:g}/255)."
        + (f" {', '.join(masked)} made the trained network more accurate than it is on clean "
           "images: its gradients are masked, and accuracy under attack shows nothing."
           if masked else ""),
        {"rows": len(rows), "established": sum(row["tost"] == "pass" for row in rows),
         "clean_float": clean["float_accuracy"], "clean_chip": clean["chip_accuracy"],
         "largest_difference": worst["difference"]},
        {"rows": rows, **(shown or {})},
    )  # fmt: skip


def ranges_check(layers: list[Json]) -> Json:
    """V9: no input can overflow the chip's numbers."""
    verdict = Verdict.PASS if layers and all(x["ok"] for x in layers) else Verdict.FAIL
    tightest = min(layers, key=lambda x: x["headroom_bits"])
    proved = "No input can" if verdict is Verdict.PASS else "Some input might"
    return check(
        "V9", "No input can overflow the chip's registers", "proved", verdict,
        f"{proved} leave the chip's ranges. The worst possible input would fill "
        f"{_filled(tightest['headroom_bits'])} of the registers of {tightest['name']}, the fullest "
        "layer.",
        {"layers": len(layers), "least_headroom_bits": tightest["headroom_bits"]},
        {"layers": layers},
    )  # fmt: skip


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
        "V13", "Membranes exactly at the threshold are decided the same way", "tested", verdict,
        f"In {on:,} of {total:,} states on real images the membrane equals the threshold. "
        f"With {forced} such ties forced, {wrong:,} of {states:,} states differ between engines."
        + (f" No ties were forced in {', '.join(absent)}." if absent else ""),
        {"samples": samples, "states": total, "on_threshold": on,
         "within_1_lsb": sum(x["within_1_lsb"] for x in layers), "forced_ties": forced,
         "forced_mismatches": wrong},
        {"layers": layers, "forced_ties": {"states": states, "mismatches": wrong,
                                           "layers": ties["layers"]}},
    )  # fmt: skip


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
        "V15", "The files are the ones named here", "tested", Verdict.PASS,
        "The bundle has the content its hash says and was made from this checkpoint.",
        dict(hashes), {},
    )  # fmt: skip


def journal_check(audit: Audit) -> Json:
    """V16: every item of work asked for is in the journal, whole; read again from the disk."""
    verdict = Verdict.PASS if audit.recorded == audit.asked > 0 else Verdict.FAIL
    return check(
        "V16", "No result was lost or altered", "tested", verdict,
        f"{audit.recorded:,} of {audit.asked:,} pieces of work are in the journal, each with the "
        "hash it was recorded under.",
        {"items": audit.asked, "recorded": audit.recorded}, {},
    )  # fmt: skip
