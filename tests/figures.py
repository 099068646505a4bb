"""Put the figures of the cards in models/zoo into README.md: ``python tests/figures.py``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- figures:zoo -->", "<!-- /figures:zoo -->"
COLUMNS = {
    "clean": "clean",
    "noise 8/255": "gaussian 8/255",
    "FGSM 8/255": "fgsm 8/255",
    "PGD-20 4/255": "pgd-20 4/255",
    "PGD-20 8/255": "pgd-20 8/255",
}


def table(root: Path = ROOT) -> str:
    """Return the table of all cards, as Markdown."""
    lines = ["| network | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for path in sorted((root / "models" / "zoo").glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        trained, chip = card["test"]["accuracy"], card["test"]["chip_accuracy"]
        cells = [f"{100 * trained[k]:.2f} / {100 * chip[k]:.2f}" for k in COLUMNS.values()]
        lines.append(f"| [`{card['name']}`](models/zoo/{path.stem}.md) | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(text: str, figures: str) -> str:
    """Return the README with the figures between their markers."""
    head, _, rest = text.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}\n{figures}\n{END}{tail}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), table()), encoding="utf-8")
    sys.stdout.write(table() + "\n")
