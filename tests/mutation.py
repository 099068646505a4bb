"""Count the mutants that the tests notice; the figures stand in docs/mutation.md.

Usage: uv run python tests/mutation.py [NAME ...] [--function F] [--write]

The tests of one file are collected once. Every mutant then gets a forked process, in which the
functions of the module get the mutated code and the tests run that reach them. Nothing is written
to the source. Hypothesis draws the same examples each time and does not shrink. A run that uses
more than ten times the processor time of the unchanged code counts as noticed.

mutmut 3 leaves out decorated functions and constants, which are most of check_chip; cosmic-ray
starts one test process per mutant, which takes hours for these. So the faults are made here.

Exit code 1: a test fails without any mutant, or less than 95 % of a file's are noticed.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
import tomllib
from _pytest.runner import runtestprotocol
from mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
FIGURES, PAGE = ROOT / "docs/mutation.json", ROOT / "docs/mutation.md"
TESTS = {
    "fixedpoint": ["unit/test_fixedpoint.py", "property/test_fixedpoint_laws.py"],
    "ir/check_chip": ["unit/ir/test_chip_limits.py", "unit/ir/test_checks_and_serial.py"],
    "ir/limits": ["unit/ir/test_chip_limits.py"],
    "ir/neurons": [
        "unit/ir/test_neurons.py",
        "unit/ir/test_chip_limits.py",
        "unit/ir/test_checks_and_serial.py",
        "unit/test_extensions.py",
        "unit/engines/test_reference.py",
    ],
    "ir/synapses": [
        "unit/ir/test_chip_limits.py",
        "unit/ir/test_checks_and_serial.py",
        "unit/ir/test_unroll.py",
        "unit/ir/test_synapses.py",
    ],
    "verify/statistics": ["unit/verify/test_statistics.py"],
    "numerics/affine": ["unit/numerics/test_affine.py", "unit/convert/test_fold.py"],
    "numerics/intervals": ["unit/certify/test_ranges.py", "unit/certify/test_ranges_limits.py"],
    "certify/ranges": ["unit/certify/test_ranges.py", "unit/certify/test_ranges_limits.py"],
    "convert/quantise": ["unit/convert/test_quantise_limits.py", "unit/convert/test_quantise.py"],
}
Key = tuple[str, int]


@dataclass
class Result:
    """What became of the mutants of one file."""

    killed: int = 0
    """Noticed, those included that end the process or use too much time."""
    died: int = 0
    equivalent: list[str] = field(default_factory=list)
    survived: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Return the noticed share of the mutants that are not equivalent."""
        return self.killed / max(1, self.killed + len(self.survived))


class Runner:
    """A pytest plugin that runs the collected tests once per mutant instead of once."""

    def __init__(self, name: str, function: str | None) -> None:
        self.path = ROOT / f"toolchain/spikeproof/{name}.py"
        self.module = importlib.import_module(f"spikeproof.{name.replace('/', '.')}")
        self.functions = _functions(vars(self.module), self.path)
        self.result = Result()
        self.only = function
        known = tomllib.loads(EQUIVALENT.read_text()).get(name, [])
        self.known = {(e["function"], e["change"]): e["reason"] for e in known}

    def pytest_configure(self) -> None:
        """Let Hypothesis draw the same examples for every mutant, and not shrink them."""
        from hypothesis import Phase, settings  # pytest wants to load it first

        phases = [Phase.explicit, Phase.generate]
        settings.register_profile(
            "mutation", derandomize=True, database=None, deadline=None, phases=phases
        )
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests on the unchanged module, then on every mutant."""
        baseline = _in_child(lambda: _baseline(session.items, self.functions), 3600)
        if not baseline or any(failed for _, failed, _ in baseline):
            raise pytest.exit.Exception(f"tests fail on the unchanged code: {baseline}", 1)
        seconds = [spent for spent, _, _ in baseline]
        reached = [{tuple(key) for key in hits} for _, _, hits in baseline]
        gc.freeze()  # what exists now is neither copied nor searched in the forked processes
        unchanged = Mutant("", 0, "", compile(self.path.read_text(), str(self.path), "exec"))
        if _in_child(lambda: self._kill(unchanged, session.items), 3600) != -1:
            raise pytest.exit.Exception("the same source, put in like a mutant, is noticed", 1)
        favour = [0.0] * len(seconds)
        for mutant in mutants(self.path):
            if self.only not in (None, mutant.function):
                continue
            label = f"line {mutant.line} {mutant.function}: {mutant.change}"
            if reason := self.known.get((mutant.function, mutant.change)):
                self.result.equivalent.append(f"{label} ({reason})")
                continue
            where = self._function_around(mutant)
            chosen = [i for i in range(len(seconds)) if not where or where & reached[i]]
            chosen.sort(key=lambda i: seconds[i] / (1 + favour[i]))
            limit = 10 + 10 * sum(seconds[i] for i in chosen)
            items = [session.items[i] for i in chosen]
            found = _in_child(lambda m=mutant, i=items: self._kill(m, i), limit)
            if found == -1:
                self.result.survived.append(label)
                say(f"  survived, {label}")
                continue
            self.result.killed += 1
            self.result.died += found is None
            if found is not None and chosen:
                favour[chosen[found]] += 1  # such tests run earlier from now on
        return True

    def _kill(self, mutant: Mutant, items: list[pytest.Item]) -> int:
        """Return which test fails first on the mutant, or -1."""
        try:
            self._apply(mutant.code)
        except Exception:
            return 0
        return next((i for i, failed in enumerate(map(_fails, items)) if failed), -1)

    def _function_around(self, mutant: Mutant) -> set[Key]:
        """Return the function that holds a mutant; empty for the module itself."""
        name = mutant.function.rpartition(".")[2]
        starts = [key for key in self.functions if key[0] == name and key[1] <= mutant.line]
        return {max(starts, key=lambda key: key[1])} if starts else set()

    def _apply(self, code: CodeType) -> None:
        """Give functions and constants the values they have in the mutated source."""
        fresh: dict[str, Any] = {
            "__name__": self.module.__name__,
            "__file__": str(self.path),
            "__package__": self.module.__package__,
        }
        exec(code, fresh)
        for key, function in _functions(fresh, self.path).items():
            old = self.functions[key]
            old.__code__ = function.__code__
            old.__defaults__, old.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
        for name, value in fresh.items():
            if not isinstance(value, int | float | dict | tuple) or name.startswith("__"):
                continue
            before = getattr(self.module, name)
            for other in list(sys.modules.values()):
                if vars(other).get(name) is before:
                    setattr(other, name, value)


def _fails(item: pytest.Item) -> bool:
    return any(r.failed for r in runtestprotocol(item, nextitem=None, log=False))


def _in_child(work: Callable[[], Any], limit: float) -> Any:
    """Return what ``work`` returns in a forked process, None if it dies or takes too long."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        used = time.process_time()
        seconds = int(used + limit) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
        try:
            with os.fdopen(writer, "w") as out:
                json.dump(work(), out)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def _baseline(items: list[pytest.Item], functions: dict[Key, FunctionType]) -> list[Any]:
    """Return (seconds, failed, functions of the module that it reaches) for every test."""
    hits: set[Key] = set()
    monitor = sys.monitoring
    monitor.use_tool_id(monitor.PROFILER_ID, "mutation")
    monitor.register_callback(
        monitor.PROFILER_ID, monitor.events.PY_START, lambda code, _: hits.add(_key(code))
    )
    for function in functions.values():
        monitor.set_local_events(monitor.PROFILER_ID, function.__code__, monitor.events.PY_START)
    rows = []
    for item in items:
        hits.clear()
        start = time.process_time()
        failed = _fails(item)
        rows.append((time.process_time() - start, failed, sorted(hits)))
    return rows


