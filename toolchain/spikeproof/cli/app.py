"""The entry point: commands are found by name, errors become exit codes.

Exit codes: 0 pass, 1 verification failed, 2 usage or input error or interrupted, 3 inconclusive,
4 internal error or a closed pipe (nobody saw a verdict, so none is claimed).
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from spikeproof.cli.commands import COMMANDS
from spikeproof.cli.console import ARGUMENTS, wrapped
from spikeproof.cli.streams import Watched, watched
from spikeproof.errors import SpikeproofError
from spikeproof.io.child import guard_children
from spikeproof.text import one_line, spell_out

INTERNAL = 4
INTERRUPTED = 2
CAUSES = {
    errno.ENOSPC: (
        "no space is left on the device",
        "Free some, or set TMPDIR to a place with more; nothing half-written was left.",
    ),
    errno.EDQUOT: ("your quota of disk space is used up", "Free some, or choose another place."),
    errno.EMFILE: (
        "this process may open no more files",
        "Raise the limit (`ulimit -n 4096`), or use fewer --workers.",
    ),
    errno.ENFILE: ("the system may open no more files", "Close other programs and try again."),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter one."),
    errno.EROFS: ("the file system is read-only", "Choose another place."),
    errno.EACCES: ("permission is denied", "Check the rights of the file and of its folder."),
    errno.ENOMEM: ("out of memory", "Try a smaller --limit or --batch."),
    errno.EAGAIN: (
        "the system may start no more processes",
        "Raise the limit (`ulimit -u`), or use fewer --workers.",
    ),
}
"""What the system may refuse: in words, and what to do."""
RESUMES = frozenset({"demo", "train", "verify"})
"""Commands that go on where they were; ``run`` does with a journal, the others start anew."""
_FLAGS = {"--json", "-q", "--quiet", "-v", "--verbose", "--debug"}


def main() -> None:
    """Run the command line and leave with the exit code of the result."""
    guard_children()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a narrow encoding lacks is spelled out
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:], ends=True))


def run(args: list[str], *, ends: bool = False) -> int:
    """Run the command line and return the exit code; errors are reported, not raised.

    Args:
        args: without the name of the program.
        ends: the process ends with it, so that a second Ctrl-C changes nothing.
    """
    ARGUMENTS.set(tuple(args))
    with watched() as (out, err):
        try:
            with _ended_like_ctrl_c():
                code = _guarded(args, ends)
        except BrokenPipeError as error:
            code = INTERNAL
            if out.error is None:
                code = _unexpected(args, error)  # a pipe of ours, not that of the output
        return code if _was_seen(out, err) else INTERNAL


def _was_seen(out: Watched, err: Watched) -> bool:
    """Tell whether all output got out; if not, say so as far as possible and drop the rest."""
    for stream in (out, err):
        with contextlib.suppress(OSError):  # it is remembered
            stream.flush()
    if out.error is not None and not isinstance(out.error, BrokenPipeError):
        reason = out.error.strerror or out.error
        print(f"error: the result could not be written to stdout: {reason}", file=sys.stderr)
    for stream in (out, err):
        if stream.error is not None:
            stream.silence()
    return out.error is None


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Treat a request to end, or a closed terminal, as Ctrl-C: what is half-done is removed.

    A signal that somebody chose to ignore (nohup) stays ignored.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(name) is signal.SIG_DFL:
                before[name] = signal.signal(name, signal.default_int_handler)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _guarded(args: list[str], ends: bool) -> int:
    """Run the command; all errors but a closed pipe become messages and codes."""
    try:
        code = _quick(args)
        if code is None:
            from spikeproof.cli.parser import parse_and_run

            code = parse_and_run(args)
    except SpikeproofError as error:
        _report_error(args, str(error), type(error).__name__, error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        if ends:  # what libraries do at the exit would be torn, with a traceback for each
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return report_interruption(args)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error is getattr(sys.stdout, "error", None):
            return INTERNAL  # nobody sees the output: said at the end
        return _system_problem(args, error)
    except Exception as error:
        return _unexpected(args, error)
    return code


def report_interruption(args: list[str]) -> int:
    """Say that the command was interrupted, and return the exit code."""
    text = f"interrupted; nothing half-written; run the same command again to {_again(args)}"
    _report_error(args, text, "Interrupted", INTERRUPTED)
    return INTERRUPTED


def _again(args: list[str]) -> str:
    command = next((word for word in args if not word.startswith("-")), "")
    journal = any(word.partition("=")[0] == "--journal" for word in args)
    if "--no-resume" not in args and (command in RESUMES or (command == "run" and journal)):
        return "resume"
    return f"start anew{' (with --journal FOLDER it would resume)' * (command == 'run')}"


def _system_problem(args: list[str], error: OSError) -> int:
    """Report what the system refused by its cause; only one without a known cause is a bug."""
    cause = CAUSES.get(error.errno or 0)
    if cause is None:
        return _unexpected(args, error)
    what, hint = cause
    place = "" if error.filename is None else f"{one_line(str(error.filename))}: "
    _report_error(args, f"{place}{what}\n  -> {hint}", type(error).__name__, 2)
    return 2


def _quick(args: list[str]) -> int | None:
    """Answer the top-level help and ``inspect FILE`` at once: the parser takes longer to build.

    Anything but a file and the common flags is left to the parser (None).
    """
    if args in ([], ["-h"], ["--help"]):
        _show_help()
        return 0 if args else 2
    flags = set(args[2:])
    if args[:1] != ["inspect"] or len(args) < 2 or args[1][:1] in ("", "-") or flags - _FLAGS:
        return None
    from spikeproof.cli.console import Console
    from spikeproof.cli.show import show_file

    console = Console(
        json="--json" in flags,
        quiet=bool(flags & {"-q", "--quiet"}),
        verbose=bool(flags & {"-v", "--verbose"}),
    )
    return show_file(console, args[1])


def _show_help() -> None:
    width = max(map(len, COMMANDS))
    print(wrapped("Usage: spikeproof COMMAND [ARGUMENTS] [OPTIONS]"), end="\n\n")
    print(
        wrapped(
            "Turn trained spiking networks into chip integers, and show what happened to them.", 0
        )
    )
    print()
    for name, line in COMMANDS.items():
        print(wrapped(f"  {name:<{width}}  {line}", indent=width + 4))
    print()
    print(
        wrapped("`spikeproof COMMAND -h` shows its options, `spikeproof --version` the version.", 0)
    )


def _plain(told: str, cause: BaseException | None) -> str:
    """Say what pydantic found, in the parser, as settings in files are told: in plain words."""
    found: list[dict[str, Any]] = getattr(cause, "errors", list)()
    if not found:
        return told
    from spikeproof.document.values import message_of

    plain = message_of(found[0])
    if found[0]["type"] != "value_error":  # else it is a sentence of its own
        plain = f"it {plain} (found {found[0]['input']!r})"
    return told.replace(str(found[0]["msg"]), plain)


def _unexpected(args: list[str], error: Exception) -> int:
    """Report a usage error of the parser as such, anything else as an internal error."""
    describe = getattr(error, "format_message", None)
    if describe is not None and not describe():
        return 2  # no command given: the help was printed
    if describe is not None:
        context = getattr(error, "ctx", None)
        help_line = f"\n  -> {context.command_path} --help" if context is not None else ""
        told = _plain(str(describe()), error.__cause__)
        _report_error(args, told + help_line, "UsageError", 2)
        return 2
    if isinstance(error, MemoryError):
        text = "out of memory\n  -> Try a smaller --limit or batch size."
    else:
        text = (
            f"internal error: {type(error).__name__}: {error}\n"
            "  -> Please report it with the traceback that --debug shows."
        )
    _report_error(args, text, type(error).__name__, INTERNAL)
    return INTERNAL


def _report_error(args: list[str], text: str, kind: str, code: int) -> None:
    if "--debug" in args and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"error: {spell_out(text)}", file=sys.stderr)
    if "--json" in args:
        error = {"type": kind, "message": text, "exit_code": code}
        with contextlib.suppress(OSError):  # the exit code still tells
            print(json.dumps({"schema": 1, "error": error}))
