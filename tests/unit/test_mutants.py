"""The faults that mutation testing makes: real ones, each once, always the same."""

from __future__ import annotations

import sys
from pathlib import Path

from mutants import changes, mutants

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = '''
from __future__ import annotations
LIMIT: int | None = 3

def f(x: int | None, y=0.5, *, z=True):
    """Text 1."""
    if x < LIMIT and not z:
        g(x, key=abs(y))
    return min(x, -y)
'''
EXPECTED = {
    "3 -> 4",
    "3 -> 2",
    "0.5 -> 0.25",
    "True -> False",
    "x < LIMIT and (not z) -> x <= LIMIT and (not z)",
    "x < LIMIT and (not z) -> x < LIMIT or not z",
    "x < LIMIT and (not z) -> not z",
    "x < LIMIT and (not z) -> x < LIMIT",
    "x < LIMIT and (not z) -> x < LIMIT and z",
    "g(x, key=abs(y)) -> pass",
    "g(x, key=abs(y)) -> g(x)",
    "key=abs(y) -> key=y",
    "min(x, -y) -> max(x, -y)",
    "min(x, -y) -> min(x, y)",
}


def test_every_fault_is_made_once_and_nothing_but_code_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(SOURCE)
    found = list(mutants(path))
    made = [m.change for m in found]
    negated = [c for c in made if c.startswith("if ")]
    assert len(negated) == 1 and "if not (" in negated[0]
    assert sorted(made) == sorted([*EXPECTED, *negated])
    assert {m.function for m in found} == {"", "f"}
    assert changes(path) == [(m.function, m.change) for m in found]
    spaces: list[dict[str, object]] = [{} for _ in found]
    for mutant, space in zip(found, spaces, strict=True):
        exec(mutant.code, space)
    assert {space["LIMIT"] for space in spaces} == {2, 3, 4}


def test_equivalent_mutants_still_exist_and_have_a_reason(root: Path) -> None:
    listed = tomllib.loads((root / "tests/equivalent_mutants.toml").read_text())
    for name, entries in listed.items():
        found = set(changes(root / f"toolchain/spikeproof/{name}.py"))
        for entry in entries:
            assert (entry["function"], entry["change"]) in found, f"{name}: {entry}"
            assert entry["reason"].endswith(".")
