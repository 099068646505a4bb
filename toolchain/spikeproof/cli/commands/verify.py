"""Compare a bundle with the checkpoint it came from, and write a report.

Work that is done stays done: after an interruption the same command goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeproof.cli.ahead import Ahead, compiling_ahead
from spikeproof.cli.console import Console
from spikeproof.cli.options import Cluster, Command, Workers, command
from spikeproof.cli.outputs import Force, check_outputs, run_files
from spikeproof.cli.verdict import show_verdict
from spikeproof.cli.workflow import (
    announce_time,
    load_bundle_to_run,
    prepare_fast,
    show_data,
    show_source,
    warn,
    warn_of_cluster,
)
from spikeproof.convert.images import Images, load_images
from spikeproof.engines.registry import get_engine, refuse
from spikeproof.extras import need
from spikeproof.io.formats import load_source
from spikeproof.io.zoo import resolve_model, zoo_images
from spikeproof.verify.config import SUITES, VerifyConfig, load_config
from spikeproof.verify.files import REPORT_FILES

if TYPE_CHECKING:
    from spikeproof.ir.chip import ChipNetwork
    from spikeproof.verify.document import Report
    from spikeproof.verify.given import Subject
    from spikeproof.verify.run import How

FROM_SUITE = frozenset({"suite", "version"})


def build() -> Command:
    """Return the command with its options; engine, seed and the like come from VerifyConfig."""
    return command(run, VerifyConfig, skip=FROM_SUITE)


def run(
    console: Console,
    given: dict[str, Any],
    bundle: Annotated[Path, typer.Argument(help="A bundle made by convert.")],
    against: Annotated[
        str, typer.Option(help="The checkpoint it came from: a file or a shipped network.")
    ],
    suite: Annotated[str, typer.Option(help=f"How much to check: {', '.join(SUITES)}.")] = "quick",
    config: Annotated[Path | None, typer.Option(help="TOML file laid over the suite.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SETTING=VALUE",
            help="Change one setting of the suite, such as samples.pgd=1000 (--dry-run lists them "
            "all). Repeat it for several.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="npz with x and y, or a folder with x.npy and y.npy; default: shipped ones, if "
            "it was trained on their set."
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="npz with the images given to convert --calibration; without them compensated "
            "weights are not shown to be right (inconclusive). The shipped ones are found."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N images.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run; default runs/NAME.")
    ] = None,
    workers: Workers = 1,
    cluster: Cluster = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    force: Force = False,
) -> int:
    """Read everything, verify, and end with the verdict."""
    from spikeproof.verify.given import check_identity
    from spikeproof.verify.prepare import subject_of
    from spikeproof.verify.run import How

    settings = load_config(suite, config, set_ or (), **given)
    get_engine(settings.engine)  # a wrong name is found before anything is read
    checkpoint = resolve_model(against)
    folder = output or Path("runs") / bundle.stem
    shipped = None if data else zoo_images()
    inputs = [bundle, checkpoint, config, data, calibration, shipped]
    check_outputs(run_files(folder, REPORT_FILES), inputs, force=force)
    loaded = load_bundle_to_run(bundle, console)
    source = load_source(checkpoint, loaded)
    show_source(console, source.training.source)
    check_identity(loaded, source.content_hash)
    images = load_images(data, "test", source, "--data").first(limit)
    if limit is not None:
        settings = _within(console, settings, loaded.network, len(images.x), set_ or (), config)
    if dry_run:
        return _show_plan(console, settings, folder, images)
    with compiling_ahead(bundle) as ahead:
        subject = subject_of(loaded, source)
        how = How(workers=workers, cluster=cluster)
        report = verify_into(
            console, subject, images, settings, folder, ahead, calibration=calibration, how=how
        )
    return show_verdict(console, report)


def _within(
    console: Console,
    settings: VerifyConfig,
    network: ChipNetwork,
    images: int,
    changes: Sequence[str],
    config: Path | None,
) -> VerifyConfig:
    """Attack fewer images of a large network under --limit, unless the user says how many."""
    from spikeproof.verify.effort import affordable

    if config is not None or any(change.strip().startswith("samples.") for change in changes):
        return settings
    fewer = affordable(settings, network, images)
    if not fewer:
        return settings
    told = ", ".join(f"{name}={count}" for name, count in fewer.items())
    console.note(f"attacks take long on a network of this size, so with --limit: --set {told}")
    parts = {name.partition(".")[2]: count for name, count in fewer.items()}
    return settings.model_copy(update={"samples": settings.samples.model_copy(update=parts)})


def verify_into(
    console: Console,
    subject: Subject,
    images: Images,
    settings: VerifyConfig,
    folder: Path,
    ahead: Ahead | None = None,
    *,
    calibration: Path | None = None,
    how: How | None = None,
) -> Report:
    """Verify with progress, write report.json and report.html into ``folder``."""
    need("torch", extra="torch", purpose="verification (gradient attacks)")
    from spikeproof.report.html import write_html
    from spikeproof.verify.document import REPORT_HTML
    from spikeproof.verify.given import Data, input_warnings
    from spikeproof.verify.prepare import find_calibration
    from spikeproof.verify.run import How, verify

    bundle, how = subject.bundle, how or How()
    engine = get_engine(settings.engine)
    refuse(engine, bundle.network)
    announce_time(console, engine, bundle.network, min(settings.lava_samples, len(images.x)))
    warn_of_cluster(console, how.cluster)
    show_data(console, images.record)
    fitted = find_calibration(bundle, images.x, calibration)
    known = fitted is not None
    warn(console, input_warnings(bundle, images.record, subject.trained, fitted=known))
    prepare_fast(console, bundle.network, ahead)
    with console.stage(f"Verifying {bundle.network.name} ({settings.title})") as progress:
        told = replace(
            how,
            progress=progress,
            note=console.note,
            warn=partial(warn, console),
            command=console.command_without("--workers", "--cluster"),
        )
        data = Data(images.x, images.y, images.record, fitted)
        report = verify(subject, data, settings, folder, told)
    write_html(report, folder / REPORT_HTML)
    return report


def _show_plan(console: Console, settings: VerifyConfig, folder: Path, images: Images) -> int:
    from spikeproof.verify.given import fewer_images, images_asked

    resolved = settings.resolved()
    flat = [
        (f"{key}.{inner}", value)
        for key, part in resolved.items()
        if isinstance(part, dict)
        for inner, value in part.items()
    ]
    top = [(key, value) for key, value in resolved.items() if not isinstance(value, dict)]
    asked = images_asked(settings)
    held = len(images.x)
    beyond = {
        k: f"{held:,} (of {v:,} asked for: all there are)" for k, v in asked.items() if v > held
    }
    console.table(["setting", "value"], [(k, beyond.get(k, str(v))) for k, v in top + flat])
    show_data(console, images.record)
    fewer = fewer_images(settings, held, images.record.held if images.record.held > held else None)
    if fewer is not None:
        console.warn(fewer)
    console.say(f"plan only: would write {folder}; nothing was written")
    data = images.record.model_dump(mode="json")
    images_used = {k.removeprefix("samples."): min(v, held) for k, v in asked.items()}
    plan = {"folder": str(folder), **resolved, "images_used": images_used}
    console.document({"schema": 1, "plan": plan, "data": data})
    return 0
