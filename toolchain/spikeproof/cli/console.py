"""What the user sees: results on stdout, progress and remarks on stderr.

With ``--json`` stdout holds one JSON document and nothing else; all human text goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import textwrap
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from spikeproof.text import one_line

if TYPE_CHECKING:
    from rich.console import Console as RichConsole


ARGUMENTS: ContextVar[tuple[str, ...]] = ContextVar("ARGUMENTS", default=())
"""The words of the command line being run, without the program's name."""

_LEAST_CELL = 20
_PER_CENT = re.compile(r"(?<=\d) %")
_TIED = "\0%"
"""A per cent sign that stays with its number; texts are free of control characters."""
_PLAIN_EVERY = 5.0
_SHOW_AFTER = 2.0
_AT_ONCE = 1.0
_FEWEST_REPORTS, _LEAST_SHARE, _STEADY = 3, 0.1, 1.3
"""What an estimate needs: reports, share of the work, pace of the later half against all."""


@dataclass
class Console:
    """Write results and messages of one command.

    json: print the result document on stdout. quiet: no progress and no tables, only the last
    lines and errors. verbose: details of each stage. debug: tracebacks of errors.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    _rich: dict[IO[str], RichConsole] = field(default_factory=dict, init=False, repr=False)

    @property
    def command_line(self) -> str:
        """Return the command being run, quoted so that a shell repeats it."""
        return self.command_without()

    def command_without(self, *options: str) -> str:
        """Return the command being run, less options that take a value and change no result."""
        words, kept, skip = ARGUMENTS.get(), [], False
        for word in words:
            if not skip and word.split("=", 1)[0] not in options:
                kept.append(word)
            skip = not skip and word in options
        return shlex.join(["spikeproof", *kept])

    @property
    def rich(self) -> RichConsole | None:
        """Return the terminal on stderr, or None where there is none and lines stay plain.

        Rich obeys NO_COLOR; it is imported only here, because it costs a tenth of a second.
        """
        return self._terminal(sys.stderr)

    @property
    def results(self) -> IO[str]:
        """Return where results for people go: stdout, unless the JSON document goes there."""
        return sys.stderr if self.json else sys.stdout

    def _terminal(self, stream: IO[str]) -> RichConsole | None:
        if not stream.isatty():
            return None
        if stream not in self._rich:
            from rich.console import Console as RichConsole

            self._rich[stream] = RichConsole(file=stream, highlight=False)
        return self._rich[stream]

    def say(self, text: str = "", style: str | None = None) -> None:
        """Print a line of the result; ``-q`` keeps it."""
        self._line(self.results, text, style)

    def say_lines(self, text: str) -> None:
        """Print several lines of the result, laid out by us; ``-q`` keeps them."""
        for line in text.split("\n"):
            self.say(line)

    def sentence(self, text: str, style: str | None = None) -> None:
        """Print a result in lines that fit, where a width is known; in one elsewhere, for grep."""
        known = "COLUMNS" in os.environ or self.results.isatty()
        for line in wrapped(text).split("\n") if known else [text]:
            self.say(line, style)

    def warn(self, text: str) -> None:
        """Print a remark that ``-q`` keeps, because who ignores it is misled."""
        self._line(sys.stderr, f"warning: {text}", "yellow")

    def note(self, text: str, style: str | None = None) -> None:
        """Print a remark that ``-q`` suppresses."""
        if not self.quiet:
            self._line(sys.stderr, text, style)

    def paragraph(self, text: str) -> None:
        """Print a result in lines that fit, the later ones indented; ``-q`` suppresses it."""
        if not self.quiet:
            self.say_lines(wrapped(text))

    def detail(self, text: str) -> None:
        """Print a remark that only ``-v`` shows."""
        if self.verbose:
            self._line(sys.stderr, text, "dim")

    def progress(self, text: str) -> None:
        """Print a line of progress, where no bar can be drawn."""
        self._line(sys.stderr, text, None)

    def _line(self, stream: IO[str], text: str, style: str | None) -> None:
        terminal, line = self._terminal(stream), one_line(text)
        if terminal is None:
            print(line, file=stream, flush=True)
        else:
            terminal.print(line, style=style, markup=False, soft_wrap=True)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = ""
    ) -> None:
        """Print a table; numbers align right, None becomes a dash. ``-q`` suppresses it."""
        if self.quiet:
            return
        numeric = [bool(rows) and all(_is_number(r[i]) for r in rows) for i in range(len(columns))]
        cells = [[one_line(show(value)) for value in row] for row in rows]
        if title:
            self.say_lines(title)
        terminal = self._terminal(self.results)
        if terminal is None:
            given = os.environ.get("COLUMNS", "")
            width = int(given) if given.isdecimal() else None
            self.say_lines(_plain_table(columns, cells, numeric, width))
            return
        if terminal.width < _natural_width(columns, cells):  # rich would cut numbers short
            self.say_lines(_plain_table(columns, cells, numeric, terminal.width))
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, right in zip(columns, numeric, strict=True):
            table.add_column(name, justify="right" if right else "left")
        for row in cells:
            table.add_row(*map(Text, row))
        terminal.print(table)

    def document(self, document: dict[str, Any]) -> None:
        """Print the one JSON document on stdout (only with ``--json``)."""
        if self.json:
            sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
            sys.stdout.flush()

    @contextlib.contextmanager
    def stage(self, title: str, unit: str = "", *, always: bool = True) -> Iterator[_Watcher]:
        """Show a stage: a bar with ETA if it takes over two seconds, then one line that stays.

        Args:
            title: what is done.
            unit: what is counted (images, layers); without it the share done is shown.
            always: print the line that stays also where no progress was ever reported.
        """
        watcher = _Watcher(self, title, unit)
        try:
            yield watcher
        finally:
            watcher.close()
        if always or watcher.reported:
            self.note(f"{title}: done in {time.monotonic() - watcher.start:.1f} s")


class _Watcher:
    """Turn (done, all) calls into a bar on a terminal, or into a line now and then elsewhere."""

    def __init__(self, console: Console, title: str, unit: str) -> None:
        self.console, self.title, self.unit = console, title, unit
        self.start = self.last = time.monotonic()
        self.reported = False
        self._counts: tuple[int, int | None] = 0, None
        self._said = self._doing = ""
        self._pace = _Pace(self.start)
        self._bar: Any = None
        self._task: Any = None
        if console.rich is not None and not console.quiet:
            self._open_bar()

    def __call__(self, done: int, total: int, doing: str | None = None) -> None:
        """Show how much is done, and, if it changes, what is being done."""
        self.reported = True
        self._doing = self._doing if doing is None else doing
        if self.console.quiet or total <= 0:
            return
        left = self._pace.left(time.monotonic(), done, total)
        self._counts, self._said = (done, total), self._done(done, total)
        self._said += "" if left is None else f", about {duration(left)} left"
        self._show()

    def say(self, text: str) -> None:
        """Show what is being done now, besides how much is done."""
        self._doing = text
        if not self.console.quiet:
            self._show()

    def _show(self) -> None:
        now, (done, total) = time.monotonic(), self._counts
        said = "; ".join(filter(None, (self._said, self._doing)))
        if self._bar is not None:
            shown = now - self.start >= _SHOW_AFTER
            self._bar.update(self._task, completed=done, total=total, visible=shown, said=said)
        elif now - self.last >= _PLAIN_EVERY:
            self.last = now
            self.console.progress(f"{self.title}: {said}")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _done(self, done: int, total: int) -> str:
        return f"{done:,} of {total:,} {self.unit}" if self.unit else f"{100 * done // total} %"

    def _open_bar(self) -> None:
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=30),
            progress.TextColumn("{task.fields[said]}"),
            console=self.console.rich,
            transient=True,
        )
        self._task = self._bar.add_task(self.title, total=None, visible=False, said="")
        self._bar.start()


class _Pace:
    """Estimate what is left from the recent pace, once there is evidence that it holds.

    Work that a journal remembers is done at once and says nothing of the pace of the rest: the
    count begins with what is done after the first second.
    """

    def __init__(self, start: float) -> None:
        self._start, self._begun = start, (start, 0)
        self._later: deque[tuple[float, int]] = deque()
        self._reports = 0

    def left(self, now: float, done: int, total: int) -> float | None:
        """Return the seconds left at the pace of the later half of the time, or None.

        None before a tenth of the work and three reports, and while the pace of the later half
        and of all the time are further apart than a factor of 1.3: then neither can be believed.
        """
        if now - self._start < _AT_ONCE:
            self._begun = now, done
            return None
        first, begun = self._begun
        self._later = self._later or deque([self._begun])
        self._later.append((now, done))
        self._reports += 1
        while self._later[1][0] <= (first + now) / 2:
            self._later.popleft()
        half, reached = self._later[0]
        if self._reports < _FEWEST_REPORTS or done - begun < _LEAST_SHARE * (total - begun):
            return None
        if done <= reached or done >= total:
            return None
        recent = (now - half) / (done - reached)
        overall = (now - first) / (done - begun)
        steady = max(recent, overall) <= _STEADY * min(recent, overall)
        return recent * (total - done) if steady else None


def wrapped(text: str, indent: int = 4) -> str:
    """Break a text into lines that fit the terminal, at most 100 wide; later ones are indented."""
    width = max(20, min(100, shutil.get_terminal_size((100, 24)).columns))
    lines = textwrap.wrap(
        _PER_CENT.sub(_TIED, text),
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(_TIED, " %")


def show(value: object) -> str:
    """Format one cell: None as a dash, floats with four digits, integers with separators."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "×".join(str(part) for part in value)
    return str(value)


