"""Attack a trained network or the integers of a bundle with a named suite."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spikeproof.cli.console import Console
from spikeproof.cli.options import Cluster, Command, Workers, command
from spikeproof.cli.outputs import Force, Output, check_outputs, run_files
from spikeproof.errors import InputError
from spikeproof.text import accuracy_text, counted

if TYPE_CHECKING:
    from spikeproof.attacks.suites import Suite
    from spikeproof.attacks.victim import Victim
    from spikeproof.convert.images import Images
    from spikeproof.verify.attacked import Attacked, Left

_SUITE = "sp-quick-1"


def build() -> Command:
    """Return the command with its options."""
    return command(run)


def run(
    console: Console,
    model: Annotated[
        str, typer.Argument(help="A checkpoint, a bundle, or the name of a shipped network.")
    ],
    suite: Annotated[
        str, typer.Option(help="Attacks to try, by name and version.", show_default=True)
    ] = _SUITE,
    epsilon: Annotated[
        str, typer.Option(metavar="N,N,...", help="Radii in grey levels: 8 is 8/255.")
    ] = "2,4,8",
    data: Annotated[
        Path | None,
        typer.Option(
            help="npz with x and y, or a folder with x.npy and y.npy; default: shipped ones, if "
            "it was trained on their set."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N images.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random starts.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write every image's result to this npz."),
    ] = None,
    workers: Workers = 1,
    cluster: Cluster = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="Folder for results as they come: after a stop, go on from there."),
    ] = None,
    force: Force = False,
) -> int:
    """Check what was asked, read the network and the images, attack, and say what is left."""
    from spikeproof.attacks.suites import suite_of
    from spikeproof.attacks.victim import check_radii
    from spikeproof.io.zoo import resolve_model

    chosen, radii = suite_of(suite), check_radii(_numbers(epsilon))
    path = resolve_model(model)
    outputs = [] if output is None else [Output(output, "attack results")]
    if journal is not None:
        outputs += run_files(journal, {"journal.jsonl": "journal"}, "--journal")
    check_outputs(outputs, [path, data], force=force)
    subject = _read(console, path, data, limit)
    how = _How(seed, output, workers, cluster, journal)
    return _attack(console, subject, chosen, radii, how)


@dataclass(frozen=True, eq=False)
class _Subject:
    victim: Victim
    name: str
    kind: str
    hash: str
    images: Images
    warnings: list[str]


@dataclass(frozen=True)
class _How:
    seed: int
    output: Path | None
    workers: int
    cluster: str | None
    journal: Path | None


def _numbers(text: str) -> list[float]:
    """Return the numbers of a list with commas."""
    found = []
    for word in text.split(","):
        try:
            found.append(float(word))
        except ValueError:
            top = word.strip().partition("/255")
            grey = top[0] if top[1] and not top[2] and top[0].isdigit() else None
            raise InputError(
                f"found {word.strip()!r}, expected whole grey levels 1..255",
                where="--epsilon",
                hint=f"Write {grey}: it means {grey}/255." if grey else "For example 2,4,8.",
            ) from None
    return found


def _read(console: Console, path: Path, data: Path | None, limit: int | None) -> _Subject:
    """Read a network of either kind and labelled images for it."""
    from spikeproof.attacks.victim import Victim
    from spikeproof.cli.workflow import load_bundle_to_run, show_data, show_source
    from spikeproof.convert.fold import fold
    from spikeproof.convert.images import images_of, load_images, shipped_test_images
    from spikeproof.io.formats import load_trained
    from spikeproof.io.kinds import is_kind
    from spikeproof.io.trained import NOTHING, trained_on
    from spikeproof.verify.plausible import data_warnings

    if is_kind(path, "bundle"):
        bundle = load_bundle_to_run(path, console)
        victim, trained = Victim(bundle.network), NOTHING
        name, kind, content = bundle.network.name, "chip network", bundle.content_hash
        shape = tuple(bundle.network.input_shape)
        images = images_of(data, shape) if data else shipped_test_images(bundle)
    else:
        source = load_trained(path)
        show_source(console, source.training.source)
        victim, trained = Victim(source.network, fold(source.network)), trained_on(source)
        name, kind, content = source.network.name, "trained network", source.content_hash
        images = load_images(data, "test", source, "--data")
    images = images.first(limit)
    show_data(console, images.record)
    return _Subject(victim, name, kind, content, images, data_warnings(images.record, trained))


def _attack(console: Console, subject: _Subject, suite: Suite, radii: list[int], how: _How) -> int:
    from spikeproof.cli.workflow import prepare_attacks, warn, warn_of_cluster
    from spikeproof.io.slices import check_labels
    from spikeproof.jobs.journal import Journal
    from spikeproof.jobs.pool import Pool
    from spikeproof.verify.attacked import attack_base, attack_network, write_results

    x, y, victim = subject.images.x, subject.images.y, subject.victim
    if y is None:
        raise InputError(
            "has no labels y: without them nobody knows what fools the network",
            where=str(subject.images.path),
            hint="Give an npz with x and y, or a folder with x.npy and y.npy.",
        )
    if suite.white_box:
        victim.twin  # noqa: B018 (a network that has none is refused before anything is run)
        prepare_attacks(console, [victim])
    check_labels(y, victim.classes, subject.images.path)
    warnings = warn(console, subject.warnings)
    _check_chance(subject, victim.classes)
    warn_of_cluster(console, how.cluster)
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        journal = None
        if how.journal is not None:
            base = attack_base(subject.hash, x, y, suite, radii, how.seed)
            journal = stack.enter_context(Journal(how.journal, base))
            for line in journal.notes:
                console.note(line)
        pool = stack.enter_context(Pool(how.workers, how.cluster))
        title = f"Attacking {counted(len(x), 'image')} of {subject.name} with {suite.name}"
        progress = stack.enter_context(console.stage(title, "images"))
        attacked = attack_network(
            victim, suite, x, y, radii, seed=how.seed, pool=pool, journal=journal, progress=progress
        )
    if how.output is not None:
        write_results(how.output, attacked, y, subject.hash)
    _show(console, subject, attacked, time.monotonic() - start, warnings, how.output)
    return 0


def _check_chance(subject: _Subject, classes: int) -> None:
    """Refuse a network that guesses: there is nothing an attack could take from it."""
    from spikeproof.verify.plausible import chance_warnings

    images = subject.images
    for line in chance_warnings(subject.victim.predictions(images.x), images.y, classes):
        raise InputError(line, where=subject.name, hint="Check the images, labels and their order.")


def _show(
    console: Console,
    subject: _Subject,
    attacked: Attacked,
    seconds: float,
    warnings: Sequence[str],
    output: Path | None,
) -> None:
    from spikeproof.document.values import dump
    from spikeproof.verify.attacked import AttackDocument

    clean, left = attacked.left()
    suite = attacked.suite
    rows = [_row("clean", clean), *(_row(f"{one.epsilon}/255", one) for one in left)]
    console.table(["epsilon", "right", "accuracy", "95 % interval"], rows)
    last = left[-1]
    console.sentence(
        f"{suite.name}: at {last.epsilon}/255 the {subject.kind} {subject.name} keeps "
        f"{accuracy_text(last.accuracy)} of {counted(len(attacked.predictions), 'image')} right "
        f"(worst case of {counted(len(suite.members), 'attack')}, an upper bound)"
    )
    if output is not None:
        console.say(f"results: {output}")
    document = AttackDocument(
        network=subject.name,
        attacked=subject.kind,
        hash=subject.hash,
        suite=suite.name,
        members=[member.name for member in suite.members],
        samples=len(attacked.predictions),
        clean=clean,
        epsilons=left,
    )
    console.document(
        {
            "schema": document.schema_version,
            **dump(document),
            "data": subject.images.record.model_dump(mode="json"),
            "warnings": list(warnings),
            "results": None if output is None else str(output),
            "seconds": round(seconds, 3),
        }
    )


def _row(title: str, one: Left) -> tuple[object, ...]:
    low, high = one.interval
    return (
        title,
        one.right,
        accuracy_text(one.accuracy),
        f"{accuracy_text(low)} to {accuracy_text(high)}",
    )
