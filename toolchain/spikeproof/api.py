"""The public functions: load, convert, run, verify, export, inspect.

Each is thin: it takes paths, names of shipped networks, arrays or what another one returned, and
hands them to the room that does the work. Errors are of the SpikeproofError family.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikeproof.bundles import check_bundle_ranges, load_safe_bundle, write_bundle
from spikeproof.convert.bundle import convert_to_bundle
from spikeproof.convert.images import (
    Data,
    Images,
    Place,
    Purpose,
    images_of,
    load_images,
    naming_assumed_size,
    shipped_test_images,
)
from spikeproof.convert.options import ConvertOptions
from spikeproof.describe.file import describe_file
from spikeproof.engines.registry import get_engine, refuse
from spikeproof.engines.trace import LayerTrace
from spikeproof.errors import InputError
from spikeproof.io.arguments import (
    BUNDLE,
    COUNT,
    DATA,
    FLAG,
    NAME,
    NETWORK,
    NETWORK_OR_BUNDLE,
    PATH,
    SETTINGS,
    SHAPE,
    check_arguments,
    check_places,
    speaks_python,
)
from spikeproof.io.bundle import Bundle
from spikeproof.io.checkpoint import Checkpoint
from spikeproof.io.files import make_folder
from spikeproof.io.formats import (
    EXPORTERS,
    ChipFrontend,
    TrainedFrontend,
    exporter_name,
    find_frontend,
    load_source,
    load_trained,
)
from spikeproof.io.kinds import is_kind
from spikeproof.io.options import merged_options
from spikeproof.io.slices import check_labels
from spikeproof.io.zoo import resolve_model
from spikeproof.text import counted, network_line

if TYPE_CHECKING:
    from spikeproof.verify.document import Report


@dataclass(frozen=True, eq=False)
class Run:
    """What an engine made of some samples.

    predictions: (N,) int64. logits: (N, classes) int64, the readout's membrane at its last step.
    labels: (N,) int64 or None. traces: u, v and s of every layer, if they were asked for; a readout
    does not spike, and its s is None.
    """

    engine: str
    predictions: NDArray[np.int64]
    logits: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None
    traces: dict[str, LayerTrace] | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of samples that got the right class, 0..1; None without labels."""
        if self.labels is None:
            return None
        return float((self.predictions == self.labels).mean())

    def __repr__(self) -> str:
        """Say in one line what it is."""
        right = "" if self.accuracy is None else f": {100 * self.accuracy:.2f} % right"
        return f"<Run of {counted(len(self.predictions), 'sample')} on {self.engine}{right}>"


@dataclass(frozen=True, eq=False)
class Verification:
    """A verdict with its evidence.

    verdict: "pass", "fail" or "inconclusive". sentence: why. report: everything, typed.
    page: the report for people, HTML.
    """

    verdict: str
    sentence: str
    report: Report
    page: Path

    def __repr__(self) -> str:
        """Say in one line what it is."""
        return f"<Verification of {self.report.network.name}: {self.verdict}, see {self.page}>"


@dataclass(frozen=True, eq=False)
class Description:
    """What is in a file.

    kind: "checkpoint", "bundle", "recipe" or another kind of file. layers: one row per layer or
    node, empty where there are none. document: everything, as ``inspect --json`` prints it.
    """

    document: dict[str, Any]

    @property
    def kind(self) -> str:
        """What kind of file it is."""
        return str(self.document["kind"])

    @property
    def layers(self) -> list[dict[str, Any]]:
        """One row per layer or node."""
        return list(self.document.get("layers", []))

    def __repr__(self) -> str:
        """Say in one line what it is."""
        found = self.document
        if "name" not in found:
            return f"<Description of {self.kind} {found['path']}>"
        steps, shape = found["timesteps"], tuple(found["input_shape"])
        line = found["name"] if steps is None else network_line(found["name"], shape, steps)
        return f"<Description of {self.kind} {line}, {counted(len(self.layers), 'layer')}>"