def _key(code: CodeType) -> Key:
    return code.co_name, code.co_firstlineno


def _functions(namespace: dict[str, Any], path: Path) -> dict[Key, FunctionType]:
    """Find every function of a module, however it is decorated or registered."""
    return {
        _key(found.__code__): found
        for found in gc.get_objects()
        if isinstance(found, FunctionType)
        and found.__globals__ is namespace
        and found.__code__.co_filename == str(path)
    }


def say(line: str) -> None:
    """Write a line at once: a run takes minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(name: str, function: str | None) -> Result:
    """Run the tests of one file against all of its mutants."""
    runner = Runner(name, function)
    files = [str(ROOT / "tests" / test) for test in TESTS[name]]
    options = ["-n0", "-q", "-s", "-p", "no:cacheprovider", "-m", "not slow and not lava"]
    code = pytest.main([*options, "--rootdir", str(ROOT), *files], plugins=[runner])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"{name}: pytest ended with {code!r}")
    found = runner.result
    counts = f"{found.killed} killed ({found.died} of them died), {len(found.survived)} survived"
    say(f"{name}: {counts}, {len(found.equivalent)} equivalent: {found.share:.1%}")
    return found


def write(results: dict[str, Result]) -> None:
    """Put new results beside those of the other files and draw the page."""
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    figures |= {name: asdict(result) for name, result in results.items()}
    figures = {name: figures[name] for name in TESTS if name in figures}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(page({name: Result(**row) for name, row in figures.items()}))


def page(results: dict[str, Result]) -> str:
    """Return docs/mutation.md."""
    lines = [
        "# Mutation testing",
        "",
        "Written by `uv run python tests/mutation.py --write` (about ten minutes on one core).",
        "One small fault at a time is put into a file; the tests beside it must notice it.",
        "Those that no test can notice are left out of the share, each for the reason given below.",
        "",
        "| File | Noticed | Survived | Equivalent | Share noticed |",
        "|---|---|---|---|---|",
    ]
    for name, r in results.items():
        counts = f"{r.killed} | {len(r.survived)} | {len(r.equivalent)} | {r.share:.1%}"
        lines.append(f"| `{name}.py` | {counts} |")
    for title, rows in (
        ("Survived", {n: r.survived for n, r in results.items()}),
        ("Equivalent", {n: r.equivalent for n, r in results.items()}),
    ):
        lines += ["", f"## {title}"]
        for name, found in rows.items():
            if found:
                lines += ["", f"`{name}.py`", "", "```text", *found, "```"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help=", ".join(TESTS))
    parser.add_argument("--function", help="only the mutants of this function")
    parser.add_argument("--write", action="store_true", help="write docs/mutation.*")
    options = parser.parse_args()
    if sys.version_info < (3, 12):
        parser.error("needs Python 3.12 or newer, which tells which tests reach a function")
    os.chdir(ROOT)
    results = {}
    for name in options.names or TESTS:
        results[name] = run(name, options.function)
        if options.write and not options.function:
            write({name: results[name]})
    raise SystemExit(min(r.share for r in results.values()) < 0.95)


if __name__ == "__main__":
    main()
