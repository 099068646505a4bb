"""The entry point: commands are found by name, errors become exit codes.

Exit codes: 0 pass, 1 verification failed, 2 usage or input error or interrupted, 3 inconclusive,
4 internal error or a closed pipe (nobody saw a verdict, so none is claimed).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

from spikeproof.cli.console import ARGUMENTS
from spikeproof.errors import SpikeproofError

INTERNAL = 4
INTERRUPTED = 2
_FLAGS = {"--json", "-q", "--quiet", "-v", "--verbose", "--debug"}


def main() -> None:
    """Run the command line and leave with the exit code of the result."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run the command line and return the exit code; errors are reported, not raised."""
    ARGUMENTS.set(tuple(args))
    try:
        with _ended_like_ctrl_c():
            code = _guarded(args)
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError as error:
        if not _silence_closed():
            return _unexpected(args, error)  # a pipe of ours, not that of the output
        return INTERNAL
    return code


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


def _guarded(args: list[str]) -> int:
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
        text = "interrupted; nothing half-written; run the same command again to resume"
        _report_error(args, text, "Interrupted", INTERRUPTED)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        return _unexpected(args, error)
    return code


def _silence_closed() -> bool:
    """Send what is left for a closed pipe nowhere; return whether any was closed.

    Otherwise the interpreter complains, and changes the exit code, when it ends.
    """
    closed = False
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # no file behind it: nothing to silence
            handle = stream.fileno()
            poll = select.poll()
            poll.register(handle, select.POLLOUT)
            if os.fstat(handle).st_rdev == Path(os.devnull).stat().st_rdev:
                closed = True  # rich has done it already, before it gave up on a closed pipe
            elif any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
                closed = True
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, handle)
                os.close(nowhere)
    return closed


def _quick(args: list[str]) -> int | None:
    """Answer ``inspect FILE`` at once: building the parser takes longer than the answer.

    Anything but a file and the common flags is left to the parser (None).
    """
    flags = set(args[2:])
    if args[:1] != ["inspect"] or len(args) < 2 or args[1].startswith("-") or flags - _FLAGS:
        return None
    from spikeproof.cli.console import Console
    from spikeproof.cli.show import show_file

    console = Console(
        json="--json" in flags,
        quiet=bool(flags & {"-q", "--quiet"}),
        verbose=bool(flags & {"-v", "--verbose"}),
    )
    return show_file(console, args[1])


def _unexpected(args: list[str], error: Exception) -> int:
    """Report a usage error of the parser as such, anything else as an internal error."""
    describe = getattr(error, "format_message", None)
    if describe is not None and not describe():
        return 2  # no command given: the help was printed
    if describe is not None:
        context = getattr(error, "ctx", None)
        help_line = f"\n  -> {context.command_path} --help" if context is not None else ""
        _report_error(args, str(describe()) + help_line, "UsageError", 2)
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
    print(f"error: {text}", file=sys.stderr)
    if "--json" in args:
        error = {"type": kind, "message": text, "exit_code": code}
        print(json.dumps({"schema": 1, "error": error}))