@speaks_python
def load(model: Place, *, frontend: str | None = None, **left_open: Any) -> Checkpoint | Bundle:
    """Read a trained network or a bundle.

    >>> import spikeproof
    >>> spikeproof.load("fmnist-lif-natural")
    <Checkpoint fmnist-lif-natural, input 1×28×28, 4 timesteps>

    Args:
        model: a checkpoint, a bundle, a file of any frontend (lava-dl's ``.net``), or the name of
            a shipped network.
        frontend: what reads it, where its content does not tell, as ``convert --from`` takes it:
            "stable-snn" for a state dict of the reference code of "Robust Stable SNNs".
        left_open: what the file does not say, as ``spikeproof convert`` has it: of a ``.net``
            ``timesteps``, ``pixel_range``, ``skip_input``, ``input_shape``; for "stable-snn"
            ``architecture``, ``timesteps``, ``threshold``, ``leak``, ``mean``, ``std``.

    Returns:
        A Checkpoint for a trained network, a Bundle for chip integers.

    Raises:
        InputError: missing, unreadable, or neither a file nor a shipped network.
        BundleError: damaged, altered, or of another kind. RangeError: some input could overflow.
    """
    check_arguments("load", model=(model, NETWORK_OR_BUNDLE), frontend=(frontend, NAME.optional))
    path = resolve_model(str(model))
    reader = find_frontend(path, frontend)
    if isinstance(reader, ChipFrontend):
        return reader.load(path, None, **left_open)
    if reader is None and not left_open and is_kind(path, "bundle"):
        return load_safe_bundle(path)
    return load_trained(path, frontend, left_open)


@speaks_python
def convert(
    model: Place | Checkpoint,
    calibration: Data | None = None,
    *,
    output: Place | None = None,
    force: bool = False,
    frontend: str | None = None,
    **options: Any,
) -> Bundle:
    """Turn a trained network into chip integers.

    >>> import spikeproof
    >>> bundle = spikeproof.convert("fmnist-lif-natural", calibration_samples=64)
    >>> [layer.name for layer in bundle.network.layers]
    ['l1', 'l2', 'l3', 'out']

    Args:
        model: as for :func:`load`, or what it returned.
        calibration: images it was trained on, uint8 (N, C, H, W) or floats in 0..1; None: the
            shipped ones, if it was trained on their set. Of a ``.net`` file: samples for the
            self-test; None: random ones.
        output: a file to write the bundle to; its folder is made if missing, and a bundle that is
            there is replaced.
        force: replace a file of another kind, too.
        frontend: what reads the file, as for :func:`load`.
        options: as ``spikeproof convert`` has them: ``weight_bits``, ``profile``, ``search`` and so
            on (see ConvertOptions); and what the file does not say, as for :func:`load`.

    Returns:
        The bundle, with the record of how it was made.

    Raises:
        UnsupportedError: something cannot be mapped; every obstacle is listed.
        RangeError: no scale keeps a layer inside the chip's ranges.
        InputError: unusable file, images or options, or a file of another kind at ``output``.
    """
    check_arguments(
        "convert",
        model=(model, NETWORK),
        calibration=(calibration, DATA.optional),
        output=(output, PATH.optional),
        force=(force, FLAG),
        frontend=(frontend, NAME.optional),
    )
    if output is not None:
        check_places("convert", {Path(output): "bundle"}, [model, calibration], force)
    reader = None
    if not isinstance(model, Checkpoint):
        reader = find_frontend(resolve_model(str(model)), frontend)
    if isinstance(reader, ChipFrontend):
        if calibration is not None and not isinstance(calibration, str | PathLike):
            raise InputError(
                "samples for the self-test of a .net must be a file",
                where="convert",
                hint="Save them with numpy.savez(FILE, x=...) and give the path as calibration.",
            )
        file = None if calibration is None else Path(calibration)
        bundle = reader.load(Path(str(model)), file, **options)
    else:
        asked = reader.settings if isinstance(reader, TrainedFrontend) else None
        left_open = {k: options.pop(k) for k in list(options) if asked and k in asked.model_fields}
        chosen = merged_options(ConvertOptions, None, options)
        checkpoint = _trained(model, frontend, left_open)
        images = _images(calibration, "calibration", checkpoint)
        _, bundle = convert_to_bundle(checkpoint, images, chosen)
        check_bundle_ranges(bundle)
    return bundle if output is None else write_bundle(Path(output), bundle)


