"""Notice that nobody can read the output: a closed pipe, a closed descriptor, a full disk.

A verdict that was not seen is not claimed, so these end with the code of an internal error, and
not with that of the verdict, nor with the one the interpreter would choose by itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class Watched:
    """A stream that remembers the first error of writing to it; all else is the stream's.

    With ``forgiving`` the error goes no further: remarks that nobody reads stop no work.
    """

    def __init__(self, stream: TextIO | None, *, forgiving: bool = False) -> None:
        self._stream, self._forgiving = stream, forgiving
        self.error: OSError | None = None

    def write(self, text: str, /) -> int:
        """Write, or fail as a file would: where the stream was closed at the start, too."""
        try:
            if self._stream is None:
                raise OSError(errno.EBADF, "it was closed before the program started")
            return self._stream.write(text)
        except OSError as error:
            self._remember(error)
            return len(text)

    def flush(self) -> None:
        """Send out what was written."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except OSError as error:
            self._remember(error)

    def isatty(self) -> bool:
        """Tell whether this is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _remember(self, error: OSError) -> None:
        self.error = self.error or error
        if not self._forgiving:
            raise error

    def silence(self) -> None:
        """Send what is left nowhere.

        Otherwise the interpreter complains, and changes the exit code, when it ends.
        """
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no file behind it
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def watched() -> Iterator[tuple[Watched, Watched]]:
    """Watch stdout and stderr for the duration."""
    before = sys.stdout, sys.stderr
    out, err = Watched(sys.stdout), Watched(sys.stderr, forgiving=True)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield out, err
    finally:
        sys.stdout, sys.stderr = before
