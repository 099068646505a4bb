"""Make text that comes from files safe to store and to show."""

from __future__ import annotations

import re
import unicodedata

# Control characters, lone surrogates and direction overrides can break a file or disguise a name.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)

_JOINERS = "\u200c\u200d\u00ad"
"""Parts of words and of emoji that move nothing: ZWNJ, ZWJ, soft hyphen."""

_KEPT = "\n\t" + _JOINERS
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that steer instead of showing."""


ACCURACY_DECIMALS = 2
"""Decimals of an accuracy in per cent: one image of 10,000 shows."""


def clean_text(text: str) -> str:
    """Replace characters that cannot be stored or that would disguise the text."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def counted(count: int, what: str, many: str | None = None) -> str:
    """Write a number with what it counts: ``1 image``, ``1,000 images``.

    ``many`` is the plural where it is not ``what`` with an s: ``counted(2, "class", "classes")``.
    """
    return f"{count:,} {what if count == 1 else many or f'{what}s'}"


def accuracy_figure(share: float) -> str:
    """Write an accuracy as a bare percentage: ``90.90``.

    Terminal, report, cards and README all write accuracies with it, so that one figure reads the
    same everywhere, however many images are behind it.
    """
    return f"{100 * share:.{ACCURACY_DECIMALS}f}"


def accuracy_text(share: float) -> str:
    """Write an accuracy with its unit, for sentences: ``90.90 %``."""
    return f"{accuracy_figure(share)} %"


def spell_out(text: str) -> str:
    """Return text in which control characters are spelled out: names come from files of others.

    Escape sequences move the cursor, rename the window or hide what stands on the screen, and
    format characters reverse what is read; line breaks, tabs and joiners stay.
    """
    return "".join(
        _escape(ord(c)) if unicodedata.category(c) in _HIDDEN and c not in _KEPT else c
        for c in text
    )


def one_line(text: str) -> str:
    """Return text as :func:`spell_out` does, with line breaks and tabs spelled out, too.

    For names and for what is one line by its meaning: a name must not begin a line of its own.
    """
    return spell_out(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(code: int) -> str:
    """Write a character as Python would, so that it can be read back."""
    return (
        f"\\x{code:02x}"
        if code < 1 << 8
        else (f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}")
    )


def network_line(name: str, input_shape: tuple[int, ...], timesteps: int) -> str:
    """Say in a few words what a network is: ``net, input 1×28×28, 4 timesteps``."""
    return f"{name}, input {'×'.join(map(str, input_shape))}, {counted(timesteps, 'timestep')}"
