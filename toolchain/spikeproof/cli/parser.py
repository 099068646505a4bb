"""The parser: one stub per command, replaced by the real command when it is called."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import shutil
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from spikeproof import __version__
from spikeproof.cli.commands import COMMANDS
from spikeproof.cli.options import LISTED
from spikeproof.errors import InputError

HELP = {"help_option_names": ["-h", "--help"]}
_UNBROKEN = "\N{NON-BREAKING HYPHEN}"
_WORDS: dict[Any, str] = {Path: "PATH", int: "N", float: "X", str: "NAME"}
_TYPE = re.compile(r" <[^<>]*>$")
"""What the parser puts behind the name of an argument."""
_NARROW, _LEAST = 60, 30
"""Columns below which help is laid out anew (the parser's own least is 50), and the least."""
_INTERRUPTED_IN_PARSER = 130  # what typer makes of a KeyboardInterrupt


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called, not when they are listed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the real command in the place of its stub, then resolve as usual."""
        if args and args[0] in COMMANDS:
            self.commands[args[0]] = load_command(args[0])
        return super().resolve_command(ctx, args)


def load_command(name: str) -> Any:
    """Import one command's module and build its parser."""
    module = importlib.import_module(f"spikeproof.cli.commands.{name}")
    build = module.build()
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, help=module.__doc__, context_settings=HELP)(build)
    made = typer.main.get_command(single)
    made.context_class = _fitting(made.context_class)
    setattr(made, "parse_args", functools.partial(_parse_args, made, made.parse_args))  # noqa: B010
    kinds = inspect.signature(build).parameters
    for parameter in made.params:
        if parameter.metavar is None and parameter.name in kinds:
            parameter.metavar = _word(parameter, kinds[parameter.name].annotation)
        process = functools.partial(_process, parameter, parameter.process_value)
        setattr(parameter, "process_value", process)  # noqa: B010 (a method, for mypy)
    return made


def _word(parameter: Any, annotation: Any) -> str | None:
    """Return what help shows for a value: BUNDLE, PATH, N, onnx|net; None for a switch."""
    if parameter.param_type_name == "argument":
        return str(parameter.name).upper()
    kinds = _kinds(annotation)
    choices = [
        c for k in kinds if typing.get_origin(k) is typing.Literal for c in typing.get_args(k)
    ]
    if choices:
        return "|".join(map(str, choices))
    return next((word for kind, word in _WORDS.items() if kind in kinds), None)


def _kinds(annotation: Any) -> list[Any]:
    """Return the plain types in one: ``Annotated[list[str] | None, ...]`` holds str and None."""
    if hasattr(annotation, "__metadata__"):
        return _kinds(annotation.__origin__)
    if typing.get_origin(annotation) in (None, typing.Literal):
        return [annotation]
    return [kind for inner in typing.get_args(annotation) for kind in _kinds(inner)]


def _fitting(context: Any) -> Any:
    """Return a class of contexts whose help fits terminals below the parser's least width."""
    base: Any = context.formatter_class
    columns = shutil.get_terminal_size().columns

    class Formatter(base):  # type: ignore[misc]
        """Give the options a third of a narrow terminal; longer ones get a line of their own.

        No line ends within ``--data-dir`` or ``stable-snn``: half a name cannot be typed or copied.
        """

        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            if columns < _NARROW:
                self.width = max(columns, _LEAST)

        def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
            """Write names and their descriptions in two columns."""
            narrow = self.width // 3 if self.width < _NARROW else col_max
            kept = [
                (_TYPE.sub("", name), _in_words(told).replace("-", _UNBROKEN))
                for name, told in rows
            ]
            super().write_dl(kept, min(col_max, narrow), col_spacing)

        def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
            """Write how the command is called."""
            super().write_usage(prog, args.translate({ord(c): None for c in "{}"}), prefix)

        def write_text(self, text: str) -> None:
            """Write a paragraph."""
            super().write_text(text.replace("-", _UNBROKEN))

        def getvalue(self) -> str:
            """Return all that was written."""
            return str(super().getvalue()).replace(_UNBROKEN, "-")

    return type("Context", (context,), {"formatter_class": Formatter})


