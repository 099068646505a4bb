"""Start Python in another process without running what lies in the current folder.

``python -c`` and ``python -m`` put the current folder first in the search path: a ``numpy.py`` in a
folder of downloaded models would be executed.
"""

from __future__ import annotations

import os
import sys

# Nothing is imported before the search path is this process's own; sys is built in.
_PATHS = "import sys; sys.path[:] = sys.argv.pop(1).splitlines(); "
_SAFE = ["-P"] if sys.version_info >= (3, 11) else []


def child_python(code: str, *args: str) -> list[str]:
    """Return the command that runs code with this process's search path, without its "here"."""
    paths = "\n".join(path for path in sys.path if path)
    return [sys.executable, *_SAFE, "-c", _PATHS + code, paths, *args]


def guard_children() -> None:
    """Have processes that libraries start leave the current folder out, too (Python 3.11+)."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")