def duration(seconds: float) -> str:
    """Format a time in seconds for people: 40 s, 3 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _natural_width(columns: Sequence[str], cells: list[list[str]]) -> int:
    """Return the columns a table takes where nothing is broken."""
    return sum(_widths([list(columns), *cells])) + 2 * len(columns)


def _plain_table(
    columns: Sequence[str], cells: list[list[str]], numeric: list[bool], width: int | None
) -> str:
    """Lay out a table in plain characters, as wide as its content.

    Where this is wider than ``width``, headings are broken into lines, then the cells of the widest
    column of text, then columns move together and names are broken; where that leaves too little,
    each row becomes a paragraph instead.
    """
    heads, rows, gap = [list(columns)], cells, 2
    widths = _widths([*heads, *rows])
    if width is not None and _over(widths, gap, width) > 0:
        heads = _broken_heads(columns)
        widths = _widths([*heads, *rows])
        wide = max(range(len(widths)), key=lambda i: 0 if numeric[i] or i == 0 else widths[i])
        least = _LEAST_CELL
        if _over(widths, gap, width) > 0 and widths[wide] - _over(widths, gap, width) < _LEAST_CELL:
            gap, wide = 1, 0
            words = " ".join([columns[0], *(row[0] for row in cells)]).split()
            least = max(map(len, words))
        if (over := _over(widths, gap, width)) > 0:
            if numeric[wide] or widths[wide] - over < least:
                return _paragraphs(columns, cells)
            widths[wide] -= over
            rows = [line for row in cells for line in _broken(row, wide, widths[wide])]
    lines = (
        (" " * gap).join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        for row in [*heads, ["-" * width for width in widths], *rows]
    )
    return "\n".join(line.rstrip() for line in lines)


def _paragraphs(columns: Sequence[str], cells: list[list[str]]) -> str:
    """Return a line for each row, broken where it is too long: ``NAME: HEADING CELL, ...``."""
    heads = [f"{name} " for name in columns]
    return "\n".join(
        wrapped(f"{row[0]}: " + ", ".join(map("".join, zip(heads[1:], row[1:], strict=True))))
        for row in cells
    )


def _widths(rows: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _over(widths: list[int], gap: int, width: int) -> int:
    return sum(widths) + gap * (len(widths) - 1) - width


def _broken_heads(columns: Sequence[str]) -> list[list[str]]:
    """Return the lines of headings with a word in each, the last ones in the last line."""
    words = [name.split() or [""] for name in columns]
    most = max(map(len, words))
    return [list(line) for line in zip(*([""] * (most - len(w)) + w for w in words), strict=True)]


def _broken(row: list[str], wide: int, width: int) -> list[list[str]]:
    """Return the lines of a row whose cell ``wide`` is broken to fit; the first has the others."""
    parts = textwrap.wrap(row[wide], width, break_on_hyphens=False) or [""]
    lines = [[""] * wide + [part] + [""] * (len(row) - wide - 1) for part in parts]
    return [[*row[:wide], parts[0], *row[wide + 1 :]], *lines[1:]]


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
