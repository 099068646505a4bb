"""The core stays light: importing all of it loads neither torch nor Lava."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, pkgutil, sys
import spikeproof

skipped = {"spikeproof.__main__"}
names = [m.name for m in pkgutil.walk_packages(spikeproof.__path__, "spikeproof.")]
for name in names:
    if name not in skipped:
        importlib.import_module(name)
heavy = [n for n in ("torch", "lava", "norse", "matplotlib") if n in sys.modules]
print(len(names), heavy)
sys.exit(1 if heavy else 0)
"""


def run_fresh(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )


def test_importing_every_core_module_loads_neither_torch_nor_lava() -> None:
    done = run_fresh(PROGRAM)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 30


def test_the_lava_target_can_be_imported_without_loading_lava() -> None:
    done = run_fresh(
        "import sys, spikeproof_lava.target; sys.exit(bool({'lava', 'torch'} & set(sys.modules)))"
    )
    assert done.returncode == 0, done.stderr


def test_a_recipe_is_checked_where_torch_is_not_installed(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "x"\n[optimiser]\nepocs = 2\n')
    done = run_fresh(
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from spikeproof.cli.app import run\n"
        f"sys.exit(run(['inspect', {str(path)!r}]))"
    )
    assert done.returncode == 2
    assert "unknown setting 'optimiser.epocs'; did you mean 'optimiser.epochs'?" in done.stderr


def test_help_and_inspect_load_no_torch_and_inspect_loads_no_parser() -> None:
    program = """
import sys
from spikeproof.cli.app import run
from spikeproof.io.zoo import zoo_networks

run(["inspect", str(next(iter(zoo_networks().values()))), "-q"])
bad = {"torch", "lava", "scipy", "typer", "rich"} & set(sys.modules)
run(["--help"])
bad |= {"torch", "lava", "scipy", "numpy.testing"} & set(sys.modules)
sys.exit(str(bad) if bad else 0)
"""
    done = run_fresh(program)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_waits_for_no_array_library() -> None:
    """``verify`` is the exception: its settings name attacks, which compute with arrays."""
    code = (
        "import sys\n"
        "from spikeproof.cli.commands import COMMANDS\n"
        "from spikeproof.cli.parser import load_command\n"
        "for name in COMMANDS:\n"
        "    name == 'verify' or load_command(name)\n"
        "    if 'numpy' in sys.modules: sys.exit(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr.strip()} imports numpy to show its help"
