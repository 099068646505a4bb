"""Compare a bundle with the checkpoint it came from, and write a report.

Work that is done stays done: after an interruption the same command goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Cluster, Command, Workers, command
from spikeproof.cli.outputs import Force, check_outputs, run_files
from spikeproof.io.zoo import resolve_model, zoo_images
from spikeproof.verify.config import SUITES, VerifyConfig, load_config
from spikeproof.verify.files import REPORT_FILES

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
    from spikeproof.engines.registry import get_engine

    settings = load_config(suite, config, set_ or (), **given)
    get_engine(settings.engine)  # a wrong name is found before anything is read
    checkpoint = resolve_model(against)
    folder = output or Path("runs") / bundle.stem
    shipped = None if data else zoo_images()
    inputs = [bundle, checkpoint, config, data, calibration, shipped]
    check_outputs(run_files(folder, REPORT_FILES), inputs, force=force)
    from spikeproof.cli.ahead import compiling_ahead
    from spikeproof.cli.verdict import show_verdict
    from spikeproof.cli.verification import show_plan, verify_into, within
    from spikeproof.cli.workflow import load_bundle_to_run, show_source
    from spikeproof.convert.images import load_images
    from spikeproof.io.formats import load_source
    from spikeproof.verify.given import check_identity
    from spikeproof.verify.prepare import subject_of
    from spikeproof.verify.run import How

    loaded = load_bundle_to_run(bundle, console)
    source = load_source(checkpoint, loaded)
    show_source(console, source.training.source)
    check_identity(loaded, source.content_hash)
    images = load_images(data, "test", source, "--data").first(limit)
    if limit is not None:
        settings = within(console, settings, loaded.network, len(images.x), set_ or (), config)
    if dry_run:
        return show_plan(console, settings, loaded.network, folder, images)
    with compiling_ahead(bundle) as ahead:
        subject = subject_of(loaded, source)
        how = How(workers=workers, cluster=cluster)
        report = verify_into(
            console, subject, images, settings, folder, ahead, calibration=calibration, how=how
        )
    return show_verdict(console, report)
