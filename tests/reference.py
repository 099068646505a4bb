"""Write docs/reference from parser and docstrings: ``python tests/reference.py``.

``cli.md`` is made from the parser, ``api.md`` from the docstrings of the public functions.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spikeproof
from spikeproof import api
from spikeproof.cli.parser import COMMANDS, load_command

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
COMMON = ("--json", "--quiet", "--verbose", "--debug", "--help", "-h")
HEAD = """# Commands

Made from the parser by `python tests/reference.py`; a test compares the two.

`spikeproof COMMAND --help` shows the same. `python -m spikeproof` is another way to start it.

| exit code | meaning |
|---|---|
| 0 | pass |
| 1 | verification failed |
| 2 | usage or input error; or interrupted (see below) |
| 3 | inconclusive |
| 4 | internal error; or nobody could read the result: a pipe or stdout closed, a full disk |

Results go to stdout; progress, remarks and errors to stderr. Every command takes `--json` (one
document on stdout and nothing else, also for an error), `-q`/`--quiet` (only the last lines and
errors), `-v`/`--verbose` (details), `--debug` (the traceback of an error) and `-h`/`--help`.
After an interruption `demo`, `train`, `verify` and `run --journal` go on where they were.
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


API_HEAD = """# Python

Made from the docstrings by `python tests/reference.py`; a test compares the two and runs every
example.

`import spikeproof` imports nothing else; each function brings what it needs when it is first used.
Errors are of one family, `spikeproof.errors.SpikeproofError`, and name a place and a hint.
"""
RETURNED = (api.Checkpoint, api.Bundle, api.Run, api.Verification, api.Description)


def api_page() -> str:
    """Return the page of the public functions and of what they return."""
    functions = "".join(_function(getattr(api, name)) for name in spikeproof.__all__)
    return f"{API_HEAD}{functions}\n## What they return\n{''.join(map(_class, RETURNED))}"


def _function(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    words = [_parameter(p) for p in signature.parameters.values()]
    keyword = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    if keyword:
        words.insert(list(signature.parameters.values()).index(keyword[0]), "*")
    head = f"{function.__name__}({', '.join(words)})"
    return f"\n## {function.__name__}\n\n    {head}\n\n{_markdown(inspect.getdoc(function) or '')}"


def _parameter(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_KEYWORD:
        return f"**{parameter.name}"
    given = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    return parameter.name + given


def _class(kind: type[Any]) -> str:
    fields = ", ".join(f.name for f in dataclasses.fields(kind))
    return f"\n### {kind.__name__}\n\nFields: {fields}.\n\n{_markdown(inspect.getdoc(kind) or '')}"


def _markdown(text: str) -> str:
    """Return a docstring as Markdown: sections become lists, examples become code."""
    text = re.sub(r":\w+:`(?:~?[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    lines: list[str] = []
    blocks = re.split(r"\n\n", text)
    for block in blocks:
        head, _, rest = block.partition("\n")
        if block.startswith(">>>"):
            lines.append(f"```pycon\n{block}\n```")
        elif head in ("Args:", "Returns:", "Raises:"):
            told = inspect.cleandoc(rest)
            if head == "Args:":
                told = re.sub(r"^(\w+): ", r"* `\1`: ", told, flags=re.MULTILINE)
                told = re.sub(r"^    ", "  ", told, flags=re.MULTILINE)
            lines.append(f"**{head[:-1]}**\n\n{told}")
        else:
            lines.append(block)
    return "\n\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {"cli.md": page, "api.md": api_page}


if __name__ == "__main__":
    for name, made in PAGES.items():
        (FOLDER / name).write_text(made(), encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
