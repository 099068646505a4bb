"""The picture of the house in docs/architecture.md is that of the imports there are."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import grimp
import house


def test_the_picture_is_that_of_the_import_graph() -> None:
    found, drawn = house.draw(house.floors(), house.uses()), house.PICTURE.read_text()
    assert drawn == found, "python tests/house.py draws it anew"
    assert "](house.svg)" in (house.ROOT / "docs" / "architecture.md").read_text()


def test_every_room_stands_in_the_picture_and_nothing_is_used_from_below() -> None:
    order = {room: i for i, room in enumerate(house.floors())}
    pairs = house.uses()
    assert {room for pair in pairs for room in pair} == set(order)
    back = {(a, b) for a, b in pairs if order[a] > order[b]}
    assert back == set()


def test_a_new_import_changes_the_picture() -> None:
    rooms, pairs = house.floors(), house.uses()
    assert house.draw(rooms, pairs | {("numerics", "verify")}).count('"back"') == 1
    assert house.draw(rooms, pairs - {("cli", "verify")}) != house.draw(rooms, pairs)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions count; those for type checkers only do not."""
    graph = grimp.build_graph(*house.PACKAGES, cache_dir=None, exclude_type_checking_imports=True)
    assert house.circles(graph) == []
    lower, upper = "spikeproof.io.container", "spikeproof.io.kinds"
    graph.add_import(importer=lower, imported=upper)
    assert {lower, upper} <= {module for circle in house.circles(graph) for module in circle}


def test_the_table_of_layers_names_every_room_from_top_to_bottom() -> None:
    text = (house.ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.M)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    order = [room for room in house.floors() if room not in house.BESIDE]
    assert named == order


def _named_values() -> dict[str, list[tuple[str, str]]]:
    """Return where each name of a module stands for which value: {name: [(file, value)]}."""
    found: dict[str, list[tuple[str, str]]] = {}
    for package in house.PACKAGES:
        folder = Path(str(importlib.util.find_spec(package).origin)).parent  # type: ignore[union-attr]
        for file in sorted(folder.rglob("*.py")):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.AnnAssign | ast.Assign) and node.value is not None:
                    first = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                    told = (file.name, ast.unparse(node.value))
                    found.setdefault(ast.unparse(first), []).append(told)
    return found


def test_a_registry_and_an_alias_of_a_callable_have_a_name_of_their_own() -> None:
    """Else a reader looks up one thing and finds another, or one thing in several places."""
    named = _named_values()
    registries = {k: v for k, v in named.items() if any(x.startswith("Registry(") for _, x in v)}
    assert "ENGINES" in registries and "ATTACKS" in registries
    assert {k: v for k, v in registries.items() if len(v) > 1} == {}
    progress = [(f, x) for v in named.values() for f, x in v if x == "Callable[[int, int], None]"]
    assert [file for file, _ in progress] == ["trace.py"]
