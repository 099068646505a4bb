"""Draw the rooms of the house and who uses whom: ``python tests/house.py`` writes docs/house.svg.

The order of the rooms is that of the layers in pyproject.toml, the marks are the imports that are
there; tests/unit/test_house.py fails when the picture is not today's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grimp

try:
    import tomllib
except ImportError:
    import tomli as tomllib  # Python 3.10

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "house.svg"
PACKAGES = ("spikeproof", "spikeproof_models", "spikeproof_lava")
BESIDE = ("spikeproof_models", "spikeproof_lava")
"""The other two packages stand below what uses them (`bench`) and above what they use."""
CELL, LABEL, TOP, BOTTOM = 22, 132, 34, 14
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2933 }
.said { fill: #52606d }
.room { fill: #e4ecf7; stroke: #6b8fc9 }
.other { fill: #f7eadb; stroke: #c9965b }
.line { stroke: #d5dae1 }
.uses { fill: #33527f }
.back { fill: #c0392b }
"""


def floors() -> list[str]:
    """Return the rooms from top to bottom."""
    config: Any = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = config["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    rooms = [room for layer in layers for room in re.findall(r"\w+", layer)]
    place = rooms.index("bench") + 1
    return [*rooms[:place], *BESIDE, *rooms[place:]]


def uses() -> set[tuple[str, str]]:
    """Return (room, room it imports from) for every import, those inside functions included."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    found = set()
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            pair = _room(module), _room(other)
            if None not in pair and pair[0] != pair[1]:
                found.add(pair)
    return found


def circles(graph: Any) -> list[list[str]]:
    """Return each set of modules of which every one needs all others, directly or not."""
    modules = sorted(graph.modules)
    needs = {module: graph.find_modules_directly_imported_by(module) for module in modules}
    reach = {module: _reached(needs, module) for module in modules}
    joined = {frozenset(b for b in reach[a] if a in reach[b]) for a in modules if a in reach[a]}
    return sorted(sorted(circle) for circle in joined)


def _reached(needs: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    ahead = list(needs[start])
    while ahead:
        module = ahead.pop()
        if module not in found:
            found.add(module)
            ahead += needs[module]
    return found


def _room(module: str) -> str | None:
    """Return the room of a module; None for the package itself and its start file."""
    package, *rest = module.split(".")
    if package != "spikeproof":
        return package
    return rest[0] if rest and rest[0] not in ("__main__", "callable_package") else None


def draw(rooms: list[str], pairs: set[tuple[str, str]]) -> str:
    """Return the picture: from a room to the right is what it uses, upwards who uses it."""
    place = {room: i for i, room in enumerate(rooms)}
    width, height = LABEL + CELL * len(rooms) + 8, TOP + CELL * len(rooms) + BOTTOM
    marks = sorted((place[a], place[b]) for a, b in pairs)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="Who uses whom">',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text class="said" x="{width - 8}" y="20" text-anchor="end">'
        "to the right of a room: what it uses; above it: who uses it</text>",
    ]
    for i in place.values():
        right = max((b for a, b in marks if a == i), default=i)
        above = min((a for a, b in marks if b == i), default=i)
        x, y = _centre(i)
        parts.append(
            f'<path class="line" d="M{x} {y}H{_centre(right)[0]}M{x} {y}V{_centre(above)[1]}"/>'
        )
    for room, i in place.items():
        x, y = _centre(i)
        left, kind = x + CELL // 2 - LABEL, "other" if room in BESIDE else "room"
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{y - CELL // 2 + 2}" width="{LABEL}" '
            f'height="{CELL - 4}" rx="4"/>'
            f'<text x="{x + CELL // 2 - 6}" y="{y + 4}" text-anchor="end">{room}</text>'
        )
    for a, b in marks:
        x, y = _centre(b)[0], _centre(a)[1]
        kind = "uses" if a < b else "back"
        parts.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="4"/>')
    return "\n".join([*parts, "</svg>", ""])


def _centre(i: int) -> tuple[int, int]:
    return LABEL + CELL * i + CELL // 2, TOP + CELL * i + CELL // 2


if __name__ == "__main__":
    PICTURE.write_text(draw(floors(), uses()))
