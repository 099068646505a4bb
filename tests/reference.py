"""Write docs/reference/cli.md from the parser itself: ``python tests/reference.py``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from spikeproof.cli.parser import COMMANDS, load_command

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"
COMMON = ("--json", "--quiet", "--verbose", "--debug", "--help", "-h")
HEAD = """# Commands

Made from the parser by `python tests/reference.py`; a test compares the two.

`spikeproof COMMAND --help` shows the same. `python -m spikeproof` is another way to start it.

| exit code | meaning |
|---|---|
| 0 | pass |
| 1 | verification failed |
| 2 | usage or input error; or interrupted (the same command goes on where it was) |
| 3 | inconclusive |
| 4 | internal error; or nobody could read the result: a pipe or stdout closed, a full disk |

Results go to stdout; progress, remarks and errors to stderr. Every command takes `--json` (one
document on stdout and nothing else, also for an error), `-q`/`--quiet` (only the last lines and
errors), `-v`/`--verbose` (details), `--debug` (the traceback of an error) and `-h`/`--help`.
`NO_COLOR` is obeyed, and without a terminal all lines are plain.
"""


def page() -> str:
    """Return the page."""
    return HEAD + "".join(_section(name, line) for name, line in COMMANDS.items())


def _section(name: str, line: str) -> str:
    params = [p for p in load_command(name).params if not set(p.opts) & set(COMMON)]
    arguments = [p for p in params if p.param_type_name == "argument"]
    options = [p for p in params if p.param_type_name == "option"]
    usage = " ".join(["spikeproof", name, *(p.name.upper() for p in arguments)])
    rows = [f"| `{p.name.upper()}` | {_clean(p.help)} |" for p in arguments]
    rows += [f"| {_names(p)} | {_clean(p.help)}{_default(p)} |" for p in options]
    table = "\n| | |\n|---|---|\n" + "\n".join(rows) + "\n" if rows else ""
    return f"\n## {name}\n\n{line}\n\n    {usage} [OPTIONS]\n{table}"


def _names(param: Any) -> str:
    names = [*sorted(param.opts, key=len), *param.secondary_opts]
    needed = " (required)" if param.required else ""
    return ", ".join(f"`{n}`" for n in names) + needed


def _default(param: Any) -> str:
    default = param.default
    shown = default is not None and not isinstance(default, bool) and not callable(default)
    return f" [default: {default}]" if shown and str(default) else ""


def _clean(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
