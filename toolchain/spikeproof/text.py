"""Make text that comes from files safe to store and to show."""

from __future__ import annotations

import re

# Control characters, lone surrogates and direction overrides can break a file or disguise a name.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)


def clean_text(text: str) -> str:
    """Replace characters that cannot be stored or that would disguise the text."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)