@speaks_python
def run(
    bundle: Place | Bundle,
    data: Data | None = None,
    *,
    engine: str = "fast",
    limit: int | None = None,
    trace: bool = False,
) -> Run:
    """Run chip integers on an engine; all results are held in memory.

    >>> import spikeproof
    >>> bundle = spikeproof.convert("fmnist-lif-natural", calibration_samples=64)
    >>> result = spikeproof.run(bundle, engine="numpy", limit=20, trace=True)
    >>> result.predictions.shape, result.traces["l1"].s.shape
    ((20,), (20, 4, 24, 14, 14))

    Args:
        bundle: a file or what :func:`convert` returned.
        data: images uint8 (N, C, H, W) or floats in 0..1, or spikes (N, T, C, H, W) for a network
            that takes spikes; None: the shipped test images, if it was calibrated on their set.
        engine: "fast", "reference", "numpy", "lava", "onnx", "torch", or another installed target.
        limit: use only the first samples, 1 or more.
        trace: keep u, v and s of every layer; a readout does not spike, and its s is None.

    Returns:
        Predictions, logits, and labels and traces if there are any.

    Raises:
        InputError: unusable samples, or no such engine. UnsupportedError: it cannot run this
            network. MissingExtraError, TargetError: it is not installed, or failed.
    """
    check_arguments(
        "run",
        bundle=(bundle, BUNDLE),
        data=(data, DATA.optional),
        engine=(engine, NAME),
        limit=(limit, COUNT.optional),
        trace=(trace, FLAG),
    )
    target = get_engine(engine)
    loaded = _bundle(bundle)
    refuse(target, loaded.network)
    network = loaded.network
    steps = None if network.coding == "pixels" else network.timesteps
    if data is None:
        samples = shipped_test_images(loaded).first(limit)
    else:
        samples = images_of(data, network.input_shape, steps).first(limit)
    check_labels(samples.y, prod(network.layers[-1].shape), samples.path)
    found = target.run(network, samples.x, trace=trace)
    return Run(target.name, found.predictions, found.logits, samples.y, found.traces)


