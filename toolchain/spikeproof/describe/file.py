"""Find out what a file is, and describe it."""

from __future__ import annotations

import shlex
from pathlib import Path

from spikeproof.describe.chip import describe_bundle, describe_chip
from spikeproof.describe.documents import Described
from spikeproof.describe.toml import describe_toml
from spikeproof.describe.trained import describe_checkpoint
from spikeproof.errors import BundleError, InputError
from spikeproof.io.formats import ChipFrontend, find_frontend, frontend_name, load_trained


def _is_folder(path: Path) -> InputError:
    """Return the error for a folder; one that a command has written is named for what it is."""
    place, quoted = str(path), shlex.quote(str(path))
    if (path / "report.json").is_file():
        hint = f"`spikeproof report {quoted}` shows it."
        return InputError("is the folder of a verification, not a network", where=place, hint=hint)
    found = sorted(p for p in path.iterdir() if p.suffix in (".ckpt", ".spk"))
    hint = "Give a file: a checkpoint, bundle, recipe or .net file."
    if found:
        hint = f"Give a file in it: `spikeproof inspect {shlex.quote(str(found[0]))}`."
    return InputError("is a folder, not a file", where=place, hint=hint)


def describe_file(path: Path, input_shape: tuple[int, int, int] | None = None) -> Described:
    """Find out what a file is and describe it; needs neither the option parser nor torch.

    Args:
        path: a checkpoint, bundle, recipe, settings of a command, or a file of any frontend.
        input_shape: (C, H, W) of a ``.net`` that does not say; no other file takes one.

    Raises:
        InputError, BundleError: it is none of these, or damaged.
    """
    from spikeproof.io.container import sniff_kind

    if path.is_dir():
        raise _is_folder(path)
    frontend = find_frontend(path)
    if isinstance(frontend, ChipFrontend):
        return describe_chip(frontend, path, input_shape)
    if input_shape is not None:
        raise InputError(
            "an input shape is for lava-dl .net files: this file has its own",
            where=str(path),
            hint="Leave out --input-shape.",
        )
    if frontend is not None:
        return describe_checkpoint(load_trained(path), path, frontend_name(frontend))
    if path.suffix == ".toml":
        return describe_toml(path)
    kind = sniff_kind(path)
    if kind != "bundle":
        raise BundleError(
            f"is a {kind!r} file; expected a checkpoint, a bundle or a recipe",
            where=str(path),
            hint="Training goes on from it; its checkpoint is NAME.ckpt beside it."
            if kind == "training-state"
            else "Check which file is meant.",
        )
    from spikeproof.io.bundle import load_bundle

    return describe_bundle(load_bundle(path), path)
