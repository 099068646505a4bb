"""Put measured figures into the documents that show them: ``python tests/figures.py``.

The cards in models/zoo go into README.md; docs/bench.json and docs/scaling.json, as written by
``spikeproof bench``, go into docs/performance.md and docs/scaling.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from spikeproof.attacks.suites import SP_STANDARD_1
from spikeproof.attacks.validity.plain import NAIVE_TITLE
from spikeproof.bench.document import NetFigures, Scaling, Speeds, load_document
from spikeproof.text import accuracy_figure
from spikeproof_models.card import load_card

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = {
    "clean": "clean",
    "noise 8/255": "gaussian 8/255",
    **{
        f"worst case {levels}/255 (upper bound: {SP_STANDARD_1.name})": f"worst case {levels}/255"
        for levels in (2, 4, 8)
    },
}
NAIVE = f"naive {NAIVE_TITLE} 8/255"
RATIOS = {
    "torch float": "torch_float",
    "torch float, batch 1": "torch_float_batch1",
    "torch, tuned": "torch_tuned",
    "torch, tuned, batch 1": "torch_tuned_batch1",
    "SNN library": "torch_snn",
    "ONNX Runtime": "onnx",
    "NumPy engine": "numpy",
    "Lava": "lava",
}


def table(root: Path = ROOT) -> str:
    """Return the table of all cards, as Markdown."""
    heads = ["network", *COLUMNS, NAIVE]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * len(heads[1:])]
    for path in sorted((root / "models" / "zoo").glob("*.json")):
        card = load_card(path)
        found = [card.test.row(name) for name in COLUMNS.values()]
        cells = [
            f"{accuracy_figure(r.float_accuracy)} / {accuracy_figure(r.chip_accuracy)}"
            for r in found
        ]
        worst = found[-1]
        naive = accuracy_figure((worst.naive_right or 0) / worst.images)
        cells.append(naive)
        lines.append(f"| [`{card.name}`](models/zoo/{path.stem}.md) | {' | '.join(cells)} |")
    return "\n".join(lines)


def bench_tables(document: Speeds) -> str:
    """Return what a bench document says: machine, speeds, ratios with quartiles."""
    machine, first = document.machine, document.first_use_seconds
    packages = ", ".join(f"{name} {found}" for name, found in machine.packages.items())
    lines = [
        f"{machine.processor}, {machine.threads} threads, Python {machine.python}, "
        f"{packages}. Load of the machine just before: {machine.load_before:.2f}.",
        "",
        "| network | spikes per neuron and step | fast, samples/s | torch float, samples/s | "
        "fast, batch 1 | torch float, batch 1 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for net in document.nets:
        rates, batches = net.samples_per_second, net.batches
        hidden = [rate for name, rate in net.activity.items() if name != "input"]
        spread = f"{min(hidden):.2f} to {max(hidden):.2f}"
        cells = [
            f"{_number(rates[key])}" + (f" (batch {batches[key]})" if at_best else "")
            for key, at_best in (
                ("fast", True),
                ("torch_float", True),
                ("fast_batch1", False),
                ("torch_float_batch1", False),
            )
            if key in rates
        ]
        lines.append(f"| {net.net} | {spread} | {' | '.join(cells)} |")
    lines += [
        "",
        "How many times faster than it the engine `fast` is, median [quartiles]:",
        "",
        "| network | " + " | ".join(RATIOS) + " |",
        "|---|" + "---:|" * len(RATIOS),
    ]
    for net in document.nets:
        lines.append(f"| {net.net} | {' | '.join(_ratio(net, k) for k in RATIOS.values())} |")
    if first:
        lines += [
            "",
            f"First result in a new process: {first.warm:.2f} s from the cache on "
            f"disk, {first.cold:.1f} s where everything has to be compiled.",
        ]
    return "\n".join(lines)


GOALS = (
    ("mlp", "torch_float", 14),
    ("conv", "torch_float", 9),
    ("mlp", "torch_float_batch1", 60),
    ("conv", "torch_float_batch1", 20),
    ("mlp", "lava", 1500),
    ("conv", "lava", 3000),
    ("mlp", "torch_snn", 10),
    ("conv", "torch_snn", 10),
    ("fmnist-lif-natural", "torch_float", 5),
    ("fmnist-lif-adversarial", "torch_float", 5),
    ("fmnist-dlif-adversarial-mppd", "torch_float", 5),
)


def goal_table(document: Speeds) -> str:
    """Return the goals and what was reached: how many times faster than whom."""
    names = {key: label for label, key in RATIOS.items()}
    nets = {net.net: net for net in document.nets}
    lines = ["| network | against | asked | reached |", "|---|---|---:|---:|"]
    for net, key, asked in GOALS:
        value = nets[net].ratios.get(key) if net in nets else None
        found = (
            "–" if value is None else f"{_number(value)}x{'' if value >= asked else ' (missed)'}"
        )
        lines.append(f"| {net} | {names[key]} | {asked:,}x | {found} |")
    return "\n".join(lines)


def share_table(document: Speeds) -> str:
    """Return the peaks of the machine, and floor, time and share of every layer."""
    one = document.peaks["threads_1"]
    peaks = ", ".join(f"{name.replace('_', ' ')} {rate / 1e9:.3g}" for name, rate in one.items())
    lines = [
        f"Peaks of one thread, in 10⁹ per second: {peaks}.",
        "",
        "| network | layer | bound by | floor, µs | took, µs | share |",
        "|---|---|---|---:|---:|---:|",
    ]
    for net in document.nets:
        rows = [(r.layer, r.bound_by.replace("_", " "), r) for r in net.ceilings.layers]
        for layer, bound, row in [*rows, ("all, on all threads", "", net.ceilings)]:
            share = "–" if row.share is None else f"{100 * row.share:.0f} %"
            lines.append(
                f"| {net.net} | {layer} | {bound} | {_micro(row.floor_seconds)} | "
                f"{_micro(row.seconds)} | {share} |"
            )
    return "\n".join(lines)


def scaling_table(document: Scaling) -> str:
    """Return the line that fits the cost of each axis, and the largest network."""
    lines = [
        "| grows | fixed cost | per million | largest deviation | largest network | "
        "time per sample | peak memory |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for series in document.series:
        fit, last = series.fit, series.points[-1]
        cost = f"{1e3 * last.seconds:.3g} ms | {last.peak_bytes / 2**20:,.0f} MiB"
        slope = f"{_micro(fit.fixed_seconds)} µs | {1e9 * fit.seconds_per_unit:.3g} ms"
        off, size = f"{100 * fit.largest_deviation:.0f} %", f"{last.size(series.axis):,}"
        lines.append(f"| {series.axis} | {slope} | {off} | {size} | {cost} |")
    return "\n".join(lines)


def sweep_table(document: Speeds) -> str:
    """Return how long ten million images take on the machine of a bench document."""
    lines = [
        f"| network | fast, samples/s on {document.machine.threads} threads | "
        "ten million images | on Lava's CPU backend |",
        "|---|---:|---:|---:|",
    ]
    for net in document.nets:
        rates = net.samples_per_second
        times = [_duration(1e7 / rates[key]) if key in rates else "–" for key in ("fast", "lava")]
        lines.append(f"| {net.net} | {_number(rates['fast'])} | {times[0]} | {times[1]} |")
    return "\n".join(lines)


def sweep(text: str, root: Path = ROOT) -> str:
    """Return docs/scaling.md with the figures of docs/bench.json."""
    path = root / "docs" / "bench.json"
    found = "Not measured yet."
    if path.is_file():
        found = sweep_table(load_document(path, Speeds))
    return with_table(text, found, "sweep")


def performance(text: str, root: Path = ROOT) -> str:
    """Return docs/performance.md with the figures of docs/bench.json and docs/scaling.json."""
    speeds, scaling = root / "docs" / "bench.json", root / "docs" / "scaling.json"
    found = dict.fromkeys(("bench", "goals", "shares", "scaling"), "Not measured yet.")
    if speeds.is_file():
        document = load_document(speeds, Speeds)
        found["bench"], found["goals"] = bench_tables(document), goal_table(document)
        found["shares"] = share_table(document)
    if scaling.is_file():
        found["scaling"] = scaling_table(load_document(scaling, Scaling))
    for name, table_ in found.items():
        text = with_table(text, table_, name)
    return text


def with_table(text: str, figures: str, name: str = "zoo") -> str:
    """Return a document with the figures between the markers of that name."""
    start, end = f"<!-- figures:{name} -->", f"<!-- /figures:{name} -->"
    if start not in text or end not in text:
        raise ValueError(f"the markers {start} and {end} are missing")
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}\n{figures}\n{end}{tail}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _duration(seconds: float) -> str:
    units = (("s", 1), ("min", 60), ("h", 3600), ("days", 86400))
    unit, size = [pair for pair in units if seconds >= 2 * pair[1]][-1]
    return f"{_number(seconds / size)} {unit}"


def _micro(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e6 * seconds:.3g}"


def _ratio(net: NetFigures, key: str) -> str:
    value = net.ratios.get(key)
    if value is None:
        return "–"
    low, high = net.quartiles[key]
    named = f" ({net.winners[key]})" if key == "torch_snn" else ""
    return f"{_number(value)} [{_number(low)}, {_number(high)}]{named}"


if __name__ == "__main__":
    readme, page = ROOT / "README.md", ROOT / "docs" / "performance.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), table()), encoding="utf-8")
    page.write_text(performance(page.read_text(encoding="utf-8")), encoding="utf-8")
    costs = ROOT / "docs" / "scaling.md"
    costs.write_text(sweep(costs.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(table() + "\n")