def _in_words(told: str) -> str:
    """Say a range of numbers in words: the parser writes ``x>=1`` of a number called N."""
    both = re.sub(r"(-?\d+)<=x<=(-?\d+)", r"\1 to \2", told)
    return re.sub(r"x<=(-?\d+)", r"at most \1", re.sub(r"x>=(-?\d+)", r"at least \1", both))


def _parse_args(command: Any, parse: Callable[[Any, Any], Any], ctx: Any, args: list[str]) -> Any:
    """Parse; what takes several numbers takes them with commas and with spaces."""
    options = {
        name: parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and _counts(parameter)
        for name in parameter.opts
    }
    return parse(ctx, _with_separate_numbers(list(args), options))


def _counts(parameter: Any) -> bool:
    """Tell options of several numbers: of a fixed count, or of any, which are one word."""
    return bool(parameter.nargs > 1 or parameter.metavar == LISTED)


def _with_separate_numbers(args: list[str], options: dict[str, Any]) -> list[str]:
    """Write the numbers of such options as the parser takes them.

    Raises:
        InputError: more or fewer numbers than the option takes.
    """
    found: list[str] = []
    while args:
        word = args.pop(0)
        if word == "--":
            return [*found, word, *args]
        name, equals, value = word.partition("=")
        option = options.get(name)
        if option is None:
            found.append(word)
            continue
        if equals:
            args.insert(0, value)
        fixed = option.nargs > 1
        numbers: list[str] = []
        while (
            args and (parts := _numbers(args[0])) and not (fixed and len(numbers) >= option.nargs)
        ):
            numbers += parts
            del args[0]
        if fixed and len(numbers) != option.nargs and args[:1] != [""]:  # told of every option
            seen = " ".join(numbers or args[:1]) or "nothing"
            form = option.metavar or " ".join(["X"] * option.nargs)
            raise InputError(
                f"found {seen}, expected {option.nargs} numbers",
                where=name,
                hint=f"Give {name} {form}, or with commas: {name} {form.replace(' ', ',')}.",
            )
        found += [name, *(numbers if fixed else [",".join(numbers)] if numbers else [])]
    return found


def _numbers(word: str) -> list[str]:
    """Take ``3,16,16`` apart; empty where that is no list of numbers."""
    parts = word.split(",")
    try:
        list(map(float, parts))
    except ValueError:
        return []
    return parts


def _process(parameter: Any, process: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    """Convert what was given, unless it is empty: an empty path would be the current folder.

    Raises:
        InputError: it is; the argument or option is named.
    """
    given = value if isinstance(value, (list, tuple)) else [value]
    if "" in given:
        option = parameter.param_type_name == "option"
        name = ", ".join(parameter.opts) if option else str(parameter.name).upper()
        raise InputError(
            "is empty",
            where=name,
            hint="Name a value; a shell variable that is not set gives an empty word, too.",
        )
    return process(ctx, value)


def build_app() -> typer.Typer:
    """Return the application with one stub per command."""
    app = typer.Typer(
        cls=LazyGroup,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings=HELP,
    )
    app.callback()(_root)
    for name, line in COMMANDS.items():
        app.command(name, help=line)(_stub)
    return app


def parse_and_run(args: list[str]) -> int:
    """Parse ``args``, run the command and return its exit code.

    Raises:
        KeyboardInterrupt, BrokenPipeError: as they came; the parser would make codes of them.
    """
    try:
        code = typer.main.get_command(build_app()).main(
            args=args, prog_name="spikeproof", standalone_mode=False
        )
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        raise
    if code == _INTERRUPTED_IN_PARSER:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _stub() -> None:
    """Stand in for a command until it is called."""


def _show_version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Turn trained spiking networks into chip integers, and show what happened to them."""
