"""Optional dependencies: which are here, and the one command that installs those that are not."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from spikeproof.errors import MissingExtraError


def is_installed(module: str) -> bool:
    """Tell whether a module can be found; nothing of it is imported, but its parents are."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is absent
        return False


def version_of(package: str) -> str | None:
    """Return the installed version of a package, named as it is installed; None without it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def install_command(extra: str) -> str:
    """Return what a user types to install an extra into the environment of this program."""
    return f"spikeproof doctor --install {extra}"


def need(*modules: str, extra: str, purpose: str) -> None:
    """Check that modules are installed before they are imported.

    Args:
        modules: names as in an import.
        extra: the extra of this distribution that brings them.
        purpose: what needs them; the place in the error.

    Raises:
        MissingExtraError: some are absent; all are named, with the command that installs them.
    """
    absent = [module for module in modules if not is_installed(module)]
    if absent:
        raise MissingExtraError(
            f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed in this "
            "environment",
            where=purpose,
            hint=f"Install: {install_command(extra)}",
        )
