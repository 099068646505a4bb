"""Verify with progress and remarks: what ``verify`` and ``demo`` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spikeproof.attacks.victim import Victim
from spikeproof.attacks.worst_case import WORST_CASE
from spikeproof.cli.ahead import Ahead
from spikeproof.cli.console import Console
from spikeproof.cli.workflow import (
    announce_time,
    prepare_attacks,
    prepare_fast,
    show_data,
    warn,
    warn_of_cluster,
)
from spikeproof.convert.fold import fold
from spikeproof.convert.images import Images
from spikeproof.engines.registry import get_engine, refuse
from spikeproof.extras import need
from spikeproof.ir.chip import ChipNetwork
from spikeproof.report.html import write_html
from spikeproof.text import counted
from spikeproof.verify.config import VerifyConfig
from spikeproof.verify.document import REPORT_HTML, Report
from spikeproof.verify.effort import affordable, planned_milliseconds
from spikeproof.verify.given import Data, Subject, fewer_images, images_asked, input_warnings
from spikeproof.verify.prepare import find_calibration
from spikeproof.verify.run import How, verify
from spikeproof.verify.statistics import most_discordant


def within(
    console: Console,
    settings: VerifyConfig,
    network: ChipNetwork,
    images: int,
    changes: Sequence[str],
    config: Path | None,
) -> VerifyConfig:
    """Attack fewer images of a large network under --limit, unless the user says how many."""
    own = ("samples.", "validity.")
    if config is not None or any(change.strip().startswith(own) for change in changes):
        return settings
    fewer = affordable(settings, network, images)
    if not fewer:
        return settings
    told = ", ".join(f"{name}={count}" for name, count in fewer.items())
    console.note(f"attacks take long on a network of this size, so with --limit: --set {told}")
    for name, count in fewer.items():
        section, _, part = name.partition(".")
        changed = getattr(settings, section).model_copy(update={part: count})
        settings = settings.model_copy(update={section: changed})
    return settings


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
    if settings.worst_case.epsilons:
        folded = fold(subject.source)
        prepare_attacks(console, [Victim(subject.source, folded), Victim(bundle.network)])
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


def show_plan(
    console: Console,
    settings: VerifyConfig,
    network: ChipNetwork,
    folder: Path,
    images: Images,
) -> int:
    """Show what would be done with these settings, what it can show and how long it takes."""
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
    powers = _powers(settings, held)
    for part, power in powers.items():
        console.say(
            f"{part}: {counted(power['images'], 'image')} show a margin of "
            f"{100 * power['margin']:g} points where the networks disagree on at most "
            f"{100 * power['discordant']:.3g} % of them"
        )
    minutes = planned_milliseconds(settings, network, held) / 60_000
    console.say(f"attacks and noise take about {max(minutes, 0.1):,.1f} minutes on one core")
    console.say(f"plan only: would write {folder}; nothing was written")
    data = images.record.model_dump(mode="json")
    images_used = {k.removeprefix("samples."): min(v, held) for k, v in asked.items()}
    plan = {
        "folder": str(folder),
        **resolved,
        "images_used": images_used,
        "power": powers,
        "minutes": minutes,
    }
    console.document({"schema": 1, "plan": plan, "data": data})
    return 0


def _powers(settings: VerifyConfig, held: int) -> dict[str, dict[str, Any]]:
    """Return by comparison how many images it has, its margin, and what they can show."""
    run = {"accuracy": "clean"}
    if settings.worst_case.epsilons:
        run[WORST_CASE] = WORST_CASE
    run |= {kind: kind for kind, strengths in settings.perturbations if strengths}
    found = {}
    for part, margin in run.items():
        images = min(getattr(settings.samples, part), held)
        share = getattr(settings.margins, margin)
        discordant = most_discordant(images, share, settings.alpha)
        found[part] = {"images": images, "margin": share, "discordant": discordant}
    return found
