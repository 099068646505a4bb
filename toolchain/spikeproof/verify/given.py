"""What a verification is given, and what is checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.attacks.worst_case import WORST_CASE
from spikeproof.engines.floats import as_unit_images
from spikeproof.errors import BundleError, InputError
from spikeproof.io import container
from spikeproof.io.bundle import Bundle, bundle_bytes
from spikeproof.io.data_hints import type_hint
from spikeproof.io.files import sha256
from spikeproof.io.known import DataRecord, images_hash
from spikeproof.io.record import CalibrationRecord, SourceRecord
from spikeproof.io.trained import NOTHING, Trained
from spikeproof.ir.floats import FloatNetwork
from spikeproof.ir.shapes import network_shapes
from spikeproof.text import counted
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.document import FitRow
from spikeproof.verify.plausible import data_warnings, recorded_calibration_warnings

_GRID = "Floats in 0..1: numpy.rint(x * 255).astype(numpy.uint8)."


@dataclass(frozen=True, eq=False)
class Subject:
    """What is verified.

    bundle: as read from its file. source: the checkpoint's network. source_hash: content hash of
    the checkpoint, compared with the bundle's record. trained: what the checkpoint records about
    its training data and accuracy. chip_fit: what the network needs of each chip and what there
    is, for the report. origin: the file of another kind that the checkpoint was read from.
    """

    bundle: Bundle
    source: FloatNetwork
    source_hash: str
    trained: Trained = NOTHING
    chip_fit: Sequence[FitRow] = ()
    origin: SourceRecord | None = None


@dataclass(frozen=True, eq=False)
class Data:
    """The images it is verified with.

    x: uint8 (N, C, H, W). y: integer labels (N,). record: what they are, if they are the first of
    a file; else they are looked at. calibration: the images the bundle was calibrated with, in
    their order and perhaps more; with them every compensated weight is checked, without only the
    error they leave, and V2 is at best inconclusive where weights are compensated.
    """

    x: NDArray[np.uint8]
    y: NDArray[Any] | None
    record: DataRecord | None = None
    calibration: NDArray[np.uint8] | None = None


def input_warnings(
    bundle: Bundle, data: DataRecord, trained: Trained, *, fitted: bool
) -> list[str]:
    """Return what is odd about bundle and data, as far as it shows before anything is run.

    ``fitted`` tells whether the images the bundle was calibrated with are known.
    """
    found = [*recorded_calibration_warnings(bundle.record), *data_warnings(data, trained)]
    calibration = bundle.record.calibration
    used = None if calibration is None else calibration.data
    same = used is not None and data.sha256 is not None and used.sha256 == data.sha256
    if not fitted and bundle.record.options.get("compensate", True):
        lacks = (
            "not all of the images the bundle was calibrated with are used here"
            if same
            else "the images the bundle was calibrated with are not known (they are not the "
            "shipped ones)"
        )
        found.append(
            f"{lacks}: compensated weights cannot be checked one by one without verify "
            "--calibration"
        )
    if same:
        found.append("these are the images the bundle was calibrated on")
    return found


def images_asked(config: VerifyConfig) -> dict[str, int]:
    """Return how many images each part of a verification asks for, by its setting."""
    parts = {f"samples.{name}": count for name, count in config.samples}
    return {**parts, "lava_samples": config.lava_samples}


def fewer_images(config: VerifyConfig, images: int, held: int | None) -> str | None:
    """Say that settings ask for more images than there are, and where more may be had.

    Args:
        config: the settings.
        images: how many are used.
        held: how many the file holds, where a limit leaves fewer.

    Returns:
        A line, or None if there are enough for every part that is run.
    """
    strengths = dict(config.perturbations)
    strengths[WORST_CASE] = config.worst_case.epsilons
    idle = {f"samples.{kind}" for kind, given in strengths.items() if not given}
    beyond = [k for k, v in images_asked(config).items() if v > images and k not in idle]
    if not beyond:
        return None
    more = (
        "more come with --data"
        if held is None
        else f"the file holds {held:,}, --limit leaves the first of them"
    )
    there = f"there {'is' if images == 1 else 'are'} {counted(images, 'image')}"
    return f"{there}, fewer than {', '.join(beyond)} ask for: all are used; {more}"


def check_identity(bundle: Bundle, source_hash: str) -> dict[str, str]:
    """Check that the bundle is what its hash says and that it was made from this checkpoint.

    Raises:
        InputError: it was made from another checkpoint, both hashes are named; or from none.
        BundleError: its content is not the one its hash was computed from.
    """
    name = bundle.network.name
    content = container.content_hash(bundle_bytes(bundle))
    if bundle.content_hash not in ("", content):
        raise BundleError(
            f"content has hash {content}, but {bundle.content_hash} is claimed",
            where=name,
            hint="Convert the checkpoint again.",
        )
    check_origin(bundle)
    origin = bundle.record.checkpoint
    recorded = "none" if origin is None else origin.hash
    if recorded != source_hash:
        raise InputError(
            f"the bundle was made from checkpoint {recorded}, this one is {source_hash}",
            where=name,
            hint="Give the checkpoint it was converted from, or convert this one.",
        )
    return {"bundle_hash": content, "checkpoint_hash": source_hash}


def is_calibration(bundle: Bundle, images: NDArray[np.uint8]) -> bool:
    """Tell whether a bundle was calibrated with the first of these images."""
    recorded = bundle.record.calibration or CalibrationRecord()
    used = images[: recorded.samples]
    return len(used) > 0 and images_hash(used.shape, [used]) == recorded.hash


def check_calibration(bundle: Bundle, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the images that the bundle was calibrated with.

    Raises:
        InputError: these are others.
    """
    samples = (bundle.record.calibration or CalibrationRecord()).samples
    if not is_calibration(bundle, images):
        raise InputError(
            f"the {counted(len(images), 'image')} given {'does' if len(images) == 1 else 'do'} not "
            f"start with the {samples:,} the bundle was calibrated with",
            where="--calibration",
            hint="Give the file that was given to convert --calibration, unchanged.",
        )
    return images[:samples]