@speaks_python
def verify(
    bundle: Place | Bundle,
    against: Place | Checkpoint,
    data: Data | None = None,
    *,
    output: Place | None = None,
    calibration: Data | None = None,
    limit: int | None = None,
    suite: str = "quick",
    settings: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Verification:
    """Compare a bundle with the trained network it came from; write a report.

    >>> import spikeproof, tempfile
    >>> name = "fmnist-lif-natural"
    >>> bundle = spikeproof.convert(name, calibration_samples=64)
    >>> few = {"engine": "fast", "worst_case.epsilons": []}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = spikeproof.verify(bundle, name, limit=10, settings=few, output=folder)
    >>> result.verdict
    'inconclusive'
    >>> print(result.report.check("V1").verdict)
    pass

    Args:
        bundle: a file or what :func:`convert` returned.
        against: the trained network, as for :func:`load`.
        data: test images with labels; None: the shipped ones, if it was trained on their set.
        output: folder of the run, made if missing; default ``runs/NAME``. What is done stays done:
            after an interruption the same call goes on where it was. An earlier report is kept as
            previous-report.
        calibration: the images that :func:`convert` was given; the shipped ones are found.
        limit: use only the first images, 1 or more.
        suite: "quick", "standard" or "rigorous".
        settings: changes to the suite, as ``spikeproof verify --set`` takes them:
            ``{"samples.pgd": 1000}``.
        force: replace files of the run's names in ``output`` even if they are of another kind.

    Returns:
        Verdict and report.

    Raises:
        InputError: bundle and network do not belong together, unusable images or settings.
        MissingExtraError: torch or the target is not installed. TargetError: the target failed.
    """
    check_arguments(
        "verify",
        bundle=(bundle, BUNDLE),
        against=(against, NETWORK),
        data=(data, DATA.optional),
        output=(output, PATH.optional),
        calibration=(calibration, DATA.optional),
        limit=(limit, COUNT.optional),
        suite=(suite, NAME),
        settings=(settings, SETTINGS.optional),
        force=(force, FLAG),
    )
    from spikeproof.report.html import write_html
    from spikeproof.verify.config import load_config
    from spikeproof.verify.document import REPORT_HTML
    from spikeproof.verify.files import REPORT_FILES
    from spikeproof.verify.given import Data as Samples
    from spikeproof.verify.prepare import find_calibration, subject_of
    from spikeproof.verify.run import verify as verify_subject

    config = load_config(suite, values=settings)
    loaded = _bundle(bundle)
    checkpoint = _source(against, loaded)
    refuse(get_engine(config.engine), loaded.network)
    images = _images(data, "test", checkpoint).first(limit)
    if calibration is None:
        fitted = find_calibration(loaded, images.x)
    else:
        fitted = images_of(calibration, loaded.network.input_shape).x
    folder = Path("runs") / loaded.network.name if output is None else Path(output)
    places = {folder / name: kind for name, kind in REPORT_FILES.items()}
    check_places("verify", places, [bundle, against, data, calibration], force)
    make_folder(folder)
    samples = Samples(images.x, images.y, images.record, fitted)
    report = verify_subject(subject_of(loaded, checkpoint), samples, config, folder)
    page = folder / REPORT_HTML
    write_html(report, page)
    return Verification(report.verdict, report.sentence, report, page)


@speaks_python
def export(
    bundle: Place | Bundle,
    path: Place,
    *,
    format: str | None = None,
    traces: bool = False,
    force: bool = False,
) -> Path:
    """Write a bundle in another format; an earlier export is replaced.

    >>> import spikeproof, tempfile
    >>> bundle = spikeproof.convert("fmnist-lif-natural", calibration_samples=64)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spikeproof.export(bundle, f"{folder}/net.onnx").suffix
    '.onnx'

    Args:
        bundle: a file or what :func:`convert` returned.
        path: the file; its suffix names the format. Its folder is made if missing.
        format: "onnx" (standard operators), "net" (lava-dl's), or another installed exporter.
        traces: of ONNX: also give u, v and spikes of every layer.
        force: replace a file that is no earlier export, too.

    Returns:
        The path of the file, which has been read back and compared where the format allows it.

    Raises:
        UnsupportedError: the network does not fit the format; every reason is listed.
        InputError: no such format, or a file of another kind at ``path``. MissingExtraError: what
            writes it is not installed.
    """
    check_arguments(
        "export",
        bundle=(bundle, BUNDLE),
        path=(path, PATH),
        format=(format, NAME.optional),
        traces=(traces, FLAG),
        force=(force, FLAG),
    )
    target = Path(path)
    exporter = EXPORTERS.get(exporter_name(format, target))
    if traces and not exporter.traces:
        raise InputError(
            f"traces are not for a {exporter.kind}", where="export", hint="Leave out traces."
        )
    check_places("export", {target: exporter.kind}, [bundle], force)
    loaded = _bundle(bundle)
    make_folder(target.parent)
    exporter.write(loaded, target, traces, lambda _: nullcontext())
    return target


@speaks_python
def inspect(model: Place, *, input_shape: tuple[int, int, int] | None = None) -> Description:
    """Describe what is in a file, layer by layer.

    >>> import spikeproof
    >>> found = spikeproof.inspect("fmnist-lif-natural")
    >>> found
    <Description of checkpoint fmnist-lif-natural, input 1×28×28, 4 timesteps, 11 layers>
    >>> found.layers[0]["kind"], found.layers[0]["output"]
    ('Conv2d', [24, 14, 14])

    Args:
        model: a checkpoint, bundle, recipe, settings file, ``.net``, or name of a shipped network.
        input_shape: of a ``.net`` that does not say: (C, H, W) of its image.

    Raises:
        InputError, BundleError: missing, damaged, or none of ours.
    """
    check_arguments(
        "inspect", model=(model, NETWORK_OR_BUNDLE), input_shape=(input_shape, SHAPE.optional)
    )
    return Description(describe_file(resolve_model(str(model)), input_shape).json_document())


def _bundle(given: Place | Bundle) -> Bundle:
    return given if isinstance(given, Bundle) else load_safe_bundle(Path(given))


def _trained(
    given: Place | Checkpoint, frontend: str | None, left_open: dict[str, Any]
) -> Checkpoint:
    if isinstance(given, Checkpoint):
        return given
    return load_trained(resolve_model(str(given)), frontend, left_open)


def _source(given: Place | Checkpoint, bundle: Bundle) -> Checkpoint:
    return (
        given if isinstance(given, Checkpoint) else load_source(resolve_model(str(given)), bundle)
    )


def _images(given: Data | None, purpose: Purpose, checkpoint: Checkpoint) -> Images:
    """Return images that were given, or the shipped ones that belong to the network."""
    if given is None:
        option = "--calibration" if purpose == "calibration" else "--data"
        return load_images(None, purpose, checkpoint, option)
    with naming_assumed_size(checkpoint, purpose):
        return images_of(given, tuple(checkpoint.network.input_shape))
