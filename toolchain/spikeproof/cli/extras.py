"""Say what to install when a command needs an optional dependency that is absent."""

from __future__ import annotations

from importlib.util import find_spec

from spikeproof.errors import MissingExtraError


def need_torch(purpose: str) -> None:
    """Raise MissingExtraError if torch is not installed; ``purpose`` says what needs it."""
    if find_spec("torch") is None:
        raise MissingExtraError(
            "torch is not installed in this environment",
            where=purpose,
            hint="Install it: python3 -m pip install 'spikeproof[torch]'.",
        )