def check_origin(bundle: Bundle) -> None:
    """Check that a bundle was made from a checkpoint at all.

    Raises:
        InputError: it was read from a lava-dl ``.net`` file.
    """
    if bundle.record.netx is not None:
        raise InputError(
            "the bundle was read from a lava-dl .net file; no checkpoint of ours belongs to it",
            where=bundle.network.name,
            hint="Verification compares a bundle with the checkpoint it was converted from. Check "
            "this one with run --self-test, or with run --data on two engines.",
        )


def check_data(
    source: FloatNetwork, x: NDArray[Any], y: NDArray[Any] | None, file: str | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Check images and labels; ``file``: where they come from, for messages.

    Raises:
        InputError: not uint8 images of the network's shape, no label for each, or labels that
            are none of the network's classes.
    """
    where = file or source.name
    if x.dtype != np.uint8:
        raise InputError(
            f"images have type {x.dtype}, expected uint8",
            where=where,
            hint="Verification compares both networks on the same 8-bit pixels. "
            + (_GRID if x.dtype.kind == "f" else type_hint(x)),
        )
    as_unit_images(source, x[:1])
    if y is None or y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        found = "no labels" if y is None else f"labels {y.dtype} {y.shape}"
        raise InputError(
            f"found {found} for {counted(len(x), 'image')}, expected integers ({len(x)},)",
            where=where,
            hint="Give an npz with x and y, or a folder with x.npy and y.npy.",
        )
    _check_classes(source, y, where)
    return np.ascontiguousarray(x), y.astype(np.int64)


def distinct(x: NDArray[np.uint8], y: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return every image once, in order, with its label.

    All statistics count images as independent; one that is shown twice shows nothing new.
    """
    first = list({image.tobytes(): i for i, image in reversed(list(enumerate(x)))}.values())
    kept = np.sort(np.array(first, np.int64))
    return (x, y) if len(kept) == len(x) else (x[kept], y[kept])


def repeat_warnings(given: int, kept: int) -> list[str]:
    """Tell of images that :func:`distinct` has left out."""
    if kept == given:
        return []
    return [
        f"{given - kept:,} of the {given:,} images "
        f"{'repeats' if given - kept == 1 else 'repeat'} an earlier one; each was used once, "
        f"which leaves {kept:,}"
    ]


def _check_classes(source: FloatNetwork, y: NDArray[Any], where: str) -> None:
    classes = int(np.prod(network_shapes(source)[len(source.nodes) - 1]))
    wrong = np.flatnonzero((y < 0) | (y >= classes))
    if len(wrong):
        raise InputError(
            f"{counted(len(wrong), 'label')} {'is' if len(wrong) == 1 else 'are'} none of the "
            f"{classes} classes 0..{classes - 1}; the first is {int(y[wrong[0]])} of image "
            f"{int(wrong[0])}",
            where=where,
            hint="Give the labels this network was trained for.",
        )


def data_hash(x: NDArray[np.uint8], y: NDArray[np.int64]) -> str:
    """Return one hash of images and labels."""
    return sha256(f"{list(x.shape)}".encode() + x.tobytes() + y.astype("<i8").tobytes())
