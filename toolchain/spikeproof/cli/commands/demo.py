"""Convert a shipped network, run it on Lava, and verify it on shipped real images.

Takes about a minute on two cores, minutes the first time, and uses no network connection.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Command, command
from spikeproof.cli.outputs import Force, check_outputs, run_files
from spikeproof.cli.verdict import EXIT_CODES, show_verdict
from spikeproof.extras import need
from spikeproof.io.zoo import resolve_model, zoo_calibration, zoo_images, zoo_networks
from spikeproof.verify.files import REPORT_FILES

if TYPE_CHECKING:
    from spikeproof.io.bundle import Bundle
    from spikeproof.io.kinds import Kind

PREFERRED = "lif-adversarial"
SUITE, ENGINE = "quick", "lava"
FAILED = EXIT_CODES["fail"]


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    model: Annotated[str | None, typer.Option(help="Another shipped network, or a file.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")] = Path(
        "runs/demo"
    ),
    force: Force = False,
) -> int:
    """Walk the whole path once and end with the verdict."""
    need("torch", extra="torch", purpose="the demo (gradient attacks)")
    from spikeproof.bundles import write_bundle
    from spikeproof.cli.ahead import compiling_ahead
    from spikeproof.cli.conversion import show_table
    from spikeproof.convert.bundle import convert_to_bundle
    from spikeproof.convert.images import load_images
    from spikeproof.convert.options import ConvertOptions
    from spikeproof.io.formats import load_trained

    checkpoint = resolve_model(model or default_network())
    source = load_trained(checkpoint)
    network = source.network
    files: dict[str, Kind] = {f"{network.name}.spk": "bundle", **REPORT_FILES}
    inputs = [checkpoint, zoo_calibration(), zoo_images()]
    check_outputs(run_files(output, files), inputs, force=force)
    images = load_images(None, "calibration", source, None)
    test = load_images(None, "test", source, None)
    console.note(f"{network.name}: trained network {checkpoint}")
    with compiling_ahead(checkpoint) as ahead:
        with console.stage("Converting to chip integers", "layers") as progress:
            _, made = convert_to_bundle(source, images, ConvertOptions(), progress)
            bundle = write_bundle(output / f"{network.name}.spk", made)
        show_table(console, bundle.record.document["table"])
        same = _self_test(console, bundle)
        from spikeproof.cli.verification import verify_into
        from spikeproof.verify.config import load_config
        from spikeproof.verify.prepare import subject_of

        settings = load_config(SUITE, engine=ENGINE)
        report = verify_into(console, subject_of(bundle, source), test, settings, output, ahead)
    code = show_verdict(console, report)
    return code if same else FAILED


def default_network() -> str:
    """Return the name of the shipped network the demo shows: the adversarially trained LIF."""
    names = list(zoo_networks())
    return next((name for name in names if name.endswith(PREFERRED)), names[0] if names else "")


def _load_verification() -> None:
    for name in ("torch", "spikeproof.cli.verification"):
        import_module(name)


def _self_test(console: Console, bundle: Bundle) -> bool:
    """Run the bundle's own stimulus on Lava and return whether every stored value agrees.

    A difference does not stop the demo: the report shows where it arises.
    """
    from spikeproof.engines.registry import get_engine, refuse
    from spikeproof.engines.self_test import self_test

    engine = get_engine(ENGINE)
    refuse(engine, bundle.network)
    title = "Running the bundle's self-test on Lava"
    with console.stage(title):
        # Needed next: load it while Lava's processes start. Lava stays in this thread, which Ctrl-C
        # interrupts: it then ends its processes at once.
        Thread(target=_load_verification, daemon=True).start()
        result = self_test(bundle, engine)
    differ = sum(result.mismatches.values())
    line = f"self-test: {result.compared:,} values compared on Lava, {differ:,} differ"
    if result.passed:
        console.note(line)
    else:
        console.say(line, "bold red")
    return bool(result.passed)
