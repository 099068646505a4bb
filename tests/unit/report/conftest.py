"""A realistic report, in three verdicts, made without running anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

LAYERS = ("l1", "l2", "l3", "out")
ATTACKS = ("gaussian 2/255", "gaussian 4/255", "gaussian 8/255", "fgsm 8/255", "pgd-20 8/255")
TIMESTEPS = 4
Report = dict[str, Any]


def _table() -> list[Report]:
    rows = [
        ("l1", "host conv", "DLIF table", 784, 4_704, 40_000, 13, 3120.4, 5, 0.00041),
        ("l2", "conv", "DLIF table", 4_704, 2_352, 508_032, 8, 212.35, 4, 0.00213),
        ("l3", "dense", "DLIF table", 2_352, 128, 301_056, 8, 340.08, 4, 0.00388),
        ("out", "dense", "readout", 128, 10, 1_280, 8, 402.7, 3, None),
    ]
    free = (6.21, 4.03, 3.17, 5.44)
    return [
        {
            "layer": name,
            "kind": kind,
            "neuron": neuron,
            "inputs": inputs,
            "neurons": neurons,
            "synapses": synapses,
            "weight_bits": bits,
            "scale": scale,
            "clipped_share": 0.0008,
            "threshold": [int(scale * 64 * f) for f in (1.0, 0.9, 0.85, 0.8)]
            if neuron != "readout"
            else None,
            "dv": 41 if neuron != "readout" else 0,
            "bias_exponent": exponent,
            "flip_rate_calibration": flips,
            "sum_bound": round(2 ** (17 - h)),
            "v_low": -round(2 ** (23 - h)),
            "v_high": round(0.8 * 2 ** (23 - h)),
            "headroom_bits": h,
        }
        for (name, kind, neuron, inputs, neurons, synapses, bits, scale, exponent, flips), h in zip(
            rows, free, strict=True
        )
    ]


def _match_layer(rng: np.random.Generator, name: str, size: float, verdict: str) -> Report:
    depth = LAYERS.index(name)
    spread = 0.004 * (1 + depth)
    clean = size * (1 + 0.5 * depth) * np.exp(0.45 * rng.standard_normal(200))
    chip = clean * np.exp(spread * rng.standard_normal(200))
    growth = np.array([1.0, 1.9, 2.7, 3.4])
    energy = (size * (1 + 0.5 * depth)) ** 2 * growth
    return {
        "name": name,
        "samples": 1000,
        "median_rel_diff": round(0.7 * spread, 5),
        "p99_rel_diff": round(2.6 * spread, 5),
        "spearman": round(1 - spread / 8, 5),
        "ratio": round(1 + spread / 20, 5),
        "ratio_ci": [1 - spread / 9, 1 + spread / 7],
        "verdict": verdict,
        "scatter": {"float": clean.round(6).tolist(), "chip": chip.round(6).tolist()},
        "energy": {"float": energy.tolist(), "chip": (energy * (1 + spread)).tolist()},
    }


def _match(rng: np.random.Generator, verdict: str) -> Report:
    sizes = (0.006, 0.013, 0.027, 0.085, 0.11)
    return {
        "attacks": [
            {
                "name": attack,
                "layers": [
                    _match_layer(
                        rng, n, s, verdict if (attack, n) == (ATTACKS[-1], "l3") else "pass"
                    )
                    for n in LAYERS
                ],
            }
            for attack, s in zip(ATTACKS, sizes, strict=True)
        ]
    }


def _accuracy(rng: np.random.Generator, verdict: str) -> Report:
    base = {
        ("clean", 0): 0.893,
        ("gaussian", 2): 0.892,
        ("gaussian", 4): 0.889,
        ("gaussian", 8): 0.881,
        ("fgsm", 2): 0.874,
        ("fgsm", 4): 0.852,
        ("fgsm", 8): 0.8241,
        ("pgd-20", 2): 0.873,
        ("pgd-20", 4): 0.849,
        ("pgd-20", 8): 0.811,
    }
    rows = []
    for (name, strength), accuracy in base.items():
        difference = round(float(rng.normal(-0.0008, 0.0012)), 4)
        width, tost = 0.0044, "pass"
        if (name, strength) == ("pgd-20", 8) and verdict != "pass":
            difference, tost = (-0.0213, "fail") if verdict == "fail" else (-0.0068, verdict)
        rows.append(
            {
                "perturbation": name,
                "strength": strength,
                "samples": 1000,
                "float_accuracy": accuracy,
                "chip_accuracy": round(accuracy + difference, 4),
                "difference": difference,
                "ci": [difference - width, difference + width],
                "margin": 0.01,
                "tost": tost,
                "mcnemar_p": 0.0004 if tost == "fail" else 0.62,
                "only_float": 11,
                "only_chip": 9,
                "float_ci": [accuracy - 0.019, accuracy + 0.018],
                "chip_ci": [accuracy + difference - 0.019, accuracy + difference + 0.018],
            }
        )
    return {"rows": rows}


def _errors() -> Report:
    def figures(flips: float, sqnr: float) -> Report:
        return {
            "flip_rate": flips,
            "sqnr_db": sqnr,
            "dv_p50": flips * 1.3,
            "dv_p99": flips * 11,
            "dv_max": flips * 60,
        }

    values = ((0.0004, 0.0004, 51.2), (0.0011, 0.0021, 44.0), (0.0016, 0.0039, 41.7))
    layers = [
        {"name": n, "local": figures(a, db), "accumulated": figures(b, db - 3.1)}
        for n, (a, b, db) in zip(LAYERS, values, strict=False)
    ]
    layers.append(
        {
            "name": "out",
            "local": {**figures(0.0009, 43.0), "flip_rate": None},
            "accumulated": {**figures(0.0031, 38.4), "flip_rate": None},
        }
    )
    return {"layers": layers}


def _boundary() -> Report:
    quantiles = ((0.0021, 0.026, 0.31), (0.0037, 0.041, 0.44), (0.0052, 0.06, 0.52))
    return {
        "layers": [
            {
                "name": n,
                "states": 1_204_224,
                "on_threshold": 3,
                "within_1_lsb": 41,
                "float_within_1_lsb": 44,
                "margin_quantiles": dict(zip(("p01", "p10", "p50"), q, strict=True)),
            }
            for n, q in zip(LAYERS, quantiles, strict=False)
        ],
        "forced_ties": {"states": 96, "mismatches": 0},
    }


def _stages() -> Report:
    return {
        "stages": [
            {
                "from": "source",
                "to": "folded",
                "relation": "exact",
                "bound": 0.0,
                "unit": "",
                "max_difference": 4.4e-15,
                "flipped_spikes": 0,
                "spikes": 1_839_104,
                "agreement": 1.0,
                "verdict": "pass",
            },
            {
                "from": "folded",
                "to": "quantised",
                "relation": "behavioural",
                "bound": None,
                "unit": "",
                "max_difference": 0.231,
                "flipped_spikes": 3412,
                "spikes": 1_839_104,
                "agreement": 0.996,
                "verdict": "pass",
            },
            {
                "from": "quantised",
                "to": "chip",
                "relation": "bounded",
                "bound": 4.0,
                "unit": "LSB",
                "max_difference": 3.0,
                "flipped_spikes": 17,
                "spikes": 1_839_104,
                "agreement": 1.0,
                "verdict": "pass",
            },
        ]
    }


def _divergences() -> Report:
    return {
        "pairs": [
            {"from": "source", "to": "folded", "found": False},
            {
                "from": "folded",
                "to": "quantised",
                "found": True,
                "layer": "l1",
                "neuron": [3, 11, 7],
                "step": 1,
                "sample": 0,
                "values": {"from": 0.99981, "to": 1.0004},
                "margin": 0.00019,
                "margin_lsb": 38.0,
            },
            {
                "from": "quantised",
                "to": "chip",
                "found": True,
                "layer": "l2",
                "neuron": [40, 2, 2],
                "step": 2,
                "sample": 5,
                "values": {"from": 13590.6, "to": 13589},
                "margin": 0.00004,
                "margin_lsb": 1.0,
            },
        ]
    }


def _check(
    key: str, title: str, kind: str, verdict: str, summary: str, figures: Report, data: Report
) -> Report:
    return {
        "id": key,
        "title": title,
        "kind": kind,
        "verdict": verdict,
        "summary": summary,
        "figures": figures,
        "data": data,
    }


def reasons(verdict: str) -> dict[str, list[Report]]:
    """Give the reasons of V5 and V7 in a report of this verdict."""
    if verdict == "pass":
        return {}
    failed = verdict == "fail"
    v5 = {
        "verdict": verdict,
        "criterion": "99th percentile of the relative difference",
        "value": 49.03 if failed else 8.1,
        "relation": "at most",
        "limit": 10.0,
        "unit": "%",
        "interval": [None, 55.2 if failed else 14.3],
        "layer": "l3",
        "perturbation": "pgd-20 8/255",
        "images": 1000,
        **({} if failed else {"images_needed": 1473, "would": "pass"}),
        "try": "Set [mppd] p99_difference in a file for --config."
        if failed
        else "Give at least 1,473 images (--data) and use them: --images 1473.",
    }
    v7 = {
        "verdict": verdict,
        "criterion": "accuracy of the chip network minus that of the trained network",
        "value": -2.13 if failed else -0.68,
        "relation": "within",
        "limit": [-1.0, 1.0],
        "unit": "points",
        "perturbation": "pgd-20 8/255",
        "images": 1000,
        "try": "Convert with more calibration images.",
    }
    return {"V5": [v5], "V7": [v7]}


def _checks(rng: np.random.Generator, verdict: str) -> list[Report]:
    values = {"l1": 1_204_224, "l2": 602_112, "l3": 32_768, "out": 2_560}
    ranges = [
        {
            "name": r["layer"],
            "sum_bound": r["sum_bound"],
            "u_bound": 64 * r["sum_bound"],
            "v_low": r["v_low"],
            "v_high": r["v_high"],
            "headroom_bits": r["headroom_bits"],
            "ok": True,
        }
        for r in _table()
    ]
    return [
        _check(
            "V1",
            "Bit-exact on the target",
            "tested",
            "pass",
            "Lava and the specification agree in every spike, u and v.",
            {
                "compared": sum(values.values()),
                "mismatches": 0,
                "samples": 64,
                "engine": "lava",
                "reference": "reference",
            },
            {"layers": [{"name": n, "values": v, "mismatches": 0} for n, v in values.items()]},
        ),
        _check(
            "V2",
            "Every pass keeps its promise",
            "tested",
            "pass",
            "All three passes stay within the relation they declare.",
            {"stages": 3, "samples": 64},
            _stages(),
        ),
        _check(
            "V3",
            "First divergence",
            "measured",
            "info",
            "Quantisation first flips a spike in l1 at step 1, 38 LSB from threshold.",
            {"pairs": 3},
            _divergences(),
        ),
        _check(
            "V4",
            "Alone and accumulated error",
            "measured",
            "info",
            "At most 0.39 % of spikes flip, in l3.",
            {"samples": 256},
            _errors(),
        ),
        _check(
            "V5",
            "Perturbation response",
            "tested",
            verdict,
            "Membrane perturbation is the same in every layer under five perturbations."
            if verdict == "pass"
            else "Layer l3 under pgd-20 8/255 does not meet its limits.",
            {"samples": 1000},
            _match(rng, verdict),
        ),
        _check(
            "V7",
            "Accuracy and robustness",
            "tested",
            verdict,
            "Equivalent within 1 point under all ten conditions."
            if verdict == "pass"
            else "Nine of ten conditions are equivalent within 1 point.",
            {"rows": 10, "samples": 1000},
            _accuracy(rng, verdict),
        ),
        _check(
            "V9",
            "No overflow",
            "proved",
            "pass",
            "No input can drive u or v out of 24 bits.",
            {"min_headroom_bits": 3.17},
            {"layers": ranges},
        ),
        _check(
            "V13",
            "States on the threshold",
            "tested",
            "pass",
            "Forced ties are resolved alike; 0.003 % of states lie within 1 LSB.",
            {"states": 3_612_672, "within_1_lsb": 123},
            _boundary(),
        ),
        _check(
            "V15",
            "Provenance",
            "measured",
            "info",
            "Hashes, versions and seeds are recorded.",
            {},
            {},
        ),
    ]


def build_report(verdict: str = "pass", seed: int = 0) -> Report:
    """Make a report with four layers and five perturbations."""
    sentences = {
        "pass": "On 1,000 images the chip network and the trained network keep the same accuracy "
        "under every tested perturbation, within 1 point; no input can overflow the registers.",
        "fail": "Under PGD-20 at 8/255 the chip network loses 2.1 points more accuracy than the "
        "trained network; everything else is equivalent within 1 point.",
        "inconclusive": "Under PGD-20 at 8/255 the sample of 1,000 images is too small to tell "
        "whether the two networks are equivalent within 1 point; nothing else failed.",
    }
    return {
        "schema": 1,
        "verdict": verdict,
        "sentence": sentences[verdict],
        "network": {
            "name": "dlif-adversarial-msmppd",
            "input_shape": [1, 28, 28],
            "timesteps": TIMESTEPS,
            "layers": _table(),
        },
        "checks": [
            {**check, "reasons": reasons(verdict).get(check["id"], [])}
            for check in _checks(np.random.default_rng(seed), verdict)
        ],
        "report": "runs/demo/report.html",
        "provenance": {
            "spikeproof": "0.1.0",
            "python": "3.12.1",
            "numpy": "2.3.5",
            "packages": {"torch": "2.15.0", "lava-nc": "0.10.0", "scipy": "1.16.3"},
            "bundle_hash": "4f" * 32,
            "checkpoint_hash": "a7" * 32,
            "data_hash": "0c" * 32,
            "data_samples": 1000,
            "seeds": {"noise": 20250101, "attack": 7},
            "suite": {
                "name": "quick",
                "V5": {"median": 0.02, "p99": 0.1, "spearman": 0.99},
                "V7": {"margin": 0.01, "alpha": 0.05},
            },
            "command": "spikeproof verify dlif.spk --against dlif.ckpt --suite quick --engine lava",
        },
        "timing": {
            "V1": 9.31,
            "V2": 2.2,
            "V3": 0.4,
            "V4": 1.1,
            "V5": 6.9,
            "V7": 14.2,
            "V9": 0.12,
            "V13": 1.8,
        },
    }


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """Give the generator of sample reports."""
    return build_report
